"""The best list of each length by branch and bound over all lists.

A list is a branch: it grows by services in the order of the catalogue, so that its sums are those of
``offers.ranking`` to the last bit, and is followed only while some longer list of it could beat the best so
far (Land and Doig 1960, An automatic method of solving discrete programming problems). A list with gains b,
attractions a, effort A0 and contacts c beats the worth w where

    Σ b / (A0 + Σ a) − Σ c > w,   so only where   Σ (b − t a) > t A0   with t = w + the least of Σ c,

and the greatest sums of so many b − t a are known beforehand, at a t that a quickly made list reaches.
"""

import numpy as np

from offers.compiler import compiled

_ROUNDING = 1e-9  # bounds are rounded otherwise than lists
_SIGNATURE = (
    "void(float64[:,::1], float64[:,::1], float64[:,::1], float64[::1], int64[::1], float64, boolean[:,::1], "
    "boolean[:,::1], int64[:,::1], int64[::1], int64[:,:,::1], float64[:,::1])"
)


@compiled(
    "void(int64[::1], float64[::1], float64[::1], float64[::1], float64, int64[::1], float64, float64[::1])"
)
def _reach(at, gain, attraction, contact, load, category, similarity, reached):  # type: ignore[no-untyped-def]
    """What a quickly made list of each length is worth: the service that adds most, one after the other."""
    is_taken = np.zeros(len(at), np.bool_)
    total, weight, cost = 0.0, 1.0, 0.0
    for n in range(1, min(len(reached) - 1, len(at)) + 1):
        best, best_weight = 0, 0.0
        for one in range(len(at)):
            if is_taken[one]:
                continue
            is_alike = False
            for other in range(len(at)):
                is_alike = is_alike or (is_taken[other] and category[at[other]] == category[at[one]])
            with_it = weight + attraction[at[one]] + load * ((n > 1) + similarity * is_alike)
            found = (total + gain[at[one]]) / with_it - cost - contact[at[one]]
            if found > reached[n]:
                reached[n], best, best_weight = found, one, with_it
        is_taken[best] = True
        total, weight, cost = total + gain[at[best]], best_weight, cost + contact[at[best]]


@compiled("void(int64[::1], float64[::1], float64[:,::1])")
def _sum_keys(at, key, greatest):  # type: ignore[no-untyped-def]
    """Fill in [first, n]: the sum of the n greatest keys of the candidates from there on."""
    greatest[len(at)] = -np.inf
    greatest[:, 0] = 0.0
    for first in range(len(at) - 1, -1, -1):
        for n in range(1, greatest.shape[1]):
            with_it = greatest[first + 1, n - 1] + key[at[first]]
            greatest[first, n] = max(greatest[first + 1, n], with_it)


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
    reached = np.empty(longest + 1)  # worth of some list of each length; −inf: of none that is known
    price = np.empty(longest + 1)  # the t of each length that keys are summed at
    # [length, first, n]: the greatest Σ of n keys b − t a from there on
    greatest = np.empty((longest + 1, n_services + 1, longest + 1))
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
        cheapest[n_candidates], n_forced_from[n_candidates] = np.inf, 0
        for first in range(n_candidates - 1, -1, -1):
            service = at[first]
            cheapest[first] = min(contact[user, service], cheapest[first + 1])
            n_forced_from[first] = n_forced_from[first + 1] + forced[user, service]

        n_must = n_forced_from[0]
        reached[:] = -np.inf
        if n_must == 0 and n_rules == 0:
            _reach(
                at[:n_candidates],
                gain[user],
                attraction[user],
                contact[user],
                load[user],
                category,
                similarity,
                reached,
            )
        price[:] = 0.0
        for length in range(1, min(longest, n_candidates) + 1):
            price[length] = max(reached[length] + length * cheapest[0], 0.0)
            _sum_keys(at[:n_candidates], gain[user] - price[length] * attraction[user], greatest[length])
        n, following = 0, 0  # services of the list, and the candidate that may come next
        while True:
            could_be_better = False
            if n_forced[n] + n_forced_from[following] == n_must:
                for more in range(max(1, n_must - n), min(longest - n, n_candidates - following) + 1):
                    length = n + more
                    t = max(worth[user, length], reached[length]) + contacts[n] + more * cheapest[following]
                    effort = 1 + load[user] * (length - 1 + similarity * n_alike[n]) + attractions[n]
                    above = gains[n] + greatest[length, following, more] - t * effort
                    if t < price[length] or above > -_ROUNDING * (1 + t) * effort:
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
