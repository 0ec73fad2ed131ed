"""Every list of every length, one by one, by the formula as it is written down: the judge of ``decide``."""

from functools import lru_cache
from itertools import combinations

import numpy as np

from offers.catalog import Catalog
from offers.types import AtMost, Estimates, ListRules, Prices, Service


def random_case(rng, n_users, n_services, *, bound):
    """A catalogue, estimates, eligibility, and loads; with ``bound`` also prices and list rules."""
    catalog = Catalog.of(
        Service(
            f"s{position:03}",
            "",
            category=str(rng.choice(["", "a", "b", "c"])),
            unit_cost=rng.uniform(0, 2),
            contact_cost=rng.uniform(0, 0.1),
        )
        for position in range(n_services)
    )
    shape = (n_users, n_services)
    uptake = rng.beta(1, 4, shape)
    uplift = rng.normal(0.3, 0.6, shape)
    prices = Prices(rng.exponential(0.2, n_users), rng.exponential(0.05, shape)) if bound else None
    rules = None
    if bound:
        groups = [rng.permutation(n_services)[: rng.integers(1, n_services + 1)] for _ in range(2)]
        rules = ListRules(
            tuple(AtMost(tuple(group.tolist()), int(rng.integers(0, 3))) for group in groups),
            rng.random(shape) < 0.1,
        )
    return (
        catalog,
        Estimates(uptake, np.zeros(shape), uplift),
        rng.random(shape) < 0.8,
        {
            "choice_load": rng.choice([0.0, 0.1, 0.35, 1.0], n_users),
            "prices": prices,
            "list_rules": rules,
        },
    )


def worth_of_list(chosen, uptake, uplift, catalog, load, similarity, money, showing):
    """What a list is worth; ``chosen`` are catalogue positions."""
    categories = [catalog.services[s].category or s for s in chosen]
    odds = {s: uptake[s] / (1 - uptake[s]) for s in chosen}
    effort = 1 + load * ((len(chosen) - 1) + similarity * (len(chosen) - len(set(categories))))
    total = effort + sum(odds.values())
    return sum(
        (uplift[s] - uptake[s] * catalog.unit_cost[s] * (1 + money)) * (odds[s] / total) / uptake[s]
        - catalog.contact_cost[s] * (1 + money)
        - showing[s]
        for s in chosen
    )


@lru_cache(maxsize=64)
def every_list(n_services, n):
    """All lists of n of so many services, shape (n_lists, n)."""
    return np.array(list(combinations(range(n_services), n)), dtype=np.int8).reshape(-1, n)


def best_of_all_lists(user, catalog, estimates, eligible, decision, longest, options):
    """The worth, the set, and what must be in it, of the best of all lists of one user, computed at once."""
    uptake, uplift = estimates.uptake[user], estimates.uplift_margin[user]
    prices, rules = options["prices"], options["list_rules"]
    money = 1 + decision.money_price + (prices.money[user] if prices else 0.0)
    contact = np.array([s.contact_cost for s in catalog.services]) * money
    contact = contact + (prices.showing[user] if prices else 0.0)
    margin = uplift - uptake * np.array([s.unit_cost for s in catalog.services]) * money
    odds = uptake / (1 - uptake)
    kinds = {name: number for number, name in enumerate({s.category for s in catalog.services if s.category})}
    kind = np.array([kinds.get(s.category, 100 + at) for at, s in enumerate(catalog.services)])
    groups = [
        (np.isin(np.arange(len(catalog)), g.services), g.most) for g in (rules.at_most if rules else ())
    ]
    must = np.flatnonzero(rules.must_show[user] & eligible[user]).tolist() if rules else []
    forced = np.zeros(len(catalog), dtype=bool)
    for service in sorted(must, key=lambda s: (contact[s] - margin[s], s)):
        room = all(forced[members].sum() + members[service] <= most for members, most in groups)
        forced[service] = room and forced.sum() < longest
    best = (0.0 if not forced.any() else -np.inf, ())
    for n in range(max(1, forced.sum()), min(longest, len(catalog)) + 1):
        lists = every_list(len(catalog), n)
        may = eligible[user][lists].all(axis=1) & (forced[lists].sum(axis=1) == forced.sum())
        for members, most in groups:
            may &= members[lists].sum(axis=1) <= most
        lists = lists[may]
        if len(lists):
            kinds_of = np.sort(kind[lists], axis=1)
            distinct = 1 + (np.diff(kinds_of, axis=1) != 0).sum(axis=1)
            load = options["choice_load"][user]
            effort = 1 + load * (n - 1) + load * decision.similarity_load * (n - distinct)
            each = (margin * odds / uptake)[lists].sum(axis=1) / (effort + odds[lists].sum(axis=1))
            worth = each - contact[lists].sum(axis=1)
            if worth.max() > best[0]:
                best = (float(worth.max()), tuple(lists[worth.argmax()].tolist()))
    return best[0], set(best[1]), set(np.flatnonzero(forced).tolist())


def brute_force(user, catalog, estimates, eligible, decision, longest, options):
    """The worth and the set of the best list, and all that must be in it; for one user."""
    uptake, uplift = estimates.uptake[user], estimates.uplift_margin[user]
    prices, rules = options["prices"], options["list_rules"]
    money = decision.money_price + (prices.money[user] if prices else 0.0)
    showing = prices.showing[user] if prices else np.zeros(len(catalog))
    at_most = rules.at_most if rules else ()
    must = set(np.flatnonzero(rules.must_show[user] & eligible[user]).tolist()) if rules else set()

    def worth(chosen):
        return worth_of_list(
            chosen,
            uptake,
            uplift,
            catalog,
            options["choice_load"][user],
            decision.similarity_load,
            money,
            showing,
        )

    def keeps_rules(chosen):
        return all(len(set(chosen) & set(group.services)) <= group.most for group in at_most)

    forced: set[int] = set()
    for service in sorted(must, key=lambda s: (-worth((s,)), s)):
        if len(forced) < longest and keeps_rules(forced | {service}):
            forced.add(service)
    lists = (
        chosen
        for n in range(len(forced), longest + 1)
        for chosen in combinations(np.flatnonzero(eligible[user]).tolist(), n)
        if forced <= set(chosen) and keeps_rules(chosen)
    )
    best = max(lists, key=lambda chosen: (worth(chosen), -len(chosen)))
    return worth(best), set(best), forced
