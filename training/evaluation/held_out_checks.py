"""The checks of the held-out rows: balance, overlap, placebo, and whether predicted uplift comes true."""

import numpy as np
from numpy.typing import NDArray

from training.dataset import NOTHING
from training.evaluation.balance import Balance
from training.evaluation.checks import Finding
from training.evaluation.figures import Floats, PolicyFigures
from training.evaluation.placebo import placebo
from training.evaluation.policy_value import effect_of_offer
from training.evaluation.service_figures import MIN_EXPOSURES, HeldOut
from training.evaluation.uplift_calibration import (
    Predicted,
    UpliftCalibration,
    calibration_finding,
    uplift_calibration,
)
from training.propensity import single_propensities

_FEW_EFFECTIVE = 200  # contacts


def check_held_out(
    held_out: HeldOut,
    uplift: Floats,
    offered: NDArray[np.intp],
    perkwise: PolicyFigures,
    balanced: Balance,
    calibration: UpliftCalibration | None,
    unit: str,
) -> tuple[Finding, ...]:
    """Every finding about the held-out rows and the predictions on them.

    Parameters
    ----------
    uplift : array of shape (n, n_services)
        Predicted, in the outcome, before costs.
    offered : int array of shape (n,)
        Column of what Perkwise offers: nothing 0, services from 1 on.
    """
    test, n = held_out.test, len(held_out.test)
    of_offered = np.column_stack([np.zeros(n), uplift])[np.arange(n), offered]
    found = placebo(
        offered,
        _p_offered(held_out, offered),
        test.service,
        test.slate_propensity,
        test.user,
        held_out.outcome,
        held_out.mu0,
        of_offered,
        unit,
        held_out.level,
    )
    return (_balance(balanced, n), _overlap(perkwise, n), found, calibration_finding(calibration, unit, n))


def pooled_calibration(
    held_out: HeldOut, uplift: Floats, eligible: NDArray[np.bool_]
) -> UpliftCalibration | None:
    """Calibration over all services that were shown, and had nothing to compare with, often enough."""
    test = held_out.test
    parts = []
    for s in range(len(test.catalog)):
        rows = np.flatnonzero(eligible[:, s])
        shown = int((test.service == s).sum()), int((test.service[rows] == NOTHING).sum())
        if min(shown) >= MIN_EXPOSURES:
            effect = effect_of_offer(
                held_out.outcome, test.service, test.slate_propensity, s, held_out.mu0, uplift[:, s]
            )
            parts.append(Predicted(rows, uplift[rows, s], effect[rows]))
    return uplift_calibration(parts, held_out.resampled, len(test), held_out.level)


def _p_offered(held_out: HeldOut, offered: NDArray[np.intp]) -> Floats:
    """About the propensity of what Perkwise offers; 0 for what was never shown."""
    test = held_out.test
    p = single_propensities(test.X, test.service, test.slate_propensity, len(test.catalog))
    if test.estimated is not None:
        p = np.where(test.is_estimated[:, None], test.estimated[:, :-1], p)
    return np.nan_to_num(p[np.arange(len(test)), offered])


def _balance(found: Balance, n: int) -> Finding:
    key, name = "balance", "Balance"
    if not found.n_compared:
        return Finding(
            key, name, "note", "Not enough data: no service has 30 contacts beside 30 of nothing.", n
        )
    worst = abs(found.worst[0].smd) if found.worst else 0.0
    text = (
        f"{found.n_beyond_chance or 'None'} of {found.n_compared:,} comparisons of a profile column differ "
        "by more than 0.1 standard deviations and than chance explains among so many"
    )
    text += (
        ": what was shown depended on the customer in a way the propensities do not tell."
        if found.n_beyond_chance
        else ", as it should be."
    )
    return Finding(
        key,
        name,
        "note" if found.n_beyond_chance else "fine",
        text,
        n,
        figure=worst,
        measures="largest difference, standard deviations",
    )


def _overlap(perkwise: PolicyFigures, n: int) -> Finding:
    few = perkwise.effective_n < _FEW_EFFECTIVE
    text = (
        f"The log did what Perkwise would do at {perkwise.matched:.1%} of the contacts, "
        f"which carry as much as "
        f"{perkwise.effective_n:,.0f} of equal weight; the largest weighs {perkwise.largest_weight:,.1f}"
    )
    text += (
        ". That is little: the value of Perkwise rests mostly on the models. Explore more." if few else "."
    )
    return Finding(
        "overlap",
        "Overlap",
        "note" if few else "fine",
        text,
        n,
        figure=perkwise.effective_n,
        measures="effective contacts",
    )
