"""The decision log at size: what a record costs, and whether every decision is replayed to the byte.

python -m benchmarks.replay                # 100,000 decisions of 35 services; --decisions 10000, --json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from features.history import History
from features.pipeline import compute
from features.tables import load_tables
from features.tiers import TIER_COLUMN, Tiers
from features.world import make_world, write_world
from offers.settings import ExplorationSettings, Settings
from serving import decision_log
from serving.answers import exposure_rows
from serving.database import Database, reading
from serving.recommender import Asked, recommend
from serving.records import Basis, Record, asked_of, from_text, keep_basis, record_of, to_text
from training.bundle import Bundle, BundleParts, read_bundle, write_bundle
from training.lockstep import LearnerSettings
from training.source import read_source
from training.uplift import UpliftModel
from training.uptake import UptakeModel

_SETTINGS = Settings(exploration=ExplorationSettings(holdout=0.05, explore=0.2))
_PROJECT = Path(__file__).resolve().parents[1]
_SIZES = (1, 7, 32, 250, 1000)  # of batches


def make_bundle(data: Path, var: Path) -> Bundle:
    """Models of a simulated shop, below var/bundles; small ones, for how good they are does not matter."""
    source = read_source(data, _SETTINGS)
    rows, n_services = source.dataset.single(), len(source.catalog)
    options: dict[str, Any] = {
        "seed": 0,
        "settings": LearnerSettings(max_rounds=60, min_rows=50),
        "categorical": rows.categorical,
    }
    propensities = np.full((len(rows), n_services + 1), 1 / (n_services + 1))
    uplifts = [
        UpliftModel(**options).fit(rows.X, rows.service, propensities, outcome, rows.uptake)
        for outcome in (rows.repurchase, rows.margin + 20 * rows.uptake)
    ]
    parts = BundleParts(
        layout=source.layout,
        tiers=Tiers.learn(rows.X[:, source.layout.columns.index(TIER_COLUMN)], _SETTINGS.tiers.names),
        catalog=source.catalog,
        uptake=UptakeModel(**options).fit(rows.X, rows.service, rows.uptake, n_services),
        uplift_repurchase=uplifts[0],
        uplift_margin=uplifts[1],
        golden=rows.X[:20],
        settings=_SETTINGS,
        seed=0,
        data_hash=source.data_hash,
        training={},
        rows={"train": len(rows), "test": 0},
    )
    return read_bundle(write_bundle(parts, var / "bundles"))


def decide(data: Path, bundle: Bundle, state: Path, n_decisions: int) -> float:
    """So many decisions, in batches of one to a thousand users; the seconds they took."""
    tables = load_tables(data, _SETTINGS.money)
    history = History.of(tables, bundle.layout, bundle.windows.uptake_days)
    n_users, now_us = len(history.user_ids), time.time_ns() // 1000
    profiles = compute(history, bundle.layout, np.arange(n_users), np.full(n_users, now_us))
    tiers = bundle.tiers.of(profiles[:, bundle.layout.columns.index(TIER_COLUMN)]).tolist()
    database = Database(state)
    basis = database.run_now(partial(keep_basis, bundle=bundle, settings=_SETTINGS))
    started, first = time.perf_counter(), 0
    while first < n_decisions:
        size = min(_SIZES[first % len(_SIZES)], n_decisions - first)
        asked = [
            Asked(history.user_ids[user], profiles[user], tiers[user], now_us, number, 1 + number % 5)
            for number in range(first, first + size)
            for user in [number % n_users]
        ]
        made = recommend(bundle, _SETTINGS, asked, now_us)
        records = [
            record_of(f"{first + number:08d}", decision.asked.user_id, decision, basis)
            for number, decision in enumerate(made)
        ]
        database.run_now(partial(_keep_all, records=records, basis=basis))
        first += size
        print(f"decided {first:,} of {n_decisions:,}", file=sys.stderr)
    database.close()
    return time.perf_counter() - started


def _keep_all(connection: sa.Connection, records: list[Record], basis: Basis) -> None:
    decision_log.keep_all(
        connection, [decision_log.Entry(record, exposure_rows(record, basis.names)) for record in records]
    )


def record_costs(state: Path, bundle: Bundle) -> dict[str, float]:
    """Bytes a decision, and microseconds to make and spell its record."""
    with reading(state) as connection:
        texts = [
            str(text)
            for text in connection.exec_driver_sql("SELECT record FROM decisions LIMIT 2000").scalars()
        ]
    records = [from_text(text) for text in texts]
    moments = np.array([record["decided_at_us"] for record in records])
    made = recommend(bundle, _SETTINGS, [asked_of(record) for record in records], moments)
    database = Database(state)
    basis = database.run_now(partial(keep_basis, bundle=bundle, settings=_SETTINGS))
    database.close()
    started = time.perf_counter()
    for record, decision in zip(records, made, strict=True):
        to_text(record_of(record["decision_id"], record["user_id"], decision, basis))
    seconds = time.perf_counter() - started
    sizes = [len(text.encode()) for text in texts]
    return {
        "columns": len(bundle.layout.columns),
        "mean_bytes": float(np.mean(sizes)),
        "most_bytes": max(sizes),
        "microseconds": 1e6 * seconds / len(texts),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--services", type=int, default=35)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        data, state = home / "shop", home / "var" / "state.db"
        write_world(make_world(asked.users, asked.services, 130, np.random.default_rng(0)), data)
        bundle = make_bundle(data, home / "var")
        found: dict[str, Any] = {"decisions": asked.decisions}
        found["decide_seconds"] = decide(data, bundle, state, asked.decisions)
        found["file_bytes"] = state.stat().st_size
        found |= record_costs(state, bundle)
        started = time.perf_counter()
        environment = {**os.environ, "PERKWISE_HOME": folder}
        command = [sys.executable, "-m", "perkwise", "replay", "--all", "--json"]
        ran = subprocess.run(command, cwd=_PROJECT, env=environment, capture_output=True, text=True)
        found["replay_seconds"] = time.perf_counter() - started
        if not ran.stdout:
            sys.exit(ran.stderr)
        found |= {key: value for key, value in json.loads(ran.stdout).items() if key in ("replayed", "same")}
    if asked.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:16} {value:,.1f}" if isinstance(value, float) else f"{name:16} {value:,}")


if __name__ == "__main__":
    main()
