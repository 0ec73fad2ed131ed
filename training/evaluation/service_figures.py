"""The figures of one service: calibration, Qini, AUTOC, uplift on average, at the top and by tenth, costs."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.dataset import NOTHING, Dataset
from training.evaluation.bootstrap import Interval, UserBootstrap
from training.evaluation.curves import (
    ArmSums,
    Reliability,
    arm_columns,
    arm_sums,
    auuc,
    qini,
    qini_curve,
    rank_groups,
    reliability,
    uplift_by_decile,
    weight_at_top,
)
from training.evaluation.figures import TOP, Curve, Deciles, Floats, ServiceFigures
from training.evaluation.policy_value import effect_of_offer
from training.evaluation.rate import RankSums, autoc, rank_columns, rank_sums, top_groups

MIN_EXPOSURES = 30  # offers, and nothings to compare with; from fewer, nothing is estimated

_BAND_POINTS = 25  # of the Qini curve of a replicate
_CURVE_POINTS = 101
_ROWS_A_BIN = 300  # of a reliability diagram, so that noise in a bin does not pass for bad calibration


@dataclass(frozen=True)
class HeldOut:
    """The held-out rows as every service's figures need them."""

    test: Dataset
    outcome: Floats  # (n,) margin or repurchase as it came, before costs
    mu0: Floats  # (n,) its prediction where nothing is shown
    is_money: bool  # can costs be taken off the outcome?
    resampled: UserBootstrap
    level: float  # of every interval

    def interval(self, value: float, replicates: Floats) -> Interval:
        return Interval.of(value, replicates, self.level)


def service_figures(
    held_out: HeldOut,
    position: int,
    uplift: Floats,
    uptake: Floats,
    eligible: NDArray[np.bool_],
    chosen: float,
) -> ServiceFigures:
    """What the held-out rows say of the service at `position` of the catalogue.

    Parameters
    ----------
    uplift, uptake : arrays of shape (n,)
        Predicted uplift in the outcome, before costs, and predicted uptake of this service.
    eligible : bool array of shape (n,)
        Rows on which it could have been offered; averages are over these.
    chosen : float
        Share of exposures at which Perkwise would offer it.
    """
    test = held_out.test
    shown = np.flatnonzero(test.service == position)
    nothing = np.flatnonzero((test.service == NOTHING) & eligible)
    service = test.catalog.services[position]
    counted = ServiceFigures(
        service.service_id,
        service.name,
        n=len(shown),
        n_nothing=len(nothing),
        chosen=chosen,
        uptake_rate=float(test.uptake[shown].mean()) if len(shown) else None,
    )
    if min(len(shown), len(nothing)) < MIN_EXPOSURES:
        return counted
    ranking = _Ranking.of(held_out, position, np.sort(np.concatenate([shown, nothing])), uplift)
    figures = replace(
        counted,
        reliability=uptake_reliability(test.uptake[shown], uptake[shown]),
        qini=held_out.interval(qini(*ranking.columns), ranking.replicates.qini()),
        auuc=held_out.interval(auuc(*ranking.columns), ranking.replicates.auuc()),
        uplift_at_top=ranking.uplift_at_top(held_out),
        curve=ranking.curve(held_out.level),
    )
    return _with_uplift(figures, held_out, position, uplift, np.flatnonzero(eligible), shown)


