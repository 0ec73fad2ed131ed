"""The lists of all users at once, within budgets: prices by duality, then a repair of what they leave over.

For any prices λ the bound L(λ) = Σ_u max_S (worth − λ · use) + λ · B is at least what any lists within
the budgets B are worth, the optimum of the linear programme over all lists included; its least value is that
optimum. Prices are found on a sample by column generation (Dantzig and Wolfe 1960): the lists found so far
make a small model, whose best prices ask ``decide`` for the next lists. They are corrected where a larger
sample uses more than the small one says. All users are then decided once at the prices, and lists that
exceed a budget are replaced, where least is lost. The gap between the bound and what the lists are worth
is a certificate: it is at least the distance from the optimum, whatever the search did.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offers.budget import Budget, prices_of, usage, without_money
from offers.catalog import Catalog
from offers.policy import decide
from offers.settings import DecisionSettings
from offers.types import Estimates, ListRules, Progress, Slates

Floats = NDArray[np.float64]

_SMALL, _LARGE = 4_000, 40_000  # users of the samples
_ROUNDS = 12  # of column generation
_STEPS = 250  # of the search for prices in the small model
_SETTLED = 0.0005  # of the bound: what the lists found so far or a budget's rest may be worth at the end
_USERS_AT_ONCE = 16_384
_DEAR = 1e6  # a price at which nothing is bought


@dataclass(frozen=True)
class Case:
    """All that the lists depend on, but for the prices; arrays have a row for each user."""

    estimates: Estimates
    eligible: NDArray[np.bool_]
    catalog: Catalog
    settings: DecisionSettings
    tracks: NDArray[np.intp]  # (n_users,) −1: none
    max_services: NDArray[np.intp]  # (n_users,)
    choice_load: Floats | None = None
    list_rules: ListRules | None = None

    def take(self, rows: slice | NDArray[np.intp]) -> "Case":
        """The same for some of the users."""
        rules = self.list_rules
        return replace(
            self,
            estimates=self.estimates.take(rows),
            eligible=self.eligible[rows],
            tracks=self.tracks[rows],
            max_services=self.max_services[rows],
            choice_load=None if self.choice_load is None else self.choice_load[rows],
            list_rules=None if rules is None else ListRules(rules.at_most, rules.must_show[rows]),
        )


@dataclass(frozen=True)
class Allocation:
    """Lists within the budgets, and how far they may be from the best."""

    slates: Slates
    budgets: tuple[Budget, ...]
    price: Floats  # (n_budgets,) λ; inf where there is nothing to spend
    used: Floats  # (n_budgets,) never more than the amount
    worth: float  # of all lists, money
    bound: float  # no lists within the budgets are worth more
    barred: NDArray[
        np.bool_
    ]  # (n_users, n_services): without these, ``decide`` gives the lists at the prices

    @property
    def gap(self) -> float:
        """The share of the bound that the lists may be short of."""
        return (self.bound - self.worth) / self.bound if self.bound > 0 else 0.0


@dataclass(frozen=True)
class _Lists:
    """Lists of some users: what they are worth without prices, and what they use."""

    slates: Slates
    worth: Floats  # (n_users,)
    used: NDArray[np.float32]  # (n_users, n_budgets)


def allocate(
    case: Case,
    budgets: Sequence[Budget],
    rng: np.random.Generator,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Allocation:
    """The most valuable lists that keep every budget.

    Parameters
    ----------
    budgets : sequence of Budget
        Of an amount of 0, nothing that uses it is shown.
    rng : Generator
        Draws the samples.
    workers : int
        Threads that decide; the answer does not depend on their number.

    Examples
    --------
    Three users for whom the service is worth 3, 2 and 1 after its cost of 1, and money for two.

    >>> from offers.types import Service
    >>> catalog = Catalog.of([Service("gift", "Gift", contact_cost=1.0)])
    >>> value = np.array([[4.0], [3.0], [2.0]])
    >>> case = Case(
    ...     Estimates(value / 10, value, value),
    ...     value > 0,
    ...     catalog,
    ...     DecisionSettings(),
    ...     np.full(3, -1),
    ...     np.full(3, 1),
    ... )
    >>> found = allocate(case, [Budget("all", "money", 2.0)], np.random.default_rng(0))
    >>> found.slates.length.tolist(), found.used.tolist(), found.worth
    ([1, 1, 0], [2.0], 5.0)
    """
    case = replace(case, eligible=case.eligible & ~without_money(budgets, case.catalog, case.tracks))
    open_budgets = tuple(one for one in budgets if one.amount > 0)
    found = _within(case, open_budgets, rng, workers, progress)
    price, used = np.full(len(budgets), np.inf), np.zeros(len(budgets))
    is_open = np.array([one.amount > 0 for one in budgets], dtype=bool)
    price[is_open], used[is_open] = found.price, found.used
    nothing = without_money(budgets, case.catalog, case.tracks)
    return replace(found, budgets=tuple(budgets), price=price, used=used, barred=found.barred | nothing)


def _within(
    case: Case,
    budgets: tuple[Budget, ...],
    rng: np.random.Generator,
    workers: int,
    progress: Progress | None,
) -> Allocation:
    amount = np.array([one.amount for one in budgets], dtype=np.float64)
    price = _solve(case, budgets, amount, rng) if budgets else np.empty(0)
    lists = _lists_at(price, case, budgets, workers, progress)
    priced = lists.worth.sum() - float(price @ lists.used.sum(axis=0, dtype=np.float64))
    bound = priced + float(price @ amount)
    barred = _repair(lists, case, budgets, amount, price)
    used = lists.used.sum(axis=0, dtype=np.float64)
    return Allocation(lists.slates, budgets, price, used, float(lists.worth.sum()), bound, barred)


def _solve(case: Case, budgets: tuple[Budget, ...], amount: Floats, rng: np.random.Generator) -> Floats:
    """Prices at which the lists use what there is."""
    n_users = len(case.eligible)
    order = rng.permutation(n_users)
    small, large = order[:_SMALL], order[:_LARGE]
    model = _Model(case.take(small), budgets)
    share = amount * (len(small) / max(n_users, 1))
    price = model.settle(share)
    if n_users > _SMALL:
        for _ in range(2):
            of_large = _lists_at(price, case.take(large), budgets).used.sum(axis=0, dtype=np.float64)
            of_small = model.used_at(price)
            says = of_large * (len(small) / len(large))
            ratio = np.where((of_small > 0) & (says > 0), says / np.maximum(of_small, 1e-12), 1.0)
            price = model.settle(share / np.clip(ratio, 0.5, 2.0))
    return price


class _Model:
    """The lists of a sample that were found so far, and the best prices among them."""

    def __init__(self, case: Case, budgets: tuple[Budget, ...]) -> None:
        self.case, self.budgets = case, budgets
        columns = [
            _lists_at(np.full(len(budgets), at), case, budgets) for at in (0.0, _DEAR)
        ]  # the best and the cheapest lists
        self.worth = np.stack([column.worth for column in columns], axis=1)
        self.used = np.stack([column.used for column in columns], axis=1)
        self.scale = np.abs(columns[0].worth).sum() / np.maximum(columns[0].used.sum(axis=0), 1e-9)

    def settle(self, amount: Floats) -> Floats:
        """Prices for these amounts, adding lists until they no longer help."""
        best_price, best_bound = np.zeros(len(amount)), np.inf
        for _ in range(_ROUNDS):
            price, model_bound = self._search(amount)
            lists = _lists_at(price, self.case, self.budgets)
            used = lists.used.sum(axis=0, dtype=np.float64)
            bound = float(lists.worth.sum() + price @ (amount - used))
            if bound < best_bound:
                best_price, best_bound = price, bound
            unspent = float(price @ np.abs(amount - used))
            if bound == best_bound and max(bound - model_bound, unspent) <= _SETTLED * abs(bound):
                break
            self.worth = np.concatenate([self.worth, lists.worth[:, None]], axis=1)
            self.used = np.concatenate([self.used, lists.used[:, None]], axis=1)
        return best_price

    def used_at(self, price: Floats) -> Floats:
        """What the sample's lists use at these prices."""
        return _lists_at(price, self.case, self.budgets).used.sum(axis=0, dtype=np.float64)

    def _search(self, amount: Floats) -> tuple[Floats, float]:
        """The least bound over the lists found so far: each price by steps that grow until they overshoot.

        Steps as in Rprop (Riedmiller and Braun 1993), which asks for the sign of the slope alone.
        """
        n, n_columns, n_budgets = self.used.shape
        flat = self.used.reshape(-1, n_budgets)
        users = np.arange(n)
        price, step, before = np.zeros(n_budgets), 0.05 * self.scale, np.zeros(n_budgets)
        best_price, best_bound = price, np.inf
        for _ in range(_STEPS):
            net = self.worth - (flat @ price.astype(np.float32)).reshape(n, n_columns)
            chosen = net.argmax(axis=1)
            slope = self.used[users, chosen].sum(axis=0, dtype=np.float64) - amount
            bound = float(net[users, chosen].sum() + price @ amount)
            if bound < best_bound:
                best_price, best_bound = price, bound
            sign = np.where((slope < 0) & (price == 0), 0.0, np.sign(slope))
            step = np.where(sign * before < 0, step * 0.5, np.where(sign * before > 0, step * 1.3, step))
            price, before = np.maximum(price + sign * step, 0.0), sign
        return best_price, best_bound


