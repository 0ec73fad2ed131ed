"""The best list of each length by branch and bound over all lists, compiled by numba.

A list is a branch: it grows by services in the order of the catalogue, so that its sums are those of
``offers.ranking`` to the last bit, and is followed only while some longer list of it could beat what was
found. The bound takes the greatest gains that are left, and the effort and attraction of the list as it
stands, which only grow (Land and Doig 1960, An automatic method of solving discrete programming problems).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

_ROUNDING = 1e-9  # bounds are rounded otherwise than lists
_SIGNATURE = (
    "void(float64[:,::1], float64[:,::1], float64[:,::1], float64[::1], int64[::1], float64, boolean[:,::1], "
    "boolean[:,::1], int64[:,::1], int64[::1], int64[:,:,::1], float64[:,::1])"
)


def compiled(signature: str) -> Callable[[Callable[..., None]], Any]:
    """numba's compiler, which keeps the machine code beside the source, or makes it anew where it cannot."""

    def compile_it(function: Callable[..., None]) -> Any:
        try:
            return njit(signature, cache=True, error_model="numpy")(function)
        except RuntimeError:  # nothing may be written beside the source, nor in the user's own folder
            return njit(signature, error_model="numpy")(function)

    return compile_it


@compiled(_SIGNATURE)
def search(  # type: ignore[no-untyped-def]  # numba is told the types above
    gain,
    attraction,
    contact,
    load,
    category,
    similarity,
    candidates,
    forced,
    member,
    most,
    chosen,
    worth,
):
    """Fill in the best list of each length and what it is worth; of equals, the first of the catalogue.

    Parameters
    ----------
    gain, attraction, contact : ndarray of float64, shape (n_users, n_services)
        As in ``offers.ranking.Terms``; finite for candidates.
    load : ndarray of float64, shape (n_users,)
    category : ndarray of int64, shape (n_services,)
    similarity : float
    candidates, forced : ndarray of bool, shape (n_users, n_services)
        What a list is made from, and those of them that are in every list.
    member : ndarray of int64, shape (n_rules, n_services)
        1 for each service of each rule.
    most : ndarray of int64, shape (n_rules,)
        How many of them a list may hold.
    chosen : ndarray of int64, shape (n_users, longest, longest)
        Filled in: [user, n − 1, :n]; untouched where no list of n may be made.
    worth : ndarray of float64, shape (n_users, longest + 1)
        −inf on entry but for nothing; filled in.
    """
    n_services, longest, n_rules = gain.shape[1], chosen.shape[1], len(most)
    at = np.empty(n_services, np.int64)  # of each candidate, its place in the catalogue
    greatest = np.empty((n_services + 1, longest + 1))  # [first, n]: Σ of the n greatest gains from there on
    cheapest = np.empty(n_services + 1)  # contact from there on
    n_forced_from = np.empty(n_services + 1, np.int64)  # services that must be shown, from there on
    # Of the list as it stands, by its length:
    place = np.empty(longest + 1, np.int64)  # of its last service among the candidates
    gains, attractions, contacts = np.zeros(longest + 1), np.zeros(longest + 1), np.zeros(longest + 1)
    n_alike, n_forced = np.zeros(longest + 1, np.int64), np.zeros(longest + 1, np.int64)
    n_held = np.zeros((longest + 1, n_rules), np.int64)

    for user in range(len(gain)):
        n_candidates = 0
        for service in range(n_services):
            if candidates[user, service]:
                at[n_candidates] = service
                n_candidates += 1
        greatest[n_candidates] = -np.inf
        greatest[n_candidates, 0] = 0.0
        cheapest[n_candidates], n_forced_from[n_candidates] = np.inf, 0
        for first in range(n_candidates - 1, -1, -1):
            service = at[first]
            cheapest[first] = min(contact[user, service], cheapest[first + 1])
            n_forced_from[first] = n_forced_from[first + 1] + forced[user, service]
            greatest[first, 0] = 0.0
            for n in range(1, longest + 1):
                with_it = greatest[first + 1, n - 1] + gain[user, service]
                greatest[first, n] = max(greatest[first + 1, n], with_it)

        n_must = n_forced_from[0]
        n, following = 0, 0  # services of the list, and the candidate that may come next
        while True:
            could_be_better = False
            if n_forced[n] + n_forced_from[following] == n_must:
                for more in range(max(1, n_must - n), min(longest - n, n_candidates - following) + 1):
                    total = gains[n] + greatest[following, more]
                    effort = 1 + load[user] * (n + more - 1 + similarity * n_alike[n]) + attractions[n]
                    bound = total / effort - contacts[n] - more * cheapest[following]
                    beaten = worth[user, n + more]
                    # A loss is no bound, for more effort makes it smaller.
                    if total < 0 or bound > beaten - _ROUNDING * (1 + abs(beaten)):
                        could_be_better = True
                        break
            if not could_be_better:
                if n == 0:
                    break
                n -= 1
                following = place[n + 1] + 1
                continue
            service = at[following]
            place[n + 1] = following
            following += 1
            may = True
            for rule in range(n_rules):
                n_held[n + 1, rule] = n_held[n, rule] + member[rule, service]
                may = may and n_held[n + 1, rule] <= most[rule]
            if not may:
                continue
            n_alike[n + 1] = n_alike[n]
            for earlier in range(1, n + 1):
                if category[at[place[earlier]]] == category[service]:
                    n_alike[n + 1] += 1
                    break
            gains[n + 1] = gains[n] + gain[user, service]
            attractions[n + 1] = attractions[n] + attraction[user, service]
            contacts[n + 1] = contacts[n] + contact[user, service]
            n_forced[n + 1] = n_forced[n] + forced[user, service]
            n += 1
            if n_forced[n] == n_must:
                effort = 1 + load[user] * (n - 1 + similarity * n_alike[n])
                found = gains[n] / (effort + attractions[n]) - contacts[n]
                if found > worth[user, n]:
                    worth[user, n] = found
                    for rank in range(n):
                        chosen[user, n - 1, rank] = at[place[rank + 1]]
