"""Does predicted uplift come true? Predicted against realised by tenth, over all services together."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.bootstrap import Interval, UserBootstrap
from training.evaluation.checks import Finding, digits
from training.evaluation.curves import rank_groups

Floats = NDArray[np.float64]

_NOTABLE_P = 0.01
_TOO_FLAT = 0.5  # a slope below it: half of what is predicted, or less, comes true


@dataclass(frozen=True)
class Predicted:
    """One service's predicted uplift beside the doubly robust signal of it."""

    rows: NDArray[np.intp]  # positions in the held-out rows
    uplift: Floats
    effect: Floats


@dataclass(frozen=True)
class UpliftCalibration:
    """How predictions and what came of them agree, pooled over services.

    Attributes
    ----------
    predicted : array of shape (n_bins,)
        Mean prediction in bins of equal count, highest first.
    realised : tuple of n_bins Interval
    error : Interval
        Root of the mean squared gap between the two, less what chance alone shows; 0 where less.
    raw, chance : float
        The root mean squared gap as it is, and what perfect predictions would show at this size.
    p : float
        Of a raw gap as large, were predictions perfect.
    slope, intercept : Interval
        Of the line of what came true on what was predicted; 1 and 0 are perfect.
    """

    predicted: Floats
    realised: tuple[Interval, ...]
    error: Interval
    raw: float
    chance: float
    p: float
    slope: Interval
    intercept: Interval


def uplift_calibration(
    services: Iterable[Predicted], resampled: UserBootstrap, n_rows: int, level: float, n_bins: int = 10
) -> UpliftCalibration | None:
    """Calibration of predicted uplift, each service's pairs weighted by 1 / variance of its signal.

    The gap of a bin is the mean signal less the mean prediction. A mean of squared gaps is too large by
    their variances, which the bootstrap of whole users tells and which are taken off; from its replicates,
    which vary once more about the gaps, they are taken off twice.

    Returns
    -------
    UpliftCalibration
        None where no service can be judged, or all predictions are equal.

    References
    ----------
    Chernozhukov, Demirer, Duflo and Fernández-Val (2018), Generic machine learning inference on heterogeneous
    treatment effects (slope and intercept); Xu and Yadlowsky (2022), Calibration error for heterogeneous
    treatment effects (the error and its debiasing).
    """
    parts = list(services)
    pooled = np.concatenate([part.uplift for part in parts]) if parts else np.empty(0)
    if not pooled.size or np.ptp(pooled) == 0:
        return None
    group = rank_groups(pooled, n_bins)
    columns = np.zeros((n_rows, 3 * (group.max() + 1) + 2))
    end = 0
    for part in parts:
        begin, end = end, end + len(part.rows)
        _add(columns, part, group[begin:end])
    here, replicates = _sums(columns.sum(axis=0)[None]), _sums(resampled.sums(columns))
    return _calibration(here, replicates, level)


def calibration_finding(found: UpliftCalibration | None, unit: str, n: int) -> Finding:
    """The verdict on it: an alert where half of what is predicted, or less, comes true."""
    key, name = "uplift_calibration", "Uplift calibration"
    if found is None:
        return Finding(key, name, "note", "Not enough data: no service can be judged.", n)
    off = found.p < _NOTABLE_P
    flat = found.slope.high < _TOO_FLAT
    text = (
        f"Of 1 {unit} more that is predicted, {digits(found.slope.value)} come true "
        f"({digits(found.slope.low)} to {digits(found.slope.high)}). Predicted and realised "
        f"differ by {digits(found.raw)} {unit} "
        f"an offer over tenths; perfect predictions would show {digits(found.chance)} by chance. "
    )
    text += (
        "The predictions are much too far apart: go by their order, not by their size."
        if flat
        else "That is more than chance: go by the tenths of each service rather than by a single prediction."
        if off
        else "Chance explains the difference."
    )
    return Finding(
        key,
        name,
        "alert" if flat else "note" if off else "fine",
        text,
        n=n,
        figure=found.error.value,
        measures=f"{unit} an offer, beyond chance",
        low=found.error.low,
        high=found.error.high,
        p=found.p,
    )


def _add(columns: Floats, part: Predicted, group: NDArray[np.int64]) -> None:
    """Add a service's weights, predictions and signals by bin, and the moments of the line."""
    spread = float(((part.effect - part.effect.mean()) ** 2).mean())
    weight = 1 / spread if spread > 0 else 0.0
    n_bins = (columns.shape[1] - 2) // 3
    for place, values in enumerate((np.ones(len(group)), part.uplift, part.effect)):
        columns[part.rows, place * n_bins + group] += weight * values
    columns[part.rows, -2] += weight * part.uplift**2
    columns[part.rows, -1] += weight * part.uplift * part.effect


@dataclass(frozen=True)
class _Sums:
    weight: Floats  # (n_replicates, n_bins), as the two below
    predicted: Floats
    realised: Floats
    square: Floats  # (n_replicates,)
    product: Floats

    def gaps(self) -> Floats:
        return _over(self.realised - self.predicted, self.weight)

    def line(self) -> tuple[Floats, Floats]:
        total = self.weight.sum(axis=1)
        x, y = self.predicted.sum(axis=1) / total, self.realised.sum(axis=1) / total
        slope = _over(self.product / total - x * y, self.square / total - x**2)
        return slope, y - slope * x


def _sums(columns: Floats) -> _Sums:
    weight, predicted, realised = np.split(columns[:, :-2], 3, axis=1)
    return _Sums(weight, predicted, realised, columns[:, -2], columns[:, -1])


def _calibration(here: _Sums, replicates: _Sums, level: float) -> UpliftCalibration:
    share = here.weight[0] / here.weight[0].sum()
    gaps, drawn = here.gaps()[0], replicates.gaps()
    by_chance = float(share @ np.nanvar(drawn, axis=0))
    square = float(share @ gaps**2)
    tail = (1 - level) / 2
    low, high = np.nanquantile(np.nansum(share * drawn**2, axis=1) - 2 * by_chance, [tail, 1 - tail])
    around = np.nansum(share * (drawn - gaps) ** 2, axis=1)
    realised, of_replicates = (
        _over(here.realised, here.weight)[0],
        _over(replicates.realised, replicates.weight),
    )
    (slope,), (intercept,) = here.line()
    slopes, intercepts = replicates.line()
    return UpliftCalibration(
        predicted=_over(here.predicted, here.weight)[0],
        realised=tuple(Interval.of(*pair, level) for pair in zip(realised, of_replicates.T, strict=True)),
        error=Interval(_root(square - by_chance), _root(low), _root(high)),
        raw=_root(square),
        chance=_root(by_chance),
        p=float((1 + (around >= square).sum()) / (1 + len(around))),
        slope=Interval.of(slope, slopes, level),
        intercept=Interval.of(intercept, intercepts, level),
    )


def _over(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _root(square: float) -> float:
    return float(np.sqrt(max(square, 0.0)))