def _lists_at(
    price: Floats,
    case: Case,
    budgets: tuple[Budget, ...],
    workers: int = 1,
    progress: Progress | None = None,
) -> _Lists:
    """The best list of each user at these prices."""
    n_users = len(case.eligible)
    starts = range(0, n_users, _USERS_AT_ONCE)
    width = int(case.max_services.max(initial=1))
    slates = Slates(
        np.full((n_users, width), -1, dtype=np.intp),
        np.zeros(n_users, dtype=np.intp),
        np.full((n_users, width + 1), -np.inf),
    )
    lists = _Lists(slates, np.zeros(n_users), np.zeros((n_users, len(budgets)), dtype=np.float32))

    def fill(start: int) -> None:
        rows = slice(start, min(start + _USERS_AT_ONCE, n_users))
        _fill(lists, rows, price, case.take(rows), budgets)

    with ThreadPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(fill, starts), start=1):
            if progress:
                progress("budget", min(done * _USERS_AT_ONCE, n_users), n_users)
    return lists


def _fill(
    lists: _Lists, rows: slice | NDArray[np.intp], price: Floats, case: Case, budgets: tuple[Budget, ...]
) -> None:
    """Put the lists of these users in their rows."""
    some = decide(
        case.estimates,
        case.eligible,
        case.catalog,
        case.settings,
        case.max_services,
        choice_load=case.choice_load,
        prices=prices_of(price, budgets, case.estimates, case.catalog, case.tracks),
        list_rules=case.list_rules,
    )
    used = usage(budgets, some, case.estimates, case.catalog, case.settings, case.tracks, case.choice_load)
    width = some.services.shape[1]
    lists.slates.services[rows] = -1
    lists.slates.services[rows, :width] = some.services
    lists.slates.length[rows] = some.length
    lists.slates.worth_by_length[rows] = -np.inf
    lists.slates.worth_by_length[rows, : width + 1] = some.worth_by_length
    priced = np.take_along_axis(some.worth_by_length, some.length[:, None], axis=1)[:, 0]
    lists.used[rows] = used
    lists.worth[rows] = priced + used @ price


