"""What the policy would seem to gain if the log's treatments had been dealt to other contacts."""

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.checks import ALERT_P, Finding, by_user, digits
from training.evaluation.policy_value import effective_sample_size

Floats = NDArray[np.float64]

_MOST_STRATA = 10  # of the propensity, for each service that the policy offers
_LEAST_EFFECTIVE = 30  # contacts; the mean of fewer says nothing


def placebo(
    offered: NDArray[np.intp],
    p_offered: Floats,
    service: NDArray,
    propensity: Floats,
    user: NDArray,
    outcome: Floats,
    mu0: Floats,
    uplift: Floats,
    unit: str,
    level: float,
) -> Finding:
    """Treatments permuted among contacts of equal propensity: the policy's gain must then be about nothing.

    The doubly robust gain of the policy over nothing, before costs, is the mean of

        uplift + W · (outcome − mu0 − uplift) − N · (outcome − mu0),

    W and N being 1 / propensity where the log showed what the policy offers, and nothing. Dealt anew within
    strata of the offered service and its propensity, the pairs (W, N) know nothing of the outcomes. The mean
    and variance of the gain over all such permutations have closed forms, so that none is drawn. The mean is
    0 but for chance where W and N average 1, that is where the propensities are true; a model that is wrong,
    or an outcome that leaks into it, moves it not at all. The models are taken as they are: that learning
    from permuted treatments yields about nothing is a matter of the engine, not of a log, and tested there.

    Parameters
    ----------
    offered : int array of shape (n,)
        Column of what the policy offers: nothing 0, services from 1 on.
    p_offered : array of shape (n,)
        About the propensity of that, not knowing what was shown: makes the strata.
    outcome, mu0, uplift : arrays of shape (n,)
        As it came, before costs; predicted where nothing is shown; what the offer is predicted to add.

    References
    ----------
    Hoeffding (1951), A combinatorial central limit theorem.
    """
    match = np.where(service == offered - 1, 1 / propensity, 0.0)
    nothing = np.where(service == -1, 1 / propensity, 0.0)
    found: dict[str, Any] = {"key": "placebo", "name": "Placebo", "n": len(service)}
    if min(effective_sample_size(match), effective_sample_size(nothing)) < _LEAST_EFFECTIVE:
        text = "Not enough data: the log hardly ever did what the policy would do."
        return Finding(verdict="note", text=text, **found)
    rest, base = outcome - mu0 - uplift, mu0 - outcome
    real = float((uplift + match * rest + nothing * base).mean())
    stratum = _strata(offered, p_offered)
    drift, variance = _permuted(match, nothing, rest, base, stratum)
    mean, sd = float(drift.mean()), float(np.sqrt(variance))
    sums = by_user(drift, user)
    spread = float(np.sqrt((sums**2).sum())) / len(service)
    normal = NormalDist()
    p = 2 * normal.cdf(-abs(mean) / spread) if spread > 0 else 1.0
    p_real = 2 * normal.cdf(-abs(real - mean) / sd) if sd > 0 else 1.0
    half = normal.inv_cdf((1 + level) / 2) * sd
    between = f"{digits(mean - half)} to {digits(mean + half)}"
    text = (
        "With treatments dealt anew among contacts of equal propensity the policy seems to gain "
        f"{digits(mean)} {unit} a contact over nothing ({between}); with the true ones {digits(real)} "
        f"(p = {p_real:.2g}). "
    )
    text += (
        "The placebo should be nothing and is not: the propensities are not those of "
        "what was shown, and every "
        "value on this page is off."
        if p < ALERT_P
        else "The placebo is nothing but chance, as it should be."
    )
    text += (
        " Only who was shown what is permuted, on these contacts; the models are not fitted anew, so this "
        "asks of the propensities and not of the learning."
    )
    return Finding(
        verdict="alert" if p < ALERT_P else "fine",
        text=text,
        figure=mean,
        measures=f"{unit} a contact",
        low=mean - half,
        high=mean + half,
        p=p,
        **found,
    )


def _strata(offered: NDArray[np.intp], p_offered: Floats) -> NDArray[np.intp]:
    """One for each service offered and tenth of its propensity; equal propensities stay together."""
    stratum = np.zeros(len(offered), np.intp)
    for one in np.unique(offered):
        rows = np.flatnonzero(offered == one)
        edges = np.quantile(p_offered[rows], np.arange(1, _MOST_STRATA) / _MOST_STRATA)
        stratum[rows] = one * _MOST_STRATA + np.searchsorted(edges, p_offered[rows])
    return np.unique(stratum, return_inverse=True)[1]


def _permuted(
    match: Floats, nothing: Floats, rest: Floats, base: Floats, stratum: NDArray[np.intp]
) -> tuple[Floats, float]:
    """Each row's part in the mean gain over all permutations, and the variance of that gain over them.

    The mean gain is that of uplift + W̄·rest + N̄·base, averages being those of the stratum; as rest + base =
    −uplift, it is (W̄ − 1)·rest + (N̄ − 1)·base.
    """
    size = np.bincount(stratum)

    def mean(values: Floats) -> Floats:
        return np.asarray(np.bincount(stratum, values) / size, np.float64)[stratum]

    def spread(left: Floats, right: Floats) -> Floats:
        return np.bincount(stratum, (left - mean(left)) * (right - mean(right))).astype(np.float64)

    drift = (match - 1) * mean(rest) + (nothing - 1) * mean(base)
    variance = (
        spread(match, match) * spread(rest, rest)
        + 2 * spread(match, nothing) * spread(rest, base)
        + spread(nothing, nothing) * spread(base, base)
    ) / np.maximum(size - 1, 1)
    return drift, float(variance.sum()) / len(match) ** 2
