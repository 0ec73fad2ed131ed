"""The best list of each length for every row, by the cheapest way that finds it.

Where contacts are equal and no rule binds, Dinkelbach's method finds it exactly. Elsewhere every list
is tried where a row has at most 16 candidates; where it has more, a list is built up service by
service and improved by exchanges until none helps, which tests hold within 0.5 % of the best.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from offers.choice import choice_effort
from offers.exchange import good_lists
from offers.ranking import Floats, Mask, Positions, Terms, pick, running_sum, totals, worth_of
from offers.types import AtMost

EXACT_SERVICES = 16  # every list is tried among so many candidates
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
    by_formula = ~menu.forced.any(axis=1) & _equal_contacts(menu) & ~_is_bound(menu)
    is_small = menu.candidates.sum(axis=1) <= (0 if quick else EXACT_SERVICES)
    by_exchange = partial(_by_exchange, rounds=_QUICK_ROUNDS if quick else _ROUNDS)
    for mask, way in (
        (by_formula, _by_formula),
        (~by_formula & is_small, _by_trying),
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
    bound = np.zeros(len(menu), dtype=bool)
    for group in menu.at_most:
        bound |= menu.candidates[:, list(group.services)].sum(axis=1) > group.most
    return bound


def _keep(found: BestLists, rows: NDArray[np.intp], chosen: Positions, worth: Floats) -> None:
    n = chosen.shape[1]
    found.chosen[rows, n - 1, :n] = chosen
    found.worth[rows, n] = worth


def _by_formula(menu: Menu, longest: int, found: BestLists, rows: NDArray[np.intp]) -> None:
    n_candidates = menu.candidates.sum(axis=1)
    for n in range(1, longest + 1):
        enough = np.flatnonzero(n_candidates >= n)
        if len(enough):
            some = menu.take(enough)
            chosen = _single(some) if n == 1 else _greatest_ratio(some, n)
            _keep(found, rows[enough], chosen, worth_of(some.terms, chosen))


def _single(menu: Menu) -> Positions:
    return np.where(menu.candidates, menu.terms.value, -np.inf).argmax(axis=1)[:, None]


def _greatest_ratio(menu: Menu, n: int) -> Positions:
    """Dinkelbach's method: the n greatest of b − θa, with θ the ratio of the list so found, until θ stands.

    Each step finds a list of a greater ratio than the last, and stops at the greatest (Dinkelbach
    1967, On nonlinear fractional programming). The first service of a category is spared its
    similarity, so that its key is greater by θ · load · similarity; as each further one of a category
    has a smaller key than the last, picking the greatest key one by one is exact for each θ.
    """
    gain = np.where(menu.candidates, menu.terms.gain, -np.inf)
    chosen = _greatest(gain, np.zeros(len(gain)), menu.terms.category, n)
    ratio = _ratio(menu.terms, chosen)
    rising = np.arange(len(gain))
    while len(rising):
        some = menu.terms.take(rising)
        theta = ratio[rising]
        spared = theta * some.load * some.similarity
        other = _greatest(gain[rising] - theta[:, None] * some.attraction, spared, some.category, n)
        other_ratio = _ratio(some, other)
        better = other_ratio > theta
        rising = rising[better]
        chosen[rising] = other[better]
        ratio[rising] = other_ratio[better]
    return chosen


def _greatest(key: Floats, spared: Floats, category: Positions, n: int) -> Positions:
    """The n greatest of each row, ties to the first, where a category's first counts ``spared`` more."""
    rows = np.arange(len(key))
    chosen = np.empty((len(key), n), dtype=np.intp)
    has_spared = len(np.unique(category)) < len(category) and bool((spared > 0).any())
    left = key + spared[:, None] if has_spared else key.copy()
    key = key.copy()
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
    """Every list of the candidates."""
    by_category = np.argsort(menu.terms.category, kind="stable")
    candidates = menu.candidates[:, by_category]
    width_of = candidates.sum(axis=1)
    for width in np.unique(width_of).tolist():
        of_width = np.flatnonzero(width_of == width)
        searched = by_category[np.nonzero(candidates[of_width])[1].reshape(len(of_width), width)]
        for n in range(1, min(longest, width) + 1):
            rows_at_once = max(1, _ROWS_TIMES_LISTS // len(_lists(width, n)))
            for start in range(0, len(of_width), rows_at_once):
                part = slice(start, start + rows_at_once)
                chosen, may = _best_of_all(menu.take(of_width[part]), searched[part], n)
                users = of_width[part][may]
                worth = worth_of(menu.terms.take(users), chosen[may])
                _keep(found, rows[users], chosen[may], worth)


def _best_of_all(menu: Menu, searched: Positions, n: int) -> tuple[Positions, Mask]:
    """The best list of n of those searched, services of a category side by side; False where none may be."""
    terms, lists = menu.terms, _lists(searched.shape[1], n)
    category = terms.category[searched][:, lists]
    n_alike = (category[..., 1:] == category[..., :-1]).sum(axis=-1)
    effort = choice_effort(n, terms.load[:, None], n_alike, terms.similarity)
    weight = effort + running_sum(pick(terms.attraction, searched)[:, lists])
    contact = running_sum(pick(terms.contact, searched)[:, lists])
    worth = running_sum(pick(terms.gain, searched)[:, lists]) / weight - contact
    worth[~_may_be_made(menu, searched, lists)] = -np.inf
    best = worth.argmax(axis=1)
    return pick(searched, lists[best]), worth[np.arange(len(worth)), best] > -np.inf


def _may_be_made(menu: Menu, searched: Positions, lists: Positions) -> Mask:
    """Which lists hold all that must be shown and keep to the rules, shape (n_users, n_lists)."""
    forced = pick(menu.forced, searched)
    may = forced[:, lists].sum(axis=-1) == forced.sum(axis=1, keepdims=True)
    for group in menu.at_most:
        may &= np.isin(searched, group.services)[:, lists].sum(axis=-1) <= group.most
    return may


@lru_cache(maxsize=256)
def _lists(width: int, n: int) -> Positions:
    """Every list of n out of ``width`` positions, shape (n_lists, n)."""
    return np.array(list(combinations(range(width), n)), dtype=np.intp).reshape(-1, n)


def _by_exchange(menu: Menu, longest: int, found: BestLists, rows: NDArray[np.intp], rounds: int) -> None:
    """Lists built up service by service and improved by exchanges."""
    n_forced = menu.forced.sum(axis=1)
    lists = good_lists(menu.terms, menu.candidates, menu.forced, menu.at_most, longest, rounds)
    for n, (chosen, made) in enumerate(lists, start=1):
        users = np.flatnonzero(made & (n_forced <= n))
        _keep(found, rows[users], chosen[users], worth_of(menu.take(users).terms, chosen[users]))
