"""Cost-gain curves: the greatest gain that each budget buys, where several services compete for a customer.

The Qini curve of a choice among many: for one service of cost 1 it is the gain over the share targeted.
A path is learned from predictions alone (what is expected of each service and what it costs), as a series
of steps by falling gain per cost; `gain_curve` then says what the steps bring, by an unbiased signal of
the effects, so that every point of it is the value of a policy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.bootstrap import Resampled, UserBootstrap
from training.evaluation.curves import cumulated

Floats = NDArray[np.float64]

NOTHING = -1  # of `Path.before`: the row was offered nothing

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Path:
    """Steps from offering nothing to anybody, each moving one row from one service to another.

    Steps of one level are taken together: a budget that ends within them takes an equal part of each, which
    is a random part of the rows.
    """

    n_rows: int
    row: NDArray[np.int64]  # (k,) whose offer changes, by level
    before: NDArray[np.int64]  # (k,) service, or NOTHING
    after: NDArray[np.int64]  # (k,)
    level: NDArray[np.int64]  # (k,) from 0, never falling
    return_on_cost: Floats  # (n_levels,) predicted gain per cost, falling; inf where it costs nothing

    def change(self, per_service: Floats) -> Floats:
        """What each step changes, in a figure of every row and service; nothing counts 0."""
        return self._of(per_service, self.after) - self._of(per_service, self.before)

    def _of(self, per_service: Floats, service: NDArray[np.int64]) -> Floats:
        return np.where(service == NOTHING, 0.0, per_service[self.row, service])

    def per_level(self, per_service: Floats) -> Floats:
        """The same summed by level, per row of the log."""
        return np.bincount(self.level, self.change(per_service), len(self.return_on_cost)) / self.n_rows


@dataclass(frozen=True)
class GainCurve:
    """Gain over spending, both per row of the log, from (0, 0); straight between the points."""

    spent: Floats
    gain: Floats

    def at(self, budget: float | Floats) -> Floats:
        """The gain of a budget; one beyond the last point is not spent."""
        return np.asarray(np.interp(budget, self.spent, self.gain))


def targeted_path(value: Floats, cost: Floats, eligible: NDArray[np.bool_] | None = None) -> Path:
    """The path of greatest predicted value for each budget, every row choosing among the services.

    A row climbs the upper convex hull of its services in the plane of cost and value, from the origin; the
    steps of all rows are taken by falling slope. At every budget that is the optimum of the linear program

        max mean_i sum_s x_is value_is   such that   mean_i sum_s x_is cost_is <= budget,
        sum_s x_is <= 1, x >= 0.

    Parameters
    ----------
    value : array of shape (n, n_services)
        Predicted gain of offering each service to each row over offering nothing, before its cost.
    cost : array of shape (n, n_services)
        Expected cost of the same, at least 0.
    eligible : bool array of shape (n, n_services), optional
        What may be offered. Default: everything.

    References
    ----------
    Sverdrup, Wu, Athey and Wager (2023), Qini curves for multi-armed treatment rules; the hulls are those of
    the multiple-choice knapsack problem, Sinha and Zoltners (1979).

    Examples
    --------
    >>> path = targeted_path(np.array([[2.0, 3.0], [1.0, 9.0]]), np.array([[1.0, 2.0], [1.0, 2.0]]))
    >>> path.row.tolist(), path.before.tolist(), path.after.tolist(), path.return_on_cost.tolist()
    ([1, 0, 0], [-1, -1, 0], [1, 0, 1], [4.5, 2.0, 1.0])
    """
    may = _checked(value, cost, eligible)
    row, before, after, slope = _hull_steps(np.where(may, value, -np.inf), cost)
    # A stable order, for equal slopes of one row keep their place.
    order = np.argsort(-slope, kind="stable")
    slopes, level = np.unique(-slope[order], return_inverse=True)
    return Path(len(value), row[order], before[order], after[order], level, -slopes)


def untargeted_path(value: Floats, cost: Floats, eligible: NDArray[np.bool_] | None = None) -> Path:
    """The same without looking at the rows: the best services on average, offered to a random part.

    The hull is that of mean value and mean cost, a row that may not have a service counting as nothing; a
    step moves every row that is concerned.
    """
    may = _checked(value, cost, eligible)
    means = [np.where(may, per_service, 0.0).mean(axis=0, keepdims=True) for per_service in (value, cost)]
    _, before, after, slope = _hull_steps(*means)
    n, n_steps = len(value), len(slope)
    padded = np.column_stack([may, np.zeros(n, bool)])
    row, step = np.tile(np.arange(n), n_steps), np.repeat(np.arange(n_steps), n)
    where = [np.where(padded[row, service[step]], service[step], NOTHING) for service in (before, after)]
    return Path(n, row, where[0], where[1], step, slope)


def gain_curve(path: Path, effect: Floats, cost: Floats) -> GainCurve:
    """What the steps of a path bring, by a signal of the effects.

    Parameters
    ----------
    effect : array of shape (n, n_services)
        An unbiased signal of what each service changes, such as `policy_value.effect_of_offer`, or the
        truth; of other outcomes than those the path was learned from.
    cost : array of shape (n, n_services)
        Expected cost, as in `targeted_path`.

    Examples
    --------
    >>> value, cost = np.array([[2.0, 3.0], [1.0, 9.0]]), np.array([[1.0, 2.0], [1.0, 2.0]])
    >>> curve = gain_curve(targeted_path(value, cost), value, cost)
    >>> curve.spent.tolist(), curve.gain.tolist(), float(curve.at(0.5))
    ([0.0, 1.0, 1.5, 2.0], [0.0, 4.5, 5.5, 6.0], 2.25)
    """
    return GainCurve(*(cumulated(path.per_level(per_service)) for per_service in (cost, effect)))


def resampled_gain(
    path: Path,
    effect: Floats,
    cost: Floats,
    budgets: Floats,
    resampled: UserBootstrap,
    n_groups: int = 50,
) -> Resampled:
    """The gain at each of some budgets, and its replicates with the path held fixed.

    A replicate spends each budget on its own users, going as far along the path as it lasts. The steps are
    taken together in `n_groups` groups of nearly equal cost, those that cost nothing before them; the value
    itself is exact.
    """
    change = path.change(cost), path.change(effect)
    spent = np.cumsum(np.bincount(path.level, change[0], len(path.return_on_cost)))
    share = spent / spent[-1] if len(spent) and spent[-1] > 0 else np.zeros(len(spent))
    group = np.ceil(share * n_groups - _ROUNDING).astype(np.int64)[path.level]  # 0: free
    at, wide = path.row * (n_groups + 1) + group, (path.n_rows, n_groups + 1)
    columns = [np.bincount(at, part, wide[0] * wide[1]).reshape(wide) for part in change]
    sums = resampled.sums(np.column_stack([np.ones(path.n_rows), *columns]))
    n, rest = sums[:, :1], sums[:, 1:].reshape(-1, 2, n_groups + 1)
    spends, gains = np.maximum.accumulate(cumulated(rest[:, 0] / n), axis=1), cumulated(rest[:, 1] / n)
    replicates = [np.interp(budgets, *curve) for curve in zip(spends, gains, strict=True)]
    return Resampled(gain_curve(path, effect, cost).at(budgets), np.array(replicates))


def mean_gain(gain: Resampled, budgets: Floats) -> Resampled:
    """The gain averaged over budgets from the first to the last: the area under the curve by its width."""
    width = budgets[-1] - budgets[0]
    return Resampled(
        float(np.trapezoid(gain.value, budgets) / width),
        np.trapezoid(gain.replicates, budgets, axis=-1) / width,
    )


def _hull_steps(value: Floats, cost: Floats) -> tuple[NDArray, NDArray, NDArray, Floats]:
    """Row, service before, service after and slope of each step up the hulls; a row's steps in order."""
    n = len(value)
    rows, at = np.arange(n), np.full(n, NOTHING)
    reached, spent, limit = np.zeros(n), np.zeros(n), np.full(n, np.inf)
    steps: list[tuple[NDArray, ...]] = []
    while len(rows):
        gain, more = value[rows] - reached[:, None], cost[rows] - spent[:, None]
        better = (gain > 0) & (more >= 0)
        slope = np.full(gain.shape, -np.inf)
        with np.errstate(divide="ignore", over="ignore"):
            np.divide(gain, more, out=slope, where=better)
        steepest = slope.max(axis=1)
        farthest = np.where(slope == steepest[:, None], gain, -np.inf).argmax(axis=1)
        moves = steepest > -np.inf
        if not moves.any():
            break
        rows, at, after = rows[moves], at[moves], farthest[moves]
        # Rounding must not let a later step of a row come before an earlier one.
        limit = np.minimum(limit[moves], steepest[moves])
        steps.append((rows, at, after, limit))
        at, reached, spent = after, value[rows, after], cost[rows, after]
    if not steps:
        none = np.zeros(0, np.int64)
        return none, none, none, np.zeros(0)
    row, before, after, slope = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    return row, before, after, slope


def _checked(value: Floats, cost: Floats, eligible: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    may = np.ones(value.shape, bool) if eligible is None else eligible
    if value.ndim != 2 or not value.size or len({value.shape, cost.shape, may.shape}) > 1:
        raise ValueError(
            "value, cost and eligible must have one row an exposure and one column a service, "
            f"got shapes {value.shape}, {cost.shape} and {may.shape}."
        )
    if not np.isfinite(value[may]).all() or not (np.isfinite(cost[may]) & (cost[may] >= 0)).all():
        raise ValueError(
            "value must be finite and cost finite and at least 0 wherever a service may be offered, got "
            f"{np.sum(~np.isfinite(value[may]))} values and "
            f"{np.sum(~(np.isfinite(cost[may]) & (cost[may] >= 0)))} costs that are not."
        )
    return may
