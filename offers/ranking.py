"""What offering a service is worth, alone and in a list, and the best list of each length.

Worth of a list S of n services, with p the uptake of each when offered alone, a = p / (1 − p), and
A0(S) the effort of choosing (``offers.choice``):

    Σ (uplift_margin − p · unit_cost) · P(take in list) / p − contact
  = Σ b / (A0(S) + Σ a) − Σ contact,   with b = (uplift_margin − p · unit_cost) / (1 − p)

Costs count (1 + money)-fold, and contact holds the price of showing. Every function treats each row
by itself, with sums in a fixed order: one user or a million, the numbers are the same to the last bit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.choice import MAX_UPTAKE, attraction, choice_effort, count_alike
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
    uptake = np.asarray(estimates.uptake, dtype=np.float64)
    uplift = np.asarray(estimates.uplift_margin, dtype=np.float64)
    sound = is_known(estimates)
    uptake = np.where(sound, uptake, 0.0)
    dearer = (1 + money)[:, None]
    margin = np.where(sound, uplift, 0.0) - uptake * (catalog.unit_cost * dearer)
    contact = catalog.contact_cost * dearer + showing
    return Terms(
        value=np.where(sound, margin - contact, np.nan),
        gain=margin / (1 - np.minimum(uptake, MAX_UPTAKE)),
        attraction=attraction(uptake),
        contact=contact,
        load=load,
        category=catalog.category,
        similarity=similarity,
    )


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
    known: Mask = eligible & ~np.isnan(terms.value)
    for group in rules.at_most:
        if group.most < 1:
            known[:, list(group.services)] = False
    forced = _that_fit(known & rules.must_show, terms.value, rules, longest)
    harms = np.any(forced & (terms.gain < 0), axis=1, keepdims=True)
    return forced | (known & ((terms.value > 0) | harms)), forced


def _that_fit(must_show: Mask, value: Floats, rules: ListRules, longest: NDArray[np.intp]) -> Mask:
    forced = np.zeros_like(must_show)
    n_must = must_show.sum(axis=1)
    if not n_must.any():
        return forced
    users = np.arange(len(must_show))
    order = np.argsort(-np.where(must_show, value, -np.inf), axis=1, kind="stable")
    member, most = membership(rules.at_most, must_show.shape[1])
    n_held = np.zeros((len(users), len(most)), dtype=np.float32)
    for rank in range(int(n_must.max())):
        of_rule = member[:, order[:, rank]].T
        has_room = ~((of_rule > 0) & (n_held >= most)).any(axis=1)
        fits = (rank < n_must) & (forced.sum(axis=1) < longest) & has_room
        forced[users, order[:, rank]] |= fits
        n_held += fits[:, None] * of_rule
    return forced


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


def ranked(terms: Terms, lists: Positions, length: NDArray[np.intp]) -> Positions:
    """A list of each row in falling order of what each service adds; ties by catalogue, and −1 pads.

    Parameters
    ----------
    lists : ndarray of shape (n_users, longest)
        Catalogue positions; what stands beyond a list's length has no meaning.
    length : ndarray of shape (n_users,)
    """
    if not length.any():
        return np.full(lists.shape, -1, dtype=np.intp)
    is_in = np.arange(lists.shape[1]) < length[:, None]
    ordered = np.sort(np.where(is_in, lists, terms.gain.shape[1]), axis=1)
    services = np.where(is_in, ordered, 0)
    n_alike = count_alike(np.where(is_in, terms.category[services], -1))
    effort = choice_effort(np.maximum(length, 1), terms.load, n_alike, terms.similarity)
    weight = effort + running_sum(np.where(is_in, pick(terms.attraction, services), 0.0))
    adds = pick(terms.gain, services) / weight[:, None] - pick(terms.contact, services)
    order = np.argsort(np.where(is_in, -adds, np.inf), axis=1, kind="stable")
    return pick(np.where(is_in, ordered, -1), order)


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
