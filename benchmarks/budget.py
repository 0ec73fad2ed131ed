"""Lists of a million users within budgets: time, memory, and how far from the best they may be.

python -m benchmarks.budget             # 1,000,000 users; --users 100000, --workers, --seed, --json
"""

import argparse
import json
import resource
import sys
import time

import numpy as np

from offers.allocation import Allocation, Case, allocate
from offers.budget import Budget
from offers.catalog import Catalog
from offers.settings import DecisionSettings
from offers.types import Estimates, Service

N_SERVICES = 35


def case_of(n_users: int, rng: np.random.Generator) -> Case:
    """Users, of whom each service would move few, and a catalogue of six categories."""
    catalog = Catalog.of(
        [
            Service(
                f"s{n:02}",
                "S",
                f"c{n % 6}",
                unit_cost=float(rng.uniform(0, 8)),
                contact_cost=float(rng.choice([0.0, 0.02, 0.1])),
            )
            for n in range(N_SERVICES)
        ]
    )
    uptake = rng.beta(1.2, 8.0, (n_users, N_SERVICES))
    margin = rng.normal(-0.3, 1.0, uptake.shape) + uptake * catalog.unit_cost
    return Case(
        Estimates(uptake, uptake, margin),
        rng.random(uptake.shape) < 0.8,
        catalog,
        DecisionSettings(max_services=5),
        rng.integers(0, 2, n_users),
        np.full(n_users, 5),
    )


def budgets_of(money: float, contacts: float) -> dict[str, list[Budget]]:
    """Kinds of budgets, as shares of what would be used without any."""
    half = [Budget("all", "money", money * 0.5)]
    return {
        "half the money": half,
        "a tenth of the money": [Budget("all", "money", money * 0.1)],
        "money, contacts, two tracks, two services": [
            *half,
            Budget("contacts", "contacts", contacts * 0.6),
            Budget("high-value exclusive", "money", money * 0.2, track=0),
            Budget("long-tail scenario", "contacts", contacts * 0.25, track=1),
            Budget("s03", "contacts", contacts * 0.01, service=3),
            Budget("s05", "money", money * 0.01, service=5),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    asked = parser.parse_args()
    case = case_of(asked.users, np.random.default_rng(asked.seed))
    some = case.take(slice(0, 20_000))
    without = allocate(
        some, [Budget("m", "money", 1e15), Budget("c", "contacts", 1e15)], np.random.default_rng(0)
    )
    money, contacts = (without.used * (asked.users / len(some.eligible))).tolist()
    rows = []
    for name, budgets in budgets_of(money, contacts).items():
        print(f"{name} ...", file=sys.stderr)
        wall, cpu = time.perf_counter(), time.process_time()
        found = allocate(case, budgets, np.random.default_rng(asked.seed), workers=asked.workers)
        rows.append(row_of(name, found, time.perf_counter() - wall, time.process_time() - cpu))
    if asked.json:
        print(json.dumps({"users": asked.users, "services": N_SERVICES, "rows": rows}))
        return
    print("| budgets | wall s | CPU s | gap at most | spent | peak GiB |\n|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['budgets']} | {row['wall_s']:.1f} | {row['cpu_s']:.1f} | {row['gap']:.3%} "
            f"| {row['spent']:.2%} | {row['peak_gib']:.1f} |"
        )


def row_of(name: str, found: Allocation, wall: float, cpu: float) -> dict[str, object]:
    """One line of the table; ``spent`` is of the budget that is used least among those with a price."""
    amount = np.array([one.amount for one in found.budgets])
    assert (found.used <= amount).all()
    return {
        "budgets": name,
        "wall_s": wall,
        "cpu_s": cpu,
        "gap": found.gap,
        "spent": float((found.used / amount)[found.price > 0].min()),
        "price": found.price.tolist(),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


if __name__ == "__main__":
    main()
