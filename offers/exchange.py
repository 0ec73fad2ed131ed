"""Good lists for many users at once: built up service by service, then improved by exchanges.

Each step tries all services for all users in one pass. Arrays lie with services first, so that a pass
runs along users; within a block they stay in the processor's cache. Numbers are of single precision, so
that a list may be worse than another by a millionth of its worth; what it is worth is computed elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offers.ranking import Mask, Positions, Terms, membership
from offers.types import AtMost

Floats = NDArray[np.float32]

_BLOCK = 1024
_GAINS = 1e-6  # money; an exchange must be better by this, or rounding would exchange for ever


@dataclass(frozen=True)
class _Block:
    """A block of users."""

    terms: Floats  # (3, n_services, n_users) gain, attraction, and contact: inf for what is no candidate
    users: Positions  # (n_users,) 0 and up
    load: Floats  # (n_users,)
    alike: Floats  # (n_users,) what one service of a category that stands in the list adds to the effort
    forced: Mask | None  # (n_services, n_users); None: nobody must be shown anything
    category: Positions | None  # (n_services,); None: being alike adds nothing
    n_categories: int
    member: Floats  # (n_rules, n_services) 1 for each service of a rule that binds somebody
    most: Floats  # (n_rules, 1)


def good_lists(
    terms: Terms, candidates: Mask, forced: Mask, at_most: tuple[AtMost, ...], longest: int, rounds: int
) -> Iterator[tuple[Positions, Mask]]:
    """Lists of 1 … longest, each of shape (n_users, n), and for which users there is one.

    From the best list of n − 1 the service that adds most makes one of n; then each of its services is
    exchanged for a better one, ``rounds`` times at most and as long as that helps anybody.
    """
    n_users = len(candidates)
    chosen = [np.zeros((n_users, n), dtype=np.intp) for n in range(1, longest + 1)]
    made = [np.zeros(n_users, dtype=bool) for _ in chosen]
    for start in range(0, n_users, _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = _block_of(terms, candidates[rows], forced[rows], at_most, rows)
        places = np.empty((0, len(block.users)), dtype=np.intp)
        may = np.ones(len(block.users), dtype=bool)
        for n in range(1, longest + 1):
            best, worth = _best_addition(block, places)
            may = may & (worth > -np.inf)
            if not may.any():
                break
            places = _exchanged(block, np.concatenate([places, best[None]]), worth, rounds)
            chosen[n - 1][rows] = places.T
            made[n - 1][rows] = may
    yield from zip(chosen, made)


def _block_of(
    terms: Terms, candidates: Mask, forced: Mask, at_most: tuple[AtMost, ...], rows: slice
) -> _Block:
    n_users, n_services = candidates.shape
    three = np.empty((3, n_services, n_users), dtype=np.float32)
    three[0], three[1], three[2] = terms.gain[rows].T, terms.attraction[rows].T, terms.contact[rows].T
    three[2][~candidates.T] = np.inf
    member, most = membership(at_most, n_services)
    binds = (candidates.astype(np.float32) @ member.T > most).any(axis=0)
    n_categories = int(terms.category.max(initial=-1)) + 1
    has_alike = terms.similarity > 0 and bool((np.bincount(terms.category) > 1).any())
    return _Block(
        terms=three,
        users=np.arange(n_users),
        load=terms.load[rows].astype(np.float32),
        alike=(terms.load[rows] * terms.similarity).astype(np.float32),
        forced=np.ascontiguousarray(forced.T) if forced.any() else None,
        category=terms.category if has_alike else None,
        n_categories=n_categories,
        member=member[binds],
        most=most[binds, None],
    )


def _exchanged(block: _Block, places: Positions, worth: Floats, rounds: int) -> Positions:
    """The same lists, (n, n_users), whose last service is the best beside the others, after exchanges.

    One place after the other is tried. As soon as all others were tried in vain since a place was filled
    best, more tries would find the same again: whether another user still gains changes no list.
    """
    n = len(places)
    in_vain = 0
    for tried in range(n * rounds):
        if in_vain == n - 1:
            break
        place = tried % n
        best, other_worth = _best_addition(block, np.concatenate([places[:place], places[place + 1 :]]))
        better = other_worth > worth + _GAINS
        in_vain += 1
        if better.any():
            in_vain = 0
            places[place] = np.where(better, best, places[place])
            worth = np.where(better, other_worth, worth)
    return places


def _best_addition(block: _Block, places: Positions) -> tuple[Positions, Floats]:
    """The service that makes each list worth most, and that worth; −inf where none may be added.

    What must be shown and is not in the list comes before all else. ``places`` has shape (n, n_users).
    """
    gain, attraction, contact = block.terms
    total = np.zeros((3, len(block.users)), dtype=np.float32)
    total[1] = 1 + block.load * len(places)
    for held in block.terms[:, places, block.users].swapaxes(0, 1):
        total += held
    worth = gain + total[0]
    weight = attraction + total[1]
    if len(places) and block.category is not None:
        stands = np.zeros((block.n_categories, len(block.users)), dtype=bool)
        stands[block.category[places], block.users] = True
        weight += (len(places) - stands.sum(axis=0)) * block.alike
        weight += stands[block.category] * block.alike
    worth /= weight
    worth -= contact
    if len(places):
        worth[places, block.users] = -np.inf
        _bar_what_is_full(block, places, worth)
    if block.forced is not None:
        missing = block.forced & (worth > -np.inf)
        worth[~missing & missing.any(axis=0)] = -np.inf
    best = worth.argmax(axis=0)
    return best, worth[best, block.users] - total[2]


def _bar_what_is_full(block: _Block, places: Positions, worth: Floats) -> None:
    """−inf for each service of a rule of which the list holds as many as it may."""
    if not len(block.most):
        return
    is_full = block.member[:, places].sum(axis=1) >= block.most
    if is_full.any():
        worth[block.member.T @ is_full.astype(np.float32) > 0] = -np.inf
