"""What each budget buys over all services, with targeting and without it."""

import numpy as np
from numpy.typing import NDArray

from training.evaluation.bootstrap import Resampled
from training.evaluation.cost_curve import (
    GainCurve,
    gain_curve,
    mean_gain,
    resampled_gain,
    targeted_path,
    untargeted_path,
)
from training.evaluation.figures import CostFigures, Floats, Gains
from training.evaluation.policy_value import effect_of_offer
from training.evaluation.service_figures import HeldOut

_POINTS = 51  # of a curve


def cost_figures(
    held_out: HeldOut, uplift: Floats, uptake: Floats, eligible: NDArray[np.bool_]
) -> CostFigures | None:
    """The cost-gain curve of the predictions, by the doubly robust signal of what each service changes.

    Parameters
    ----------
    uplift, uptake : arrays of shape (n, n_services)
        Predicted uplift in the outcome, before costs, and predicted uptake.
    eligible : bool array of shape (n, n_services)
        Which services could have been offered on each row.
    """
    test = held_out.test
    cost = uptake * test.catalog.unit_cost + test.catalog.contact_cost
    is_money = held_out.is_money and bool(cost[eligible].any())
    if not is_money:
        cost = np.ones(cost.shape)
    effect = np.column_stack(
        [
            effect_of_offer(
                held_out.outcome, test.service, test.slate_propensity, s, held_out.mu0, uplift[:, s]
            )
            for s in range(len(test.catalog))
        ]
    )
    paths = [path_of(uplift, cost, eligible) for path_of in (targeted_path, untargeted_path)]
    exact = [gain_curve(path, effect, cost) for path in paths]
    most = max(curve.spent[-1] for curve in exact)
    if not most > 0:
        return None
    budgets = np.linspace(0, most, _POINTS)
    targeted, untargeted = (resampled_gain(path, effect, cost, budgets, held_out.resampled) for path in paths)
    return CostFigures(
        cost="money" if is_money else "offers",
        budgets=budgets,
        targeted=_gains(targeted, held_out.level),
        untargeted=_gains(untargeted, held_out.level),
        added=mean_gain(targeted - untargeted, budgets).interval(held_out.level),
        worthwhile=_worthwhile(exact[0], paths[0].return_on_cost) if is_money else None,
    )


def _gains(resampled: Resampled, level: float) -> Gains:
    return Gains(np.asarray(resampled.value), *resampled.band(level))


def _worthwhile(curve: GainCurve, return_on_cost: Floats) -> float:
    """Spending until the predicted return of one more falls below what it costs."""
    return float(curve.spent[int(np.sum(return_on_cost >= 1))])
