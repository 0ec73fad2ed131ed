"""The best list of each length for every row, by the cheapest way that finds it.

Where contacts are equal and no rule binds, Dinkelbach's method finds it exactly. Elsewhere, and where there
are few candidates, every list is tried: among up to 16 of them. Where a row has more, a list is built up
service by service and improved by exchanges until none helps, which tests hold within 0.5 % of the best.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from offers.choice import choice_effort, count_alike
from offers.exchange import good_lists
from offers.ranking import Floats, Mask, Positions, Terms, membership, pick, totals, worth_of
from offers.types import AtMost

EXACT_SERVICES = 16  # every list is tried among so many candidates
_FEW = 8  # of so few candidates every list is tried sooner than the formula finds the best
_WIDTHS = np.array([4, 6, 8, 10, 12, 14, EXACT_SERVICES])  # few, so that some rows are tried together
_MANY = 256  # rows, of which those of each width are enough to be tried together
_ROWS_TIMES_LISTS = 2_000_000  # tried at once, which bounds the memory
_ROUNDS = 20  # of exchanges; two or three are enough
_QUICK_ROUNDS = 1


@dataclass(frozen=True)
class Menu:
    """What lists are made from: for each row its candidates, those of them that must be in it, and rules."""

    terms: Terms
    candidates: Mask  # (n_users, n_services)
    forced: Mask  # (n_users, n_services), among the candidates and together allowed by the rules
    at_most: tuple[AtMost, ...]

    def __len__(self) -> int:
        return len(self.candidates)

    def take(self, rows: NDArray[np.intp]) -> "Menu":
        """The same menu for some of the users, whose rows rise."""
        if len(rows) == len(self):
            return self
        return Menu(self.terms.take(rows), self.candidates[rows], self.forced[rows], self.at_most)


@dataclass(frozen=True)
class BestLists:
    """The best list of each length 1 … longest of each row."""

    chosen: Positions  # (n_users, longest, longest): [user, n − 1, :n]; the rest has no meaning
    worth: Floats  # (n_users, longest + 1); 0 for nothing, −inf where no list of n may be made


def best_lists(menu: Menu, longest: int, quick: bool = False) -> BestLists:
    """The best list of each length up to ``longest``; ``quick`` tries no list one by one."""
    n_users = len(menu)
    found = BestLists(
        np.zeros((n_users, longest, longest), dtype=np.intp), np.full((n_users, longest + 1), -np.inf)
    )
    found.worth[:, 0] = 0.0
    n_candidates = menu.candidates.sum(axis=1)
    is_free = ~menu.forced.any(axis=1) & _equal_contacts(menu) & ~_is_bound(menu)
    by_formula = is_free & (quick | (n_candidates > _FEW))
    is_small = n_candidates <= (0 if quick else EXACT_SERVICES)
    by_exchange = partial(_by_exchange, rounds=_QUICK_ROUNDS if quick else _ROUNDS)
    for mask, way in (
        (by_formula, _by_formula),
        (~by_formula & is_small & (n_candidates > 0), _by_trying),
        (~by_formula & ~is_small, by_exchange),
    ):
        rows = np.flatnonzero(mask)
        if len(rows):
            way(menu.take(rows), longest, found, rows)
    return found


def _equal_contacts(menu: Menu) -> NDArray[np.bool_]:
    contact = menu.terms.contact
    low = np.where(menu.candidates, contact, np.inf).min(axis=1, initial=np.inf)
    high = np.where(menu.candidates, contact, -np.inf).max(axis=1, initial=-np.inf)
    return high <= low


def _is_bound(menu: Menu) -> NDArray[np.bool_]:
    member, most = membership(menu.at_most, menu.candidates.shape[1])
    n_candidates = menu.candidates.astype(np.float32) @ member.T
    return np.any(n_candidates > most, axis=1)


def _keep(found: BestLists, rows: NDArray[np.intp], chosen: Positions, worth: Floats) -> None:
    n = chosen.shape[1]
    found.chosen[rows, n - 1, :n] = chosen
    found.worth[rows, n] = worth


def _by_formula(menu: Menu, longest: int, found: BestLists, rows: NDArray[np.intp]) -> None:
    n_candidates = menu.candidates.sum(axis=1)
    ratio = np.zeros(len(menu))
    for n in range(1, longest + 1):
        enough = np.flatnonzero(n_candidates >= n)
        if len(enough):
            some = menu.take(enough)
            if n == 1:
                chosen = _single(some)
            else:
                chosen, ratio[enough] = _greatest_ratio(some, n, ratio[enough])
            _keep(found, rows[enough], chosen, worth_of(some.terms, chosen))


def _single(menu: Menu) -> Positions:
    return np.where(menu.candidates, menu.terms.value, -np.inf).argmax(axis=1)[:, None]


def _greatest_ratio(menu: Menu, n: int, theta: Floats) -> tuple[Positions, Floats]:
    """Dinkelbach's method: the n greatest of b − θa, with θ the ratio of the list so found, until θ stands.

    Each step finds a list of a greater ratio than the last, and stops at the greatest (Dinkelbach
    1967, On nonlinear fractional programming); it may begin with any ``theta``, best near the end. The
    first service of a category is spared its similarity, so that its key is greater by
    θ · load · similarity; as each further one of a category has a smaller key than the last, picking the
    greatest key one by one is exact for each θ. Returns the lists and their ratios.
    """
    terms = menu.terms
    gain = np.where(menu.candidates, terms.gain, -np.inf)
    chosen = _of_greatest_key(gain, terms, theta, n)
    ratio = _ratio(terms, chosen)
    rising = np.arange(len(gain))
    while len(rising):
        some, theta = terms.take(rising), ratio[rising]
        other = _of_greatest_key(gain[rising], some, theta, n)
        other_ratio = _ratio(some, other)
        better = other_ratio > theta
        rising = rising[better]
        chosen[rising] = other[better]
        ratio[rising] = other_ratio[better]
    return chosen, ratio


def _of_greatest_key(gain: Floats, terms: Terms, theta: Floats, n: int) -> Positions:
    key = gain - theta[:, None] * terms.attraction
    return _greatest(key, theta * terms.load * terms.similarity, terms.category, n)


def _greatest(key: Floats, spared: Floats, category: Positions, n: int) -> Positions:
    """The n greatest of each row, ties to the first, where a category's first counts ``spared`` more."""
    rows = np.arange(len(key))
    chosen = np.empty((len(key), n), dtype=np.intp)
    has_spared = bool((spared > 0).any())
    left = key + spared[:, None]
    for rank in range(n):
        best = left.argmax(axis=1)
        chosen[:, rank] = best
        key[rows, best] = left[rows, best] = -np.inf
        if has_spared:
            left = np.where(category[best][:, None] == category, key, left)
    return chosen


