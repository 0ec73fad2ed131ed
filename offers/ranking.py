"""What offering a service is worth, alone and in a list, and the best list of each length.

Worth of a list of n services, with p the uptake of each when offered alone, a = p / (1 − p), and A0(n)
the effort of choosing (``offers.choice``):

    Σ (uplift_margin − p · unit_cost) · P(take in list) / p − contact_cost
  = Σ b / (A0(n) + Σ a) − Σ contact_cost,   with b = (uplift_margin − p · unit_cost) / (1 − p)

Costs count (1 + money_price)-fold. Every function treats each row by itself, with sums in a fixed
order: one user or a million, the numbers are the same to the last bit.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.choice import MAX_UPTAKE, attraction, choice_effort
from offers.types import Estimates

Floats = NDArray[np.float64]
Positions = NDArray[np.intp]

MAX_UPLIFT = 1e12  # money; beyond it an estimate is a fault, and arithmetic would overflow
EXACT_SERVICES = 16  # lists of differing contact costs are searched among so many services


@dataclass(frozen=True)
class Terms:
    """The terms of the formula above; ``value`` is NaN where the estimates are not sound."""

    value: Floats  # (n_users, n_services) worth when offered alone
    gain: Floats  # (n_users, n_services) b, money per unit of attraction share
    attraction: Floats  # (n_users, n_services) a
    contact: Floats  # (n_services,) cost of offering, money_price included

    def take(self, rows: NDArray[np.intp]) -> "Terms":
        """The same terms for some of the users."""
        return Terms(self.value[rows], self.gain[rows], self.attraction[rows], self.contact)


def is_known(estimates: Estimates) -> NDArray[np.bool_]:
    """Where the estimates are sound: an uptake in [0, 1], an uplift below 1e12; nothing else is shown."""
    sound_uptake = (estimates.uptake >= 0) & (estimates.uptake <= 1)
    return sound_uptake & (np.abs(estimates.uplift_margin) < MAX_UPLIFT)


def terms_of(estimates: Estimates, catalog: Catalog, money_price: float) -> Terms:
    """Value alone, gain and attraction of every service for every user.

    Where the estimates are not sound (``is_known``) the value is NaN.
    """
    uptake = np.asarray(estimates.uptake, dtype=np.float64)
    uplift = np.asarray(estimates.uplift_margin, dtype=np.float64)
    expected = (len(uptake), len(catalog))
    if uptake.shape != expected or uplift.shape != expected:
        raise ValueError(
            f"estimates must have one column for each of {len(catalog)} services, "
            f"got uptake {uptake.shape} and uplift_margin {uplift.shape}."
        )
    sound = is_known(estimates)
    uptake = np.where(sound, uptake, 0.0)
    margin = np.where(sound, uplift, 0.0) - uptake * (catalog.unit_cost * (1 + money_price))
    contact = catalog.contact_cost * (1 + money_price)
    return Terms(
        value=np.where(sound, margin - contact, np.nan),
        gain=margin / (1 - np.minimum(uptake, MAX_UPTAKE)),
        attraction=attraction(uptake),
        contact=contact,
    )


def best_single(terms: Terms, candidates: NDArray[np.bool_]) -> tuple[Positions, Floats]:
    """The candidate of the greatest value for each row, and that value; ties go to the first.

    Each row must have a candidate.
    """
    value = np.where(candidates, terms.value, -np.inf)
    best = value.argmax(axis=1)
    return best[:, None], value[np.arange(len(value)), best]


def best_list(
    terms: Terms, candidates: NDArray[np.bool_], n: int, choice_load: float
) -> tuple[Positions, Floats]:
    """The best list of exactly n candidates for each row, best service first, and what it is worth.

    Each row must have n candidates or more. Exact where all contact costs are equal, or where a row
    has at most 16 candidates. Elsewhere the 16 of the greatest value are searched, which tests hold
    within 0.5 % of the best.

    Returns
    -------
    chosen : ndarray of shape (n_users, n)
        Catalogue positions, in falling order of what each adds to the list's worth.
    worth : ndarray of shape (n_users,)
    """
    if n == 1:
        return best_single(terms, candidates)
    effort = choice_effort(n, choice_load)
    if np.ptp(terms.contact) == 0:
        chosen = _best_by_ratio(terms, candidates, n, effort)
    else:
        chosen = _best_by_search(terms, candidates, n, effort)
    chosen = np.sort(chosen, axis=1)
    weight = effort + _sum_of(terms.attraction, chosen)
    worth = _sum_of(terms.gain, chosen) / weight - _running_sum(terms.contact[chosen])
    adds = np.take_along_axis(terms.gain, chosen, axis=1) / weight[:, None] - terms.contact[chosen]
    return np.take_along_axis(chosen, np.argsort(-adds, axis=1, kind="stable"), axis=1), worth


def _best_by_ratio(terms: Terms, candidates: NDArray[np.bool_], n: int, effort: float) -> Positions:
    """Dinkelbach's method: the n greatest of b − θa, with θ the ratio of the list so found, until θ stands.

    Each step finds a list of a greater ratio than the last, and stops at the greatest (Dinkelbach
    1967, On nonlinear fractional programming).
    """
    gain = np.where(candidates, terms.gain, -np.inf)
    chosen = _greatest(gain, n)
    ratio = _ratio(terms, chosen, effort)
    rising = np.arange(len(gain))
    while len(rising):
        some = terms.take(rising)
        other = _greatest(gain[rising] - ratio[rising, None] * some.attraction, n)
        other_ratio = _ratio(some, other, effort)
        better = other_ratio > ratio[rising]
        rising = rising[better]
        chosen[rising] = other[better]
        ratio[rising] = other_ratio[better]
    return chosen


def _best_by_search(terms: Terms, candidates: NDArray[np.bool_], n: int, effort: float) -> Positions:
    """Every list of n among the candidates, or among the 16 of the greatest value, for each row."""
    value = np.where(candidates, terms.value, -np.inf)
    n_searched = np.minimum(candidates.sum(axis=1), EXACT_SERVICES)
    chosen = np.empty((len(value), n), dtype=np.intp)
    for width in np.unique(n_searched).tolist():
        lists = _lists(width, n)
        rows_at_once = max(1, 2_000_000 // len(lists))
        rows_of_width = np.flatnonzero(n_searched == width)
        for start in range(0, len(rows_of_width), rows_at_once):
            rows = rows_of_width[start : start + rows_at_once]
            searched = _greatest(value[rows], width)
            contact = _sum_over_lists(terms.contact[searched], lists)
            weight = effort + _sum_over_lists(_pick(terms.attraction[rows], searched), lists)
            worth = _sum_over_lists(_pick(terms.gain[rows], searched), lists) / weight - contact
            chosen[rows] = np.take_along_axis(searched, lists[worth.argmax(axis=1)], axis=1)
    return chosen


@lru_cache(maxsize=256)
def _lists(width: int, n: int) -> Positions:
    """Every list of n out of ``width`` positions, shape (n_lists, n)."""
    return np.array(list(combinations(range(width), n)), dtype=np.intp).reshape(-1, n)


def _greatest(key: Floats, n: int) -> Positions:
    """Positions of the n greatest of each row, ties to the first; n passes beat a sort for a short list."""
    key = key.copy()
    rows = np.arange(len(key))
    chosen = np.empty((len(key), n), dtype=np.intp)
    for rank in range(n):
        chosen[:, rank] = key.argmax(axis=1)
        key[rows, chosen[:, rank]] = -np.inf
    return chosen


def _ratio(terms: Terms, chosen: Positions, effort: float) -> Floats:
    return _sum_of(terms.gain, chosen) / (effort + _sum_of(terms.attraction, chosen))


def _pick(numbers: Floats, chosen: Positions) -> Floats:
    return np.take_along_axis(numbers, chosen, axis=1)


def _sum_of(numbers: Floats, chosen: Positions) -> Floats:
    return _running_sum(_pick(numbers, chosen))


def _sum_over_lists(numbers: Floats, lists: Positions) -> Floats:
    return _running_sum(numbers[:, lists])


def _running_sum(numbers: Floats) -> Floats:
    """Sum over the last axis from left to right: numpy's own order of summing depends on the shape."""
    total = numbers[..., 0].copy()
    for part in range(1, numbers.shape[-1]):
        total += numbers[..., part]
    return total