def uptake_reliability(taken: Floats, predicted: Floats) -> Reliability:
    """Ten bins, or as many as leave 300 exposures in each."""
    return reliability(taken, predicted, n_bins=int(np.clip(len(taken) // _ROWS_A_BIN, 1, 10)))


@dataclass(frozen=True)
class _Ranking:
    """Rows of one service and of nothing, ranked by its predicted uplift; as they are and resampled."""

    rows: NDArray
    columns: tuple[Floats, Floats, NDArray[np.bool_], Floats]  # outcome, uplift, treated, weights
    replicates: ArmSums  # by group of the ranking

    @classmethod
    def of(cls, held_out: HeldOut, position: int, rows: NDArray, uplift: Floats) -> "_Ranking":
        outcome, treated = held_out.outcome[rows], held_out.test.service[rows] == position
        weights = 1 / held_out.test.slate_propensity[rows]
        by_group = arm_columns(outcome, treated, weights, rank_groups(uplift[rows], _BAND_POINTS))
        sums = held_out.resampled.sums(by_group, rows)
        return cls(rows, (outcome, uplift[rows], treated, weights), arm_sums(sums))

    def uplift_at_top(self, held_out: HeldOut) -> Interval | None:
        """Of the same users in every replicate; None where they leave an arm empty."""
        outcome, uplift, treated, weights = self.columns
        inside = weight_at_top(uplift, TOP, weights)
        sums = arm_columns(outcome, treated, inside, np.zeros(len(outcome), np.int64))
        found = held_out.resampled.figure(lambda summed: arm_sums(summed).uplift(), sums, self.rows)
        return found.interval(held_out.level) if np.isfinite(found.value) else None

    def curve(self, level: float) -> Curve:
        targeted, gain = qini_curve(*self.columns)
        _, _, treated, weights = self.columns
        share, tail = np.linspace(0, 1, _CURVE_POINTS), (1 - level) / 2
        low, high = np.nanquantile(self.replicates.qini_gain_per_user(), [tail, 1 - tail], axis=0)
        return Curve(
            share=share,
            gain=np.interp(share, targeted / targeted[-1], gain / weights[treated].sum()),
            band_share=np.nanmean(self.replicates.share(), axis=0),
            low=low,
            high=high,
        )


def _with_uplift(
    figures: ServiceFigures, held_out: HeldOut, position: int, uplift: Floats, may: NDArray, shown: NDArray
) -> ServiceFigures:
    """The uplift over the rows `may`, by tenth and on average, and what of it the costs leave."""
    test = held_out.test
    effect = effect_of_offer(
        held_out.outcome, test.service, test.slate_propensity, position, held_out.mu0, uplift
    )[may]
    group = top_groups(uplift[may])
    by_group = rank_sums(held_out.resampled.sums(rank_columns(effect, group), may))
    by_tenth = _by_tenth(by_group, group, rank_groups(uplift[may], 10))
    predicted, realised = uplift_by_decile(effect, uplift[may])
    deciles = Deciles(
        predicted,
        tuple(held_out.interval(*pair) for pair in zip(realised, by_tenth.T, strict=True)),
    )
    uplifts = by_group.mean()
    figures = replace(
        figures,
        deciles=deciles,
        uplift=held_out.interval(effect.mean(), uplifts),
        autoc=held_out.interval(autoc(effect, uplift[may]), by_group.autoc()),
    )
    return _with_costs(figures, held_out, position, effect.mean(), uplifts, shown)


def _by_tenth(by_group: RankSums, group: NDArray, tenth: NDArray) -> Floats:
    """Mean effects of the tenths, of which each holds whole groups, in every replicate."""
    first_row = np.unique(group, return_index=True)[1]
    first_group = np.unique(tenth[first_row], return_index=True)[1]
    effect, n = (np.add.reduceat(sums, first_group, axis=-1) for sums in (by_group.effect, by_group.n))
    return _ratio(effect, n)


def _with_costs(
    figures: ServiceFigures,
    held_out: HeldOut,
    position: int,
    uplift: float,
    uplifts: Floats,
    shown: NDArray,
) -> ServiceFigures:
    catalog, test = held_out.test.catalog, held_out.test
    spent = test.uptake[shown] * catalog.unit_cost[position] + catalog.contact_cost[position]
    weights = 1 / test.slate_propensity[shown]
    cost = float(np.average(spent, weights=weights))
    figures = replace(figures, cost=cost)
    if not held_out.is_money:
        return figures
    costs = _ratio(*held_out.resampled.sums(np.column_stack([weights * spent, weights]), shown).T)
    net = held_out.interval(uplift - cost, uplifts - costs)
    roi = held_out.interval((uplift - cost) / cost, _ratio(uplifts - costs, costs)) if cost > 0 else None
    return replace(figures, net=net, roi=roi)


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """Replicates of a ratio; nan where nothing was drawn to divide by."""
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
