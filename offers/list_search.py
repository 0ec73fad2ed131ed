"""The best list of each length for every row, by the cheapest way that finds it.

Where there are at most 65,536 lists, as of 16 candidates of any length or of 24 up to five, a search over
all of them finds it. Of more, Dinkelbach's method does where contacts are equal and no rule binds; elsewhere
a list is built up service by service and improved by exchanges until none helps, which tests hold within
0.5 % of the best.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from math import comb

import numpy as np
from numpy.typing import NDArray

from offers.branch_and_bound import search
from offers.compiler import plain
from offers.exchange import good_lists
from offers.ranking import Floats, Mask, Positions, Terms, membership, totals, worth_of
from offers.types import AtMost

MOST_LISTS = 65_536  # that are searched, in half a millisecond at worst
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
    """The best list of each length up to ``longest``; ``quick`` searches no lists one by one."""
    n_users = len(menu)
    found = BestLists(
        np.zeros((n_users, longest, longest), dtype=np.intp), np.full((n_users, longest + 1), -np.inf)
    )
    found.worth[:, 0] = 0.0
    n_candidates = menu.candidates.sum(axis=1)
    is_small = n_candidates <= (0 if quick else searched_candidates(menu.candidates.shape[1], longest))
    if is_small.all():
        _search(menu, found.chosen, found.worth)
        return found
    by_formula = ~is_small
    if not is_small.all():
        by_formula &= ~menu.forced.any(axis=1) & _equal_contacts(menu) & ~_is_bound(menu)
    by_exchange = partial(_by_exchange, rounds=_QUICK_ROUNDS if quick else _ROUNDS)
    for mask, way in (
        (is_small & (n_candidates > 0), _by_search),
        (by_formula, _by_formula),
        (~is_small & ~by_formula, by_exchange),
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


@lru_cache(maxsize=256)
def searched_candidates(n_services: int, longest: int) -> int:
    """Of how many of the services all lists are searched.

    >>> searched_candidates(35, 5), searched_candidates(35, 35)
    (24, 16)
    """
    n = 0
    while n < n_services and sum(comb(n + 1, length) for length in range(longest + 1)) <= MOST_LISTS:
        n += 1
    return n


def _by_search(menu: Menu, longest: int, found: BestLists, rows: NDArray[np.intp]) -> None:
    chosen, worth = found.chosen[rows], found.worth[rows]
    _search(menu, chosen, worth)
    found.chosen[rows], found.worth[rows] = chosen, worth


def _search(menu: Menu, chosen: Positions, worth: Floats) -> None:
    terms = menu.terms
    member, most = membership(menu.at_most, menu.candidates.shape[1])
    search(
        *(plain(one, np.float64) for one in (terms.gain, terms.attraction, terms.contact, terms.load)),
        plain(terms.category, np.int64),
        float(terms.similarity),
        plain(menu.candidates, np.bool_),
        plain(menu.forced, np.bool_),
        plain(member, np.int64),
        plain(most, np.int64),
        chosen,
        worth,
    )


def _by_exchange(menu: Menu, longest: int, found: BestLists, rows: NDArray[np.intp], rounds: int) -> None:
    """Lists built up service by service and improved by exchanges."""
    n_forced = menu.forced.sum(axis=1)
    lists = good_lists(menu.terms, menu.candidates, menu.forced, menu.at_most, longest, rounds)
    for n, (chosen, made) in enumerate(lists, start=1):
        users = np.flatnonzero(made & (n_forced <= n))
        _keep(found, rows[users], chosen[users], worth_of(menu.take(users).terms, chosen[users]))
