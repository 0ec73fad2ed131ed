"""Good lists for many users at once: built up service by service, then improved by exchanges.

Each step tries all services for all users in one pass. Arrays lie with services first, so that a pass
runs along users; within a block they stay in the processor's cache. Numbers are of single precision, so
that a list may be worse than another by a millionth of its worth; what it is worth is computed elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offers.ranking import Mask, Positions, Terms
from offers.types import AtMost

Floats = NDArray[np.float32]

_BLOCK = 1024
_GAINS = 1e-6  # money; an exchange must be better by this, or rounding would exchange for ever


@dataclass(frozen=True)
class _Block:
    """A block of users; arrays of shape (n_services, n_users) unless said."""

    gain: Floats
    attraction: Floats
    contact: Floats  # inf for what is no candidate
    load: Floats  # (n_users,)
    alike: Floats  # (n_users,) what one service of a category that stands in the list adds to the effort
    forced: Mask | None  # None: nobody must be shown anything
    category: Positions  # (n_services,)
    repeated: Positions  # services whose category has others
    at_most: tuple[AtMost, ...]


@dataclass(frozen=True)
class _Totals:
    """Of the lists so far, each of shape (n_users,)."""

    gain: Floats
    weight: Floats  # effort without load for the next service, and attractions
    contact: Floats


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
        block = _block_of(terms, candidates, forced, at_most, rows)
        places: list[Positions] = []
        may = np.ones(block.gain.shape[1], dtype=bool)
        for n in range(1, longest + 1):
            best, worth = _best_addition(block, places)
            may = may & (worth > -np.inf)
            if not may.any():
                break
            places = _exchanged(block, [*places, best], worth, rounds)
            chosen[n - 1][rows] = np.column_stack(places)
            made[n - 1][rows] = may
    yield from zip(chosen, made)


def _block_of(
    terms: Terms, candidates: Mask, forced: Mask, at_most: tuple[AtMost, ...], rows: slice
) -> _Block:
    size = np.bincount(terms.category, minlength=1)
    must = forced[rows]
    contact = np.where(candidates[rows], terms.contact[rows], np.inf)
    return _Block(
        gain=np.ascontiguousarray(terms.gain[rows].T, dtype=np.float32),
        attraction=np.ascontiguousarray(terms.attraction[rows].T, dtype=np.float32),
        contact=np.ascontiguousarray(contact.T, dtype=np.float32),
        load=terms.load[rows].astype(np.float32),
        alike=(terms.load[rows] * terms.similarity).astype(np.float32),
        forced=np.ascontiguousarray(must.T) if must.any() else None,
        category=terms.category,
        repeated=np.flatnonzero(size[terms.category] > 1) if terms.similarity else np.arange(0),
        at_most=at_most,
    )


def _exchanged(block: _Block, places: list[Positions], worth: Floats, rounds: int) -> list[Positions]:
    if len(places) == 1:
        return places
    for _ in range(rounds):
        improved = False
        for place in range(len(places)):
            others = places[:place] + places[place + 1 :]
            best, other_worth = _best_addition(block, others)
            better = other_worth > worth + _GAINS
            if better.any():
                improved = True
                places = [*others[:place], np.where(better, best, places[place]), *others[place:]]
                worth = np.where(better, other_worth, worth)
        if not improved:
            break
    return places


def _best_addition(block: _Block, places: list[Positions]) -> tuple[Positions, Floats]:
    """The service that makes each list worth most, and that worth; −inf where none may be added.

    What must be shown and is not in the list comes before all else.
    """
    users = np.arange(block.gain.shape[1])
    totals = _totals(block, places, users)
    worth = block.gain + totals.gain
    weight = block.attraction + totals.weight
    if places and len(block.repeated):
        of_repeated = block.category[block.repeated][:, None]
        is_alike = of_repeated == block.category[places[0]]
        for position in places[1:]:
            is_alike |= of_repeated == block.category[position]
        weight[block.repeated] += is_alike * block.alike
    worth /= weight
    worth -= block.contact
    for position in places:
        worth[position, users] = -np.inf
    _keep_rules(block, places, worth, users)
    best = worth.argmax(axis=0)
    return best, worth[best, users] - totals.contact


def _totals(block: _Block, places: list[Positions], users: Positions) -> _Totals:
    gain, contact = np.zeros((2, len(users)), dtype=np.float32)
    weight = 1 + block.load * len(places)
    for rank, position in enumerate(places):
        gain += block.gain[position, users]
        contact += block.contact[position, users]
        weight += block.attraction[position, users]
        if rank and len(block.repeated):
            earlier = [block.category[other] == block.category[position] for other in places[:rank]]
            weight += np.logical_or.reduce(earlier) * block.alike
    return _Totals(gain, weight, contact)


def _keep_rules(block: _Block, places: list[Positions], worth: Floats, users: NDArray[np.intp]) -> None:
    for group in block.at_most:
        members = np.zeros(len(worth), dtype=bool)
        members[list(group.services)] = True
        n_shown = sum((members[position].astype(np.intp) for position in places), start=np.zeros_like(users))
        worth[np.ix_(members, n_shown >= group.most)] = -np.inf
    if block.forced is not None:
        missing = block.forced & (worth > -np.inf)
        worth[~missing & missing.any(axis=0)] = -np.inf
