"""Terms, candidates and ranked lists of many rows, compiled: row by row, in the order of the catalogue.

``offers.ranking`` and ``offers.policy`` say what is computed here and why. Sums are from left to right, so
that the numbers are those of ``offers.ranking.totals`` to the last bit.
"""

import numpy as np

from offers.compiler import compiled


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[::1], float64[::1], float64[::1], float64[:,::1], "
    "float64, float64, float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1])"
)
def fill_terms(  # type: ignore[no-untyped-def]  # numba is told the types above
    uptake,
    uplift,
    unit_cost,
    contact_cost,
    money,
    showing,
    most_uptake,
    most_uplift,
    value,
    gain,
    attraction,
    contact,
):
    """Fill in the last four, each of shape (n_users, n_services), as ``offers.ranking.terms_of`` says."""
    for user in range(uptake.shape[0]):
        dearer = 1 + money[user]
        for service in range(uptake.shape[1]):
            p, margin = uptake[user, service], uplift[user, service]
            sound = 0 <= p <= 1 and abs(margin) < most_uplift
            if not sound:
                p, margin = 0.0, 0.0
            margin -= p * (unit_cost[service] * dearer)
            price = contact_cost[service] * dearer + showing[user, service]
            at_most = min(p, most_uptake)
            value[user, service] = margin - price if sound else np.nan
            gain[user, service] = margin / (1 - at_most)
            attraction[user, service] = at_most / (1 - at_most)
            contact[user, service] = price


@compiled(
    "void(boolean[:,::1], boolean[:,::1], float64[:,::1], float64[:,::1], int64[:,::1], int64[::1], "
    "int64[::1], boolean[:,::1], boolean[:,::1])"
)
def fill_candidates(  # type: ignore[no-untyped-def]
    eligible, must_show, value, gain, member, most, longest, candidates, forced
):
    """Fill in the last two, both False on entry, as ``offers.ranking.may_be_shown`` says.

    Parameters
    ----------
    member : ndarray of int64, shape (n_rules, n_services)
        1 for each service of each rule.
    most : ndarray of int64, shape (n_rules,)
        How many of them a list may hold.
    """
    n_services, n_rules = eligible.shape[1], len(most)
    known, is_tried = np.empty(n_services, np.bool_), np.empty(n_services, np.bool_)
    n_held = np.empty(n_rules, np.int64)
    for user in range(len(eligible)):
        n_must, n_forced, harms = 0, 0, False
        for service in range(n_services):
            may = eligible[user, service] and not np.isnan(value[user, service])
            for rule in range(n_rules):
                may = may and not (member[rule, service] and most[rule] < 1)
            known[service] = may
            is_tried[service] = not (may and must_show[user, service])
            n_must += not is_tried[service]
        n_held[:] = 0
        for _ in range(n_must):  # of greater value first, of equals the first
            best = -1
            for service in range(n_services):
                is_better = best < 0 or value[user, service] > value[user, best]
                if not is_tried[service] and is_better:
                    best = service
            is_tried[best] = True
            has_room = n_forced < longest[user]
            for rule in range(n_rules):
                has_room = has_room and not (member[rule, best] and n_held[rule] >= most[rule])
            if has_room:
                forced[user, best] = True
                n_forced += 1
                harms = harms or gain[user, best] < 0
                for rule in range(n_rules):
                    n_held[rule] += member[rule, best]
        for service in range(n_services):
            is_of_use = known[service] and (value[user, service] > 0 or harms)
            candidates[user, service] = forced[user, service] or is_of_use


@compiled(
    "void(int64[:,:,::1], float64[:,::1], boolean[:,::1], int64[::1], float64[:,::1], float64[:,::1], "
    "float64[:,::1], float64[::1], int64[::1], float64, int64[:,::1], int64[::1])"
)
def fill_slates(  # type: ignore[no-untyped-def]
    chosen,
    worth,
    forced,
    longest,
    gain,
    attraction,
    contact,
    load,
    category,
    similarity,
    services,
    length,
):
    """Choose each row's length, and rank its list by what each service adds; ties by the catalogue.

    Parameters
    ----------
    chosen : ndarray of int64, shape (n_users, width, width)
        The best list of each length: [user, n − 1, :n].
    worth : ndarray of float64, shape (n_users, width + 1)
        What it is worth; −inf is filled in beyond a user's longest.
    services, length : ndarrays of int64, shapes (n_users, width) and (n_users,)
        Filled in; −1 on entry.
    """
    width = services.shape[1]
    at, adds = np.empty(width, np.int64), np.empty(width)
    for user in range(len(worth)):
        worth[user, longest[user] + 1 :] = -np.inf
        n_forced = 0
        for service in range(forced.shape[1]):
            n_forced += forced[user, service]
        n, best = 0, -np.inf
        for some in range(n_forced, width + 1):
            if worth[user, some] > best:  # of equal worth, the shorter
                n, best = some, worth[user, some]
        length[user] = n
        if n == 0:
            continue
        for rank in range(n):  # in the order of the catalogue, as sums are
            one, place = chosen[user, n - 1, rank], rank
            while place and at[place - 1] > one:
                at[place] = at[place - 1]
                place -= 1
            at[place] = one
        n_alike, total = 0, attraction[user, at[0]]
        for rank in range(1, n):
            total += attraction[user, at[rank]]
            for earlier in range(rank):
                if category[at[earlier]] == category[at[rank]]:
                    n_alike += 1
                    break
        weight = 1 + load[user] * (n - 1 + similarity * n_alike) + total
        for rank in range(n):
            one = at[rank]
            found = gain[user, one] / weight - contact[user, one]
            place = rank  # after all that add as much or more
            while place and adds[place - 1] < found:
                adds[place], services[user, place] = adds[place - 1], services[user, place - 1]
                place -= 1
            adds[place], services[user, place] = found, one
