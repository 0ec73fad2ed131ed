"""Every list of every length, one by one, by the formula as it is written down: the judge of ``decide``."""

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