def _ratio(terms: Terms, chosen: Positions) -> Floats:
    gain, weight, _ = totals(terms, np.sort(chosen, axis=1))
    return gain / weight


def _by_trying(menu: Menu, longest: int, found: BestLists, rows: NDArray[np.intp]) -> None:
    """Every list of the candidates, of all lengths at once."""
    width_of = menu.candidates.sum(axis=1)
    searched_width = width_of
    if len(menu) < _MANY:
        searched_width = np.minimum(_WIDTHS[np.searchsorted(_WIDTHS, width_of)], menu.candidates.shape[1])
    for width in np.unique(searched_width).tolist():
        of_width = np.flatnonzero(searched_width == width)
        rows_at_once = max(1, _ROWS_TIMES_LISTS // _lists(width, longest).shape[1])
        for start in range(0, len(of_width), rows_at_once):
            some = of_width[start : start + rows_at_once]
            _keep_best(menu.take(some), width, longest, found, rows[some])


def _keep_best(menu: Menu, width: int, longest: int, found: BestLists, rows: NDArray[np.intp]) -> None:
    """Of at most ``width`` candidates a row; places beyond its own hold services that no list may have."""
    users, lists = np.arange(len(menu)), _lists(width, longest)
    searched = np.argsort(~menu.candidates, axis=1, kind="stable")[:, :width]
    is_candidate = pick(menu.candidates, searched)
    worth = _worth(menu.terms, searched, is_candidate, lists)
    for may in _kept_rules(menu, searched, width, longest):
        worth[~may] = -np.inf
    begin = 0
    for n in range(1, min(longest, width) + 1):
        end = begin + comb(width, n)
        best = begin + worth[:, begin:end].argmax(axis=1)
        found.worth[rows, n] = worth[users, best]
        found.chosen[rows, n - 1, :n] = searched[users[:, None], lists[:n, best].T]
        begin = end


def _worth(terms: Terms, searched: Positions, is_candidate: Mask, lists: Positions) -> Floats:
    """Of each list, shape (n_users, n_lists), summed as ``worth_of`` sums; −inf: of another's services."""
    gain = _sums(np.where(is_candidate, pick(terms.gain, searched), -np.inf), lists)
    n_services = (lists < searched.shape[1]).sum(axis=0)
    n_alike = _n_alike(terms, searched, lists)
    effort = choice_effort(n_services, terms.load[:, None], n_alike, terms.similarity)
    worth: Floats = gain / (effort + _sums(pick(terms.attraction, searched), lists))
    return worth - _sums(pick(terms.contact, searched), lists)


def _sums(numbers: Floats, lists: Positions) -> Floats:
    """Of each list, summed in its order; ``numbers`` has shape (n_users, width)."""
    padded = np.concatenate([numbers, np.zeros((len(numbers), 1))], axis=1)  # what fills up short lists
    total = padded.take(lists[0], axis=1)  # a third of the time of an index
    for place in lists[1:]:
        total += padded.take(place, axis=1)
    return total


def _n_alike(terms: Terms, searched: Positions, lists: Positions) -> Positions | int:
    """Services of each list whose category stands before, shape (n_users, n_lists)."""
    if not terms.similarity or not count_alike(terms.category[searched]).any():
        return 0
    nothing = np.full((len(searched), 1), np.nan)  # is like nothing, itself included
    category = np.concatenate([terms.category[searched].astype(np.float64), nothing], axis=1)
    of_place = [category.take(place, axis=1) for place in lists]
    n_alike = np.zeros((len(searched), lists.shape[1]), dtype=np.intp)
    for place in range(1, len(lists)):
        n_alike += np.logical_or.reduce([of_place[place] == of_place[other] for other in range(place)])
    return n_alike


def _kept_rules(menu: Menu, searched: Positions, width: int, longest: int) -> Iterator[Mask]:
    """For each rule that can be broken, which lists keep to it; and which hold all that must be shown."""
    holds = _holds(width, longest)
    forced = pick(menu.forced, searched).astype(np.float32)
    if forced.any():
        yield forced @ holds == forced.sum(axis=1, keepdims=True)
    for member, most in zip(*membership(menu.at_most, menu.forced.shape[1])):
        of_rule = member[searched]
        if of_rule.sum(axis=1).max() > most:
            yield of_rule @ holds <= most


@lru_cache(maxsize=256)
def _lists(width: int, longest: int) -> Positions:
    """Every list of 1 to ``longest`` out of ``width`` positions, the shorter first; shape (longest, n_lists).

    Short lists are filled up with the position ``width``.
    """
    chosen = [
        (*one, *(width,) * (longest - n))
        for n in range(1, min(longest, width) + 1)
        for one in combinations(range(width), n)
    ]
    return np.array(chosen, dtype=np.intp).T.copy()


@lru_cache(maxsize=256)
def _holds(width: int, longest: int) -> NDArray[np.float32]:
    """1 where a list holds a position, shape (width, n_lists); counts of so few are exact in any order."""
    lists = _lists(width, longest)
    holds = np.zeros((width + 1, lists.shape[1]), dtype=np.float32)
    holds[lists, np.arange(lists.shape[1])] = 1
    return holds[:width]


def _by_exchange(menu: Menu, longest: int, found: BestLists, rows: NDArray[np.intp], rounds: int) -> None:
    """Lists built up service by service and improved by exchanges."""
    n_forced = menu.forced.sum(axis=1)
    lists = good_lists(menu.terms, menu.candidates, menu.forced, menu.at_most, longest, rounds)
    for n, (chosen, made) in enumerate(lists, start=1):
        users = np.flatnonzero(made & (n_forced <= n))
        _keep(found, rows[users], chosen[users], worth_of(menu.take(users).terms, chosen[users]))
