"""Visits won on Hillstrom's trial: the best e-mail for each customer beside the men's e-mail for all.

python -m benchmarks.hillstrom                     # 10 random halves: a minute
python -m benchmarks.hillstrom --splits 3 --json
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.importers.hillstrom import ATTRIBUTES, PROPENSITY, import_hillstrom
from features.tables import Tables, load_tables
from offers.settings import MoneySettings
from training.evaluation.curves import qini
from training.evaluation.policy_value import doubly_robust, ips, match_weights
from training.uplift import UpliftModel

BASELINE = "mens-email"


@dataclass(frozen=True)
class Trial:
    """The trial as arrays of n customers; `service` is a position in `services`, −1 for no e-mail."""

    X: NDArray[np.float64]
    categorical: tuple[int, ...]
    services: tuple[str, ...]
    service: NDArray[np.intp]
    visit: NDArray[np.float64]
    conversion: NDArray[np.float64]
    spend: NDArray[np.float64]  # USD


@dataclass(frozen=True)
class Split:
    """What one split of the customers measured on its test half; values are visits a customer."""

    value: float  # of the model's policy, doubly robust
    baseline: float  # of the baseline's e-mail for all, on the same rows
    gain: float  # value − baseline
    gain_se: float  # of this split's gain, paired by row
    gain_ips: float
    share_of: dict[str, float]  # of customers who get each e-mail
    qini: dict[str, float]


def measure(n_splits: int, seed: int = 0, n_jobs: int = -1) -> list[Split]:
    """One measurement for each random split of the customers into two halves."""
    trial = read_trial(public_data() / "hillstrom")
    return list(_splits(trial, n_splits, seed, n_jobs))


def read_trial(source: Path) -> Trial:
    """Attributes, arms and outcomes, through the data folder that `perkwise import hillstrom` writes."""
    with tempfile.TemporaryDirectory() as folder:
        import_hillstrom(source, Path(folder))
        tables = load_tables(Path(folder), MoneySettings())
    services = tuple(sorted(tables.services["service_id"]))
    users = tables.users.sort_values("user_id")
    shown = tables.exposures.set_index("user_id").loc[users["user_id"], "service_id"]
    visitors = tables.events.loc[tables.events["event"] == "visited", "user_id"]
    orders = tables.orders.set_index("user_id")["amount_cents"]
    X, categorical = _encode(tables)
    return Trial(
        X=X,
        categorical=categorical,
        services=services,
        service=np.array([services.index(arm) if arm else -1 for arm in shown]),
        visit=users["user_id"].isin(visitors).to_numpy(np.float64),
        conversion=users["user_id"].isin(orders.index).to_numpy(np.float64),
        spend=users["user_id"].map(orders).fillna(0).to_numpy(np.float64) / 100,
    )


def _encode(tables: Tables) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """The attributes as numbers; texts become codes in the order of the alphabet."""
    attributes = tables.users.sort_values("user_id")[ATTRIBUTES]
    is_text = [attributes[name].dtype == "str" for name in ATTRIBUTES]
    coded = [
        attributes[name].astype("category").cat.codes if text else attributes[name]
        for name, text in zip(ATTRIBUTES, is_text, strict=True)
    ]
    return np.column_stack(coded).astype(np.float64), tuple(np.flatnonzero(is_text).tolist())


def _splits(trial: Trial, n_splits: int, seed: int, n_jobs: int) -> Iterator[Split]:
    n = len(trial.service)
    propensity = np.full((n, len(trial.services) + 1), PROPENSITY)
    for number in range(n_splits):
        order = np.random.default_rng([seed, number]).permutation(n)
        train, test = order[: n // 2], order[n // 2 :]
        model = UpliftModel(seed=seed, n_jobs=n_jobs, categorical=trial.categorical)
        model.fit(trial.X[train], trial.service[train], propensity[train], trial.visit[train])
        yield _judge(model, trial, test)


def _judge(model: UpliftModel, trial: Trial, test: NDArray[np.intp]) -> Split:
    uplift, mu0 = model.predict(trial.X[test]), model.predict_baseline(trial.X[test])
    service, visit = trial.service[test], trial.visit[test]
    worth = np.column_stack([np.zeros(len(test)), uplift])
    chosen = np.eye(worth.shape[1])[worth.argmax(axis=1)]
    constant = np.zeros_like(chosen)
    constant[:, trial.services.index(BASELINE) + 1] = 1
    expected = mu0[:, None] + worth
    values = {}
    for name, policy in (("chosen", chosen), ("constant", constant)):
        weights = match_weights(policy, service, np.full(len(test), PROPENSITY))
        values[name] = doubly_robust(policy, weights, visit, service, expected)
        values[name + "_ips"] = ips(weights, visit)
    gain = values["chosen"] - values["constant"]
    return Split(
        value=float(values["chosen"].mean()),
        baseline=float(values["constant"].mean()),
        gain=float(gain.mean()),
        gain_se=float(gain.std() / np.sqrt(len(gain))),
        gain_ips=float((values["chosen_ips"] - values["constant_ips"]).mean()),
        share_of=dict(zip(("nothing", *trial.services), chosen.mean(axis=0).tolist(), strict=True)),
        qini={name: _qini_of(j, uplift[:, j], service, visit) for j, name in enumerate(trial.services)},
    )


def _qini_of(j: int, uplift: NDArray, service: NDArray, visit: NDArray) -> float:
    rows = (service == j) | (service == -1)
    return qini(visit[rows], uplift[rows], service[rows] == j)


def public_data() -> Path:
    """The folder of the public data sets: PERKWISE_PUBLIC_DATA, or beside the project."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PERKWISE_PUBLIC_DATA", default))
    if not folder.is_dir():
        raise SystemExit(f"public data sets are not at {folder}; set PERKWISE_PUBLIC_DATA to their folder")
    return folder


def _mean_and_se(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--splits", type=int, default=10, help="random halves, at least 2 (10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=-1, help="threads; -1 takes all")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    splits = measure(arguments.splits, arguments.seed, arguments.jobs)
    if arguments.json:
        print(json.dumps([asdict(split) for split in splits]))
        return
    print(_table(splits))


def _table(splits: list[Split]) -> str:
    lines = [
        "| split | Perkwise | men's e-mail to all | gain | its se | gain by IPS | women's e-mail to |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, one in enumerate(splits):
        values = f"{one.value:.3%} | {one.baseline:.3%} | {one.gain:+.3%} | {one.gain_se:.3%}"
        lines.append(f"| {number} | {values} | {one.gain_ips:+.3%} | {one.share_of['womens-email']:.1%} |")
    value, _ = _mean_and_se([one.value for one in splits])
    baseline, _ = _mean_and_se([one.baseline for one in splits])
    gain, se = _mean_and_se([one.gain for one in splits])
    gain_ips, _ = _mean_and_se([one.gain_ips for one in splits])
    lines.append(f"| mean | {value:.3%} | {baseline:.3%} | {gain:+.3%} | {se:.3%} | {gain_ips:+.3%} | |")
    for arm in splits[0].qini:
        mean, se = _mean_and_se([one.qini[arm] for one in splits])
        lines.append(f"Qini of {arm}: {mean:.3%} ± {se:.3%} visits a customer")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
