"""What a decision costs: alone, as the service makes it, and in a batch; 35 services, lists of up to five.

python -m benchmarks.decision            # 20,000 users, 500 of them alone; --users, --alone, --seed, --json
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.policy import decide
from offers.settings import DecisionSettings
from offers.types import AtMost, Estimates, ListRules, Prices, Service

N_SERVICES = 35
_LOADS = (0.0, 0.1, 0.35, 1.0)  # of choice, by user
_SETTINGS = DecisionSettings(max_services=5)


@dataclass(frozen=True)
class Case:
    """Users, and what their lists are bound by."""

    estimates: Estimates
    eligible: NDArray[np.bool_]
    catalog: Catalog
    choice_load: NDArray[np.float64]
    prices: Prices | None = None
    rules: ListRules | None = None

    def decide(self, rows: slice, quick: bool = False) -> None:
        """Lists of some of the users."""
        prices, rules = self.prices, self.rules
        decide(
            self.estimates.take(rows),
            self.eligible[rows],
            self.catalog,
            _SETTINGS,
            choice_load=self.choice_load[rows],
            prices=prices and Prices(prices.money[rows], prices.showing[rows]),
            list_rules=rules and ListRules(rules.at_most, rules.must_show[rows]),
            quick=quick,
        )


@dataclass(frozen=True)
class Cost:
    """Of one kind: CPU milliseconds of a decision alone, and users a CPU second in a batch."""

    kind: str
    alone_ms: float  # median
    alone_ms_p95: float
    users_a_second: float
    users_a_second_quick: float


def cases_of(n_users: int, rng: np.random.Generator) -> dict[str, Case]:
    """Nothing binds; money and each showing have a price; and rules of lists, with services to be shown."""
    services = [
        Service(f"s{n:02}", "S", f"c{n % 6}", unit_cost=float(rng.uniform(0, 2)), contact_cost=0.02)
        for n in range(N_SERVICES)
    ]
    shape = (n_users, N_SERVICES)
    uptake = rng.beta(1.2, 8.0, shape)
    estimates = Estimates(uptake, uptake, rng.normal(0.3, 0.6, shape))
    eligible, load = rng.random(shape) < 0.9, rng.choice(_LOADS, n_users)
    free = Case(estimates, eligible, Catalog.of(services), load)
    prices = Prices(rng.exponential(0.2, n_users), rng.exponential(0.05, shape))
    groups = [AtMost(tuple(range(first, first + 7)), 2) for first in range(0, N_SERVICES, 7)]
    rules = ListRules((*groups, AtMost((0, 9), 1), AtMost((3, 20), 1)), rng.random(shape) < 1 / N_SERVICES)
    return {
        "free": free,
        "prices": Case(estimates, eligible, free.catalog, load, prices),
        "prices and seven rules": Case(estimates, eligible, free.catalog, load, prices, rules),
    }


def cost_of(kind: str, case: Case, n_alone: int) -> Cost:
    """CPU time of ``n_alone`` decisions one by one, and of all users at once."""
    n_users = len(case.eligible)
    case.decide(slice(0, 200))  # what is computed once is no part of the time
    alone = np.array([_seconds(case, slice(user, user + 1)) for user in range(min(n_alone, n_users))])
    every = slice(0, n_users)
    return Cost(
        kind,
        alone_ms=float(np.median(alone)) * 1e3,
        alone_ms_p95=float(np.quantile(alone, 0.95)) * 1e3,
        users_a_second=n_users / _seconds(case, every),
        users_a_second_quick=n_users / _seconds(case, every, quick=True),
    )


def _seconds(case: Case, rows: slice, quick: bool = False) -> float:
    start = time.process_time()
    case.decide(rows, quick)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000, help="in the batch (20,000)")
    parser.add_argument("--alone", type=int, default=500, help="decisions one by one (500)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    found = []
    for kind, case in cases_of(arguments.users, np.random.default_rng(arguments.seed)).items():
        print(f"{len(found)} of 3 kinds: {kind}", file=sys.stderr)
        found.append(cost_of(kind, case, arguments.alone))
    if arguments.json:
        print(json.dumps({"costs": [asdict(one) for one in found]}))
        return
    print("| bound by | alone, CPU ms | p95 | users a CPU second | quick |\n|---|---|---|---|---|")
    for one in found:
        print(
            f"| {one.kind} | {one.alone_ms:.2f} | {one.alone_ms_p95:.2f} "
            f"| {one.users_a_second:,.0f} | {one.users_a_second_quick:,.0f} |"
        )


if __name__ == "__main__":
    main()