def _repair(
    lists: _Lists, case: Case, budgets: tuple[Budget, ...], amount: Floats, price: Floats
) -> NDArray[np.bool_]:
    """Replace lists by ones that use nothing of a budget exceeded; the answer is what was barred for that.

    Users are taken in the order of what their lists are worth beyond the prices, for each unit used.
    """
    barred = np.zeros(case.eligible.shape, dtype=bool)
    for _ in range(2 * len(budgets)):
        over = lists.used.sum(axis=0, dtype=np.float64) - amount
        if not (over > 0).any():
            break
        worst = int((over / np.maximum(amount, 1e-9)).argmax())
        rows = _cheapest_to_leave(lists, worst, float(over[worst]), price)
        empty = replace(budgets[worst], amount=0.0)
        barred[rows] |= without_money([empty], case.catalog, case.tracks[rows])
        _fill(lists, rows, price, _without(case.take(rows), barred[rows]), budgets)
    for place in np.flatnonzero(lists.used.sum(axis=0, dtype=np.float64) > amount):  # no list at all
        over_there = float(lists.used[:, place].sum(dtype=np.float64) - amount[place])
        rows = _cheapest_to_leave(lists, int(place), over_there, price)
        barred[rows] = True
        _fill(lists, rows, price, _without(case.take(rows), barred[rows]), budgets)
    return barred


def _cheapest_to_leave(lists: _Lists, place: int, over: float, price: Floats) -> NDArray[np.intp]:
    """Users whose lists together use as much of a budget as is too much, those that lose least first."""
    users = np.flatnonzero(lists.used[:, place] > 0)
    used = lists.used[users, place].astype(np.float64)
    net = lists.worth[users] - lists.used[users] @ price
    order = np.argsort(net / used, kind="stable")
    n = int(np.searchsorted(np.cumsum(used[order]), over * (1 + 1e-9))) + 1
    return users[order[:n]]


def _without(case: Case, barred: NDArray[np.bool_]) -> Case:
    """The same users, who may not be shown what is barred."""
    return replace(case, eligible=case.eligible & ~barred)
