"""What one or several runs say together: means, intervals over seeds, and the findings in sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from training.loop.simulate import Simulation

Floats = NDArray[np.float64]

LEVEL = 0.95
NAMES = {
    "perkwise": "Perkwise",
    "no_exploration": "without exploration",
    "uptake_only": "ranked by uptake alone",
    "best_constant": "best single offer for everybody",
}


@dataclass(frozen=True)
class Curve:
    """A loop's share by week, over the runs; the bounds are NaN for a single run."""

    mean: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, shares: Floats) -> "Curve":
        """Of shares of shape (n_runs, n_weeks): Student's interval of the mean over runs.

        >>> curve = Curve.of(np.array([[0.5], [0.7]]))
        >>> float(curve.mean[0].round(2)), float(curve.high[0].round(2))
        (0.6, 1.87)
        """
        mean, n = shares.mean(axis=0), len(shares)
        if n < 2:
            return cls(mean, np.full(mean.shape, np.nan), np.full(mean.shape, np.nan))
        half = t.ppf(0.5 + LEVEL / 2, n - 1) * shares.std(axis=0, ddof=1) / np.sqrt(n)
        return cls(mean, mean - half, mean + half)

    def told(self, week: int) -> str:
        """The share of a week (from 1) in words, with its interval where there is one."""
        mean, low, high = (100 * values[week - 1] for values in (self.mean, self.low, self.high))
        return f"{mean:.0f} %" if np.isnan(low) else f"{mean:.0f} % ({low:.0f} to {high:.0f})"


def curves(runs: Sequence[Simulation], served: bool = False) -> dict[str, Curve]:
    """Each loop's curve: of the policies' lists, or of all that was shown."""
    return {
        name: Curve.of(
            np.array(
                [
                    [
                        week.loops[name].served_share if served else week.loops[name].policy_share
                        for week in run.weeks
                    ]
                    for run in runs
                ]
            )
        )
        for name in runs[0].weeks[0].loops
    }


def findings(runs: Sequence[Simulation]) -> list[str]:
    """What the runs show, in sentences: who leads since when, the end, and the recovery from a shift."""
    found, last, shift = curves(runs), len(runs[0].weeks), runs[0].shift_week
    ours, uptake = found["perkwise"], found["uptake_only"]
    passed = _since(ours.mean > uptake.mean)
    lead = (
        f"From week {passed} on the loop is worth more than ranking by uptake alone."
        if passed
        else "At the end the loop is not worth more than ranking by uptake alone."
    )
    told = [lead, f"In week {last} its lists are worth {ours.told(last)} of what an oracle's are."]
    if shift and shift > 1:
        told.append(_recovery(ours, shift, last))
    return told


def _recovery(ours: Curve, shift: int, last: int) -> str:
    before = ours.mean[shift - 2]
    back = [week for week in range(shift, last + 1) if ours.mean[week - 1] >= before]
    fell = (
        f"In week {shift} a part of the services changed: from {ours.told(shift - 1)} the share fell to "
        f"{ours.told(shift)}"
    )
    later = "".join(f", in week {week} {ours.told(week)}" for week in (shift + 1, shift + 2) if week <= last)
    end = f"; it is back where it was in week {back[0]}." if back else "; it has not come all the way back."
    return fell + later + end


def _since(holds: NDArray[np.bool_]) -> int:
    """The first week (from 1) from which something holds to the end; 0: it does not in the last."""
    weeks = np.flatnonzero(~holds)
    first = int(weeks[-1]) + 2 if len(weeks) else 1
    return first if first <= len(holds) else 0
