"""What offering a service is worth, alone and in a list, and the best list of each length.

Worth of a list S of n services, with p the uptake of each when offered alone, a = p / (1 − p), and
A0(S) the effort of choosing (``offers.choice``):

    Σ (uplift_margin − p · unit_cost) · P(take in list) / p − contact
  = Σ b / (A0(S) + Σ a) − Σ contact,   with b = (uplift_margin − p · unit_cost) / (1 − p)

Costs count (1 + money)-fold, and contact holds the price of showing. Every function treats each row
by itself, with sums in a fixed order: one user or a million, the numbers are the same to the last bit.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.choice import MAX_UPTAKE, choice_effort, count_alike
from offers.compiler import plain
from offers.list_kernels import fill_candidates, fill_terms
from offers.types import AtMost, Estimates, ListRules

Floats = NDArray[np.float64]
Positions = NDArray[np.intp]
Mask = NDArray[np.bool_]

MAX_UPLIFT = 1e12  # money; beyond it an estimate is a fault, and arithmetic would overflow


@dataclass(frozen=True)
class Terms:
    """The terms of the formula above; ``value`` is NaN where the estimates are not sound."""

    value: Floats  # (n_users, n_services) worth when offered alone
    gain: Floats  # (n_users, n_services) b, money per unit of attraction share
    attraction: Floats  # (n_users, n_services) a
    contact: Floats  # (n_users, n_services) cost of offering, with what its money and showing are priced at
    load: Floats  # (n_users,) choice load
    category: Positions  # (n_services,)
    similarity: float

    def take(self, rows: NDArray[np.intp]) -> "Terms":
        """The same terms for some of the users, whose rows rise."""
        if len(rows) == len(self.value):
            return self
        return Terms(
            self.value[rows],
            self.gain[rows],
            self.attraction[rows],
            self.contact[rows],
            self.load[rows],
            self.category,
            self.similarity,
        )


def is_known(estimates: Estimates) -> Mask:
    """Where the estimates are sound: an uptake in [0, 1], an uplift below 1e12; nothing else is shown."""
    sound_uptake = (estimates.uptake >= 0) & (estimates.uptake <= 1)
    return sound_uptake & (np.abs(estimates.uplift_margin) < MAX_UPLIFT)


def check_columns(estimates: Estimates, catalog: Catalog) -> None:
    """Estimates have one column for each service of the catalogue."""
    uptake, uplift = np.shape(estimates.uptake), np.shape(estimates.uplift_margin)
    expected = (len(estimates.uptake), len(catalog))
    if uptake != expected or uplift != expected:
        raise ValueError(
            f"estimates must have one column for each of {len(catalog)} services, "
            f"got uptake {uptake} and uplift_margin {uplift}."
        )


def terms_of(
    estimates: Estimates,
    catalog: Catalog,
    money: Floats,
    showing: Floats,
    load: Floats,
    similarity: float,
) -> Terms:
    """Value alone, gain, attraction and contact of every service for every user.

    Where the estimates are not sound (``is_known``) the value is NaN.

    Parameters
    ----------
    money : ndarray of shape (n_users,)
        A cost of 1 must earn 1 + money.
    showing : ndarray of shape (n_users, n_services)
        Charged for each showing.
    """
    shape = np.shape(estimates.uptake)
    value, gain, attraction, contact = np.empty((4, *shape))
    fill_terms(
        *(plain(one, np.float64) for one in (estimates.uptake, estimates.uplift_margin)),
        catalog.unit_cost,
        catalog.contact_cost,
        *(plain(one, np.float64) for one in (money, showing)),
        MAX_UPTAKE,
        MAX_UPLIFT,
        value,
        gain,
        attraction,
        contact,
    )
    return Terms(value, gain, attraction, contact, load, catalog.category, similarity)


def may_be_shown(
    terms: Terms, eligible: Mask, rules: ListRules, longest: NDArray[np.intp]
) -> tuple[Mask, Mask]:
    """The services that can be in a best list, and those among them that are in every list.

    Without a service that must be shown, only services whose value alone is above 0 can be in the best
    list: any other brings in no more than its contact, and takes from the rest. With services that must be
    shown and harm, another that is worth nothing itself may still draw the choice away from them, so that
    all that may be offered are candidates.

    Parameters
    ----------
    longest : ndarray of shape (n_users,)
        Services that a list may hold. Of services that must be shown and do not fit, in length or by the
        rules, those of greater value are kept.

    Returns
    -------
    candidates : ndarray of bool, shape (n_users, n_services)
    forced : ndarray of bool, shape (n_users, n_services)
    """
    candidates, forced = np.zeros((2, *eligible.shape), dtype=bool)
    fill_candidates(
        *(plain(one, np.bool_) for one in (eligible, rules.must_show)),
        *(plain(one, np.float64) for one in (terms.value, terms.gain)),
        *(plain(one, np.int64) for one in (*membership(rules.at_most, eligible.shape[1]), longest)),
        candidates,
        forced,
    )
    return candidates, forced


@lru_cache(256)
def membership(
    at_most: tuple[AtMost, ...], n_services: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """1 for each service of each rule, shape (n_rules, n_services), and how many of them a list may hold.

    Counts by products of such matrices are exact in any order of summing.

    >>> member, most = membership((AtMost((0, 2), 1),), 3)
    >>> member.tolist(), most.tolist()
    ([[1.0, 0.0, 1.0]], [1.0])
    """
    member = np.zeros((len(at_most), n_services), dtype=np.float32)
    for number, rule in enumerate(at_most):
        member[number, list(rule.services)] = 1
    return member, np.array([rule.most for rule in at_most], dtype=np.float32)


def worth_of(terms: Terms, chosen: Positions) -> Floats:
    """What a list of each row is worth, shape (n_users,); ``chosen`` has shape (n_users, n), n ≥ 1."""
    chosen = np.sort(chosen, axis=1)
    gain, weight, contact = totals(terms, chosen)
    return gain / weight - contact


def totals(terms: Terms, chosen: Positions) -> tuple[Floats, Floats, Floats]:
    """Σ b, A0 + Σ a and Σ contact of a list of each row."""
    n_alike = count_alike(terms.category[chosen])
    weight = choice_effort(chosen.shape[1], terms.load, n_alike, terms.similarity) + sum_of(
        terms.attraction, chosen
    )
    return sum_of(terms.gain, chosen), weight, sum_of(terms.contact, chosen)


def pick(numbers: NDArray, chosen: Positions) -> NDArray:
    return numbers[np.arange(len(numbers))[:, None], chosen]


def sum_of(numbers: Floats, chosen: Positions) -> Floats:
    return running_sum(pick(numbers, chosen))


def running_sum(numbers: Floats) -> Floats:
    """Sum over the last axis from left to right: numpy's own order of summing depends on the shape."""
    total = numbers[..., 0].copy()
    for part in range(1, numbers.shape[-1]):
        total += numbers[..., part]
    return total
