"""The decision: which services each user is shown, how many, and when none.

The report values this function, the batch scores with it and the service answers with it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.choice import attraction, choice_effort
from offers.ranking import Terms, best_list, terms_of
from offers.settings import DecisionSettings
from offers.types import Estimates, Slates

_ROWS_AT_ONCE = 16_384  # keeps the working set in the processor's cache


def decide(
    estimates: Estimates,
    eligible: NDArray[np.bool_],
    catalog: Catalog,
    settings: DecisionSettings,
    max_services: int | None = None,
) -> Slates:
    """The list of greatest worth for each user, of any length from none to ``max_services``.

    Candidates are the eligible services with a sound estimate whose value alone is above 0: with a
    choice load of 0 or more, no other service can be in the best list. For each length the best list
    is found (``offers.ranking``), and the length of the greatest worth is shown; of equal worth, the
    shorter. A row's list depends on that row alone, to the last bit.

    Parameters
    ----------
    estimates : Estimates
        Arrays of shape (n_users, n_services); NaN means unknown, and is never shown.
    eligible : ndarray of bool, shape (n_users, n_services)
        What may be offered (``offers.eligibility``).
    max_services : int, optional
        The longest list; ``settings.max_services`` where it is not given. With 1 the answer is
        nothing, or the one service of the greatest value.

    Returns
    -------
    Slates
        ``worth_by_length`` is 0 for length 0 and −inf for a length that has too few candidates.

    Examples
    --------
    >>> from offers.types import Service
    >>> catalog = Catalog.of([Service("a", "A"), Service("b", "B", unit_cost=3.0)])
    >>> one = np.array([[0.5, 0.5]])
    >>> slates = decide(Estimates(one, one, one), one > 0, catalog, DecisionSettings())
    >>> slates.length.tolist(), slates.services[0, :1].tolist(), slates.worth_by_length[0, :2].tolist()
    ([1], [0], [0.0, 0.5])
    """
    longest = settings.max_services if max_services is None else max_services
    if longest < 1:
        raise ValueError(f"max_services must be at least 1, got {longest}.")
    terms = terms_of(estimates, catalog, settings.money_price)
    if eligible.shape != terms.value.shape:
        raise ValueError(
            f"eligible must have the shape of the estimates {terms.value.shape}, got {eligible.shape}."
        )
    candidates = eligible & (terms.value > 0)
    n_users = len(candidates)
    slates = Slates(
        services=np.full((n_users, longest), -1, dtype=np.intp),
        length=np.zeros(n_users, dtype=np.intp),
        worth_by_length=np.full((n_users, longest + 1), -np.inf),
    )
    slates.worth_by_length[:, 0] = 0.0
    for start in range(0, n_users, _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, n_users))
        _fill(slates, terms, candidates, rows, settings.choice_load)
    return slates


def _fill(
    slates: Slates, terms: Terms, candidates: NDArray[np.bool_], rows: NDArray[np.intp], choice_load: float
) -> None:
    best_worth = np.zeros(len(candidates[rows]))
    n_candidates = candidates[rows].sum(axis=1)
    for n in range(1, slates.services.shape[1] + 1):
        enough = np.flatnonzero(n_candidates >= n)
        if not len(enough):
            return
        users = rows[enough]
        chosen, worth = best_list(terms.take(users), candidates[users], n, choice_load)
        slates.worth_by_length[users, n] = worth
        better = worth > best_worth[enough]
        best_worth[enough[better]] = worth[better]
        slates.services[users[better], :n] = chosen[better]
        slates.length[users[better]] = n


def n_reason(worth_by_length: Sequence[float], length: int, n_eligible: int) -> str:
    """Why the list has this length, as a sentence for the one who reads the decision.

    >>> n_reason([0.0, 1.0, 1.5, 1.2], length=2, n_eligible=6)
    '2 services, worth 1.50: a list of 3 would be harder to choose from and worth 1.20.'
    """
    longest = len(worth_by_length) - 1
    if n_eligible == 0:
        return "Nothing: no service may be offered to this user now."
    if length == 0:
        return f"Nothing: none of {n_eligible} eligible services is expected to earn more than it costs."
    shown = f"{length} service{'s' if length > 1 else ''}, worth {worth_by_length[length]:.2f}"
    if length == longest:
        return f"{shown}: the longest list allowed here."
    if np.isneginf(worth_by_length[length + 1]):
        return f"{shown}: no other eligible service is expected to earn more than it costs."
    return (
        f"{shown}: a list of {length + 1} would be harder to choose from "
        f"and worth {worth_by_length[length + 1]:.2f}."
    )


def expected_costs(
    slates: Slates, estimates: Estimates, catalog: Catalog, settings: DecisionSettings
) -> NDArray[np.float64]:
    """What each user's list is expected to cost: uses at their unit cost, and contacts; shape (n_users,)."""
    is_shown = slates.services >= 0
    shown = np.where(is_shown, slates.services, 0)
    attractions = np.where(is_shown, attraction(np.take_along_axis(estimates.uptake, shown, axis=1)), 0.0)
    weight = choice_effort(slates.length, settings.choice_load) + attractions.sum(axis=1)
    taken = attractions / np.where(slates.length, weight, 1.0)[:, None]
    return (taken * catalog.unit_cost[shown] + is_shown * catalog.contact_cost[shown]).sum(axis=1)
