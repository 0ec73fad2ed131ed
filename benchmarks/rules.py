"""What asking the benefit rules costs: one user, many users by many rules, and a dry run on a data folder.

python -m benchmarks.rules                         # a minute
python -m benchmarks.rules --dry-run DATA --bundle FOLDER [--rules FILE]
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from features.rules_file import parse_yaml
from features.tables import load_tables
from offers.catalog import Catalog
from offers.eligibility import eligible
from offers.rule_evaluation import Facts, Past
from offers.rule_parsing import parse_rules
from offers.rules import ColumnKind, Needs, RuleSet, Vocabulary
from offers.settings import Settings
from offers.types import Service
from serving.rule_trial import try_rules
from training.bundle import read_bundle
from training.rule_worth import worth_of_rules

N_SERVICES = 35
NOW_US = 1_780_315_200_000_000
TIERS = ("basic", "silver", "gold")
SIZES = [(1, 1), (1, 10), (1, 100), (10_000, 10), (10_000, 100), (100_000, 10), (100_000, 100)]
NEXT = "rules:\n  - {name: tired, services: all, limits: {showings: {most: 1, days: 30}}}\n"


def catalog_of_many() -> Catalog:
    return Catalog.of(
        [
            Service(f"s{number:02d}", f"S{number}", f"c{number % 7}", provider=f"p{number % 3}")
            for number in range(N_SERVICES)
        ]
    )


def heavy_rules(n_rules: int, catalog: Catalog) -> RuleSet:
    """Rules with all there is: conditions, hours, limits, capacities, what must be shown, and providers."""
    lines = ["timezone: Europe/Paris", "rules:"]
    for number in range(n_rules):
        lines += [
            f"  - name: r{number}",
            f"    services: {{category: [c{number % 7}, c{(number + 1) % 7}, c{(number + 3) % 7}]}}",
            f"    who: tier in ['gold', 'silver'] and (orders >= {number % 3} or spent / orders > 20) "
            "and not (age < 18)",
            "    when: {hours: 00:00-23:00, weekdays: [mon, tue, wed, thu, fri, sat]}",
            "    limits: {showings: {most: 4, days: 7}, cooldown_days: {shown: 1, used: 3, declined: 5}, "
            "capacity_per_day: 5000, provider_capacity_per_day: 20000, list_at_most: 2}",
            "    must_show: orders > 9",
        ]
        if number == 0:
            lines.append("    providers: [p0, p1, p2]")
    columns = {
        "tier": ColumnKind(TIERS),
        "orders": ColumnKind(lowest=0.0),
        "spent": ColumnKind(lowest=0.0),
        "age": ColumnKind(),
    }
    read = parse_yaml("\n".join(lines).encode())
    rules, findings = parse_rules(read.content, Vocabulary(catalog, columns), read.digest)
    faults = [str(one) for one in findings if one.severity == "fault"]
    if faults:
        raise ValueError("the rules must be sound, got: " + "; ".join(faults))
    return rules


def facts_of_many(n_users: int, needs: Needs, rng: np.random.Generator) -> Facts:
    shape = (n_users, N_SERVICES)
    since = {kind: rng.exponential(20, shape) for kind in sorted(needs.since)}
    for days in since.values():
        days[rng.random(shape) < 0.7] = np.nan
    return Facts(
        now_us=np.full(n_users, NOW_US),
        scenarios=("",) * n_users,
        channels=("",) * n_users,
        columns={
            "tier": rng.integers(0, 3, n_users).astype(float),
            "orders": rng.integers(0, 12, n_users).astype(float),
            "spent": rng.exponential(100, n_users),
            "age": rng.integers(16, 80, n_users).astype(float),
        },
        past=Past(
            {days: rng.poisson(0.5, shape) for days in sorted(needs.showings)},
            since,
            rng.integers(0, 4000, (1, N_SERVICES)),
        ),
    )


def measure(n_users: int, n_rules: int, seed: int) -> dict[str, float]:
    """CPU milliseconds of what may be shown and what lists must keep to; the least of some runs."""
    catalog = catalog_of_many()
    rules = heavy_rules(n_rules, catalog)
    facts = facts_of_many(n_users, rules.needs, np.random.default_rng(seed))
    tiers = ["gold"] * n_users
    spent = []
    repeats = 300 if n_users == 1 else 3
    for _ in range(repeats):
        began = time.process_time()
        found = eligible(catalog, tiers, NOW_US, rules=rules, facts=facts)
        assert found.list_rules is not None
        spent.append(time.process_time() - began)
    return {
        "users": n_users,
        "rules": n_rules,
        "ms": 1000 * float(np.min(spent)),
        "median_ms": 1000 * float(np.median(spent)),
        "refused": float(1 - found.mask.mean()),
    }


def dry_run(data: Path, folder: Path, text: str, seed: int) -> dict[str, object]:
    """Seconds of a whole dry run, from the folder on the disk to what the log says."""
    seconds: dict[str, float] = {}
    cpu_began, began = time.process_time(), time.perf_counter()

    def note(stage: str) -> None:
        seconds[stage] = round(time.process_time() - cpu_began - sum(seconds.values()), 1)

    settings = Settings()
    bundle = read_bundle(folder)
    tables = load_tables(data, settings.money)
    note("read")
    words = Vocabulary(bundle.catalog, {})
    rules, _ = parse_rules(parse_yaml(text.encode()).content, words, "next")
    now_us = int(tables.exposures["shown_at"].max().timestamp() * 1e6)
    trial = try_rules(tables, bundle, settings, RuleSet(), rules, now_us, seed)
    note("all users")
    on_log = worth_of_rules(data, tables, bundle, settings, RuleSet(), rules, seed)
    note("on the log")
    return {
        "users": trial.n_users,
        "other_list": trial.n_other_list,
        "verdict": on_log.verdict,
        "decisions": on_log.change.n if on_log.change else 0,
        "cpu_s": seconds,
        "cpu_total_s": round(time.process_time() - cpu_began, 1),
        "wall_s": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dry-run", type=Path, metavar="DATA", help="only a dry run on this data folder")
    parser.add_argument("--bundle", type=Path, help="of the dry run")
    parser.add_argument("--rules", type=Path, help="of the dry run; by default one showing in 30 days")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    if arguments.dry_run:
        text = arguments.rules.read_text(encoding="utf-8") if arguments.rules else NEXT
        print(json.dumps(dry_run(arguments.dry_run, arguments.bundle, text, arguments.seed)))
        return
    found = [measure(users, rules, arguments.seed) for users, rules in SIZES]
    if arguments.json:
        print(json.dumps({"rules": found}))
        return
    print("| users | rules | CPU ms | median | µs a user |\n|---|---|---|---|---|")
    for one in found:
        users, least, median = one["users"], one["ms"], one["median_ms"]
        each = 1000 * least / users
        print(f"| {users:,} | {one['rules']} | {least:,.2f} | {median:,.2f} | {each:,.1f} |")


if __name__ == "__main__":
    main()
