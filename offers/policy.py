"""The decision: which services each user is shown, how many, and when none.

The report values this function, the batch scores with it and the service answers with it.
"""

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.choice import attraction, choice_effort, count_alike
from offers.compiler import plain
from offers.list_kernels import fill_slates
from offers.list_search import Menu, best_lists
from offers.ranking import check_columns, may_be_shown, terms_of
from offers.settings import DecisionSettings
from offers.types import AtMost, Estimates, ListRules, Prices, Slates

_ROWS_AT_ONCE = 4_096  # keeps the working set in the processor's cache


def decide(
    estimates: Estimates,
    eligible: NDArray[np.bool_],
    catalog: Catalog,
    settings: DecisionSettings,
    max_services: int | NDArray[np.intp] | None = None,
    *,
    choice_load: NDArray[np.float64] | None = None,
    prices: Prices | None = None,
    list_rules: ListRules | None = None,
    quick: bool = False,
) -> Slates:
    """The list of greatest worth for each user, of any length from none to ``max_services``.

    For each length the best list is found (``offers.list_search``), and the length of the greatest worth
    is shown; of equal worth, the shorter. What is not eligible, or has no sound estimate, is never shown.
    A row's list depends on that row alone, to the last bit.

    Parameters
    ----------
    estimates : Estimates
        Arrays of shape (n_users, n_services); NaN means unknown, and is never shown.
    eligible : ndarray of bool, shape (n_users, n_services)
        What may be offered (``offers.eligibility``).
    max_services : int or array of shape (n_users,), optional
        The longest list, of all or of each user; ``settings.max_services`` where it is not given. With 1
        the answer is nothing, or the one service of the greatest value. A user's own may be 0.
    choice_load : ndarray of shape (n_users,), optional
        How much harder each further service makes the choice; ``settings.choice_load`` where not given.
    prices : Prices, optional
        What must be earned beyond costs because a budget binds, on top of ``settings.money_price``.
    list_rules : ListRules, optional
        What a list must keep to as a whole. Services that must be shown are in every list of theirs,
        whatever it is worth; where they do not fit together, those of greater value are.
    quick : bool
        Lists that no formula finds are built up and improved by exchanges alone, which takes a twentieth
        of the time and rarely loses anything: for the many decisions of a search for prices.

    Returns
    -------
    Slates
        ``worth_by_length`` is 0 for length 0 and −inf for a length of which no list may be made.

    Examples
    --------
    >>> from offers.types import Service
    >>> catalog = Catalog.of([Service("a", "A"), Service("b", "B", unit_cost=3.0)])
    >>> one = np.array([[0.5, 0.5]])
    >>> slates = decide(Estimates(one, one, one), one > 0, catalog, DecisionSettings())
    >>> slates.length.tolist(), slates.services[0, :1].tolist(), slates.worth_by_length[0, :2].tolist()
    ([1], [0], [0.0, 0.5])
    """
    check_columns(estimates, catalog)
    shape = estimates.uptake.shape
    longest = _longest(settings, max_services, len(estimates.uptake))
    load = _load(settings, choice_load, len(estimates.uptake))
    money, showing = _prices(settings, prices, shape)
    if eligible.shape != shape:
        raise ValueError(f"eligible must have the shape of the estimates {shape}, got {eligible.shape}.")
    rules = _rules(list_rules, shape)
    width = int(longest.max(initial=1)) if len(longest) else settings.max_services
    slates = Slates(
        services=np.full((shape[0], width), -1, dtype=np.intp),
        length=np.zeros(shape[0], dtype=np.intp),
        worth_by_length=np.full((shape[0], width + 1), -np.inf),
    )
    for start in range(0, shape[0], _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        terms = terms_of(
            estimates.take(rows), catalog, money[rows], showing[rows], load[rows], settings.similarity_load
        )
        candidates, forced = may_be_shown(
            terms, eligible[rows], ListRules(rules.at_most, rules.must_show[rows]), longest[rows]
        )
        _fill(slates, Menu(terms, candidates, forced, rules.at_most), rows, longest[rows], quick)
    return slates


def _longest(
    settings: DecisionSettings, max_services: int | NDArray[np.intp] | None, n_users: int
) -> NDArray[np.intp]:
    if max_services is None:
        return np.full(n_users, settings.max_services, dtype=np.intp)
    if isinstance(max_services, np.ndarray):
        if max_services.shape != (n_users,) or (max_services < 0).any():
            raise ValueError(
                f"max_services must be one number of 0 or more for each of {n_users} users, "
                f"got shape {max_services.shape}, least {max_services.min(initial=0)}."
            )
        return max_services.astype(np.intp)
    if max_services < 1:
        raise ValueError(f"max_services must be at least 1, got {max_services}.")
    return np.full(n_users, max_services, dtype=np.intp)


def _load(
    settings: DecisionSettings, choice_load: NDArray[np.float64] | None, n_users: int
) -> NDArray[np.float64]:
    if choice_load is None:
        return np.full(n_users, settings.choice_load)
    _check_amounts("choice_load", choice_load, (n_users,))
    return choice_load


def _prices(
    settings: DecisionSettings, prices: Prices | None, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if prices is None:
        return np.full(shape[0], settings.money_price), np.zeros(shape)
    _check_amounts("prices.money", prices.money, shape[:1])
    _check_amounts("prices.showing", prices.showing, shape)
    return settings.money_price + prices.money, prices.showing


def _check_amounts(name: str, amounts: NDArray[np.float64], shape: tuple[int, ...]) -> None:
    if amounts.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {amounts.shape}.")
    if not (np.isfinite(amounts) & (amounts >= 0)).all():
        raise ValueError(f"{name} must be finite and 0 or more, got {amounts.min()} to {amounts.max()}.")


def _rules(list_rules: ListRules | None, shape: tuple[int, int]) -> ListRules:
    if list_rules is None:
        return ListRules((), np.zeros(shape, dtype=bool))
    if list_rules.must_show.shape != shape:
        raise ValueError(
            f"list_rules.must_show must have the shape {shape}, got {list_rules.must_show.shape}."
        )
    beyond = sorted({s for rule in list_rules.at_most for s in rule.services if not 0 <= s < shape[1]})
    if beyond:
        raise ValueError(
            f"list_rules.at_most must name catalogue positions from 0 to {shape[1] - 1}, got {beyond}."
        )
    once = tuple(AtMost(tuple(sorted(set(rule.services))), rule.most) for rule in list_rules.at_most)
    return ListRules(once, list_rules.must_show)


def _fill(slates: Slates, menu: Menu, rows: slice, longest: NDArray[np.intp], quick: bool) -> None:
    best = best_lists(menu, slates.services.shape[1], quick)
    terms, worth = menu.terms, slates.worth_by_length[rows]
    worth[:] = best.worth
    fill_slates(
        best.chosen,
        worth,
        plain(menu.forced, np.bool_),
        longest,
        *(plain(one, np.float64) for one in (terms.gain, terms.attraction, terms.contact, terms.load)),
        terms.category,
        float(terms.similarity),
        slates.services[rows],
        slates.length[rows],
    )


def expected_costs(
    slates: Slates,
    estimates: Estimates,
    catalog: Catalog,
    settings: DecisionSettings,
    choice_load: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """What each user's list is expected to cost: uses at their unit cost, and contacts; shape (n_users,).

    ``choice_load`` is the one that the lists were decided with.
    """
    is_shown = slates.services >= 0
    shown = np.where(is_shown, slates.services, 0)
    attractions = np.where(is_shown, attraction(np.take_along_axis(estimates.uptake, shown, axis=1)), 0.0)
    load = _load(settings, choice_load, len(shown))
    n_alike = count_alike(np.where(is_shown, catalog.category[shown], -1))
    effort = choice_effort(slates.length, load, n_alike, settings.similarity_load)
    taken = attractions / np.where(slates.length, effort + attractions.sum(axis=1), 1.0)[:, None]
    return (taken * catalog.unit_cost[shown] + is_shown * catalog.contact_cost[shown]).sum(axis=1)
