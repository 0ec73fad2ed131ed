"""The main job of training: from a data folder to a bundle, a report and a tracked run."""

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features.pipeline import compute
from features.tiers import TIER_COLUMN, Tiers
from offers.settings import Settings
from offers.types import Progress
from training import tracking
from training.bundle import BundleParts, read_bundle, write_bundle
from training.dataset import Dataset
from training.evaluation.baselines import constant_values, popularity
from training.evaluation.figures import Evaluation
from training.evaluation.report import render
from training.source import Source, read_source
from training.split import Split
from training.tuning import tune
from training.uplift import UpliftModel
from training.uptake import UptakeModel
from training.valuation import value_bundle

_GOLDEN_ROWS = 16


@dataclass(frozen=True)
class Training:
    """What one training left behind."""

    run_id: str
    name: str
    bundle: Path
    report: Path
    rows: dict[str, int]  # exposures: train, test
    services: int
    seconds: dict[str, float]  # wall time of each stage
    evaluation: Evaluation
    source: Source  # what was read, for whoever asks further


def train(
    data: Path,
    home: Path,
    settings: Settings,
    name: str,
    seed: int = 0,
    progress: Progress | None = None,
) -> Training:
    """Tune, fit and value the models of a data folder; nothing that is served changes.

    The bundle goes to `home/var/bundles`, the report to `home/var/reports`, the run with copies of both to
    MLflow's store in `home/mlruns`. A training that fails leaves none of them.

    Parameters
    ----------
    settings : Settings
        The project's, overridden by the data folder's.
    name : str
        What people call the run.
    seed : int
        The same seed, data and settings give the same bundle, byte for byte.

    Raises
    ------
    ValueError
        Where the tables, the log or the labels cannot teach anything; the message says what to do.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, "profiles"):
        source = read_source(data, settings, progress=progress)
        split = Split.of(source.dataset, settings.training.test_share)
        rows, test = split.apply(source.dataset, source.history.user_ids)
        margin_cap = float(np.quantile(rows.margin, settings.money.margin_cap_quantile))
        rows = rows.capped(margin_cap)
        single = rows.single()
        propensities = single.propensities(seed)
    with _timed(seconds, "tuning"):
        storage = home / "var" / "optuna.db"
        storage.parent.mkdir(parents=True, exist_ok=True)
        learner_settings, _ = tune(
            single.X,
            single.service,
            propensities,
            single.margin,
            single.uptake,
            n_trials=settings.training.trials,
            seed=seed,
            categorical=single.categorical,
            storage=f"sqlite:///{storage}",
            study_name=_study_name(source, settings, seed),
            progress=progress,
        )
    model_args: dict[str, Any] = {
        "seed": seed,
        "settings": learner_settings,
        "categorical": single.categorical,
    }
    with _timed(seconds, "uptake"):
        offered = single.take(single.service >= 0)
        uptake = UptakeModel(**model_args).fit(
            offered.X, offered.service, offered.uptake, len(source.catalog)
        )
        _step(progress, "models", 1)
    with _timed(seconds, "uplift"):
        uplifts = {}
        for done, outcome in enumerate(("repurchase", "margin"), start=2):
            y = getattr(single, outcome)
            uplifts[outcome] = UpliftModel(**model_args).fit(
                single.X, single.service, propensities, y, single.uptake
            )
            _step(progress, "models", done)
    bundle_path = write_bundle(
        BundleParts(
            layout=source.layout,
            tiers=_tiers(source, split, settings),
            catalog=source.catalog,
            uptake=uptake,
            uplift_repurchase=uplifts["repurchase"],
            uplift_margin=uplifts["margin"],
            golden=single.X[:: max(1, len(single) // _GOLDEN_ROWS)][:_GOLDEN_ROWS],
            settings=settings,
            seed=seed,
            data_hash=source.data_hash,
            rows={"train": len(rows), "test": len(test)},
            test_from_us=split.test_from_us,
            training={
                "split": asdict(split),
                "margin_cap": margin_cap,
                "baselines": _baselines(rows, uplifts["margin"]),
            },
        ),
        home / "var" / "bundles",
    )
    with _timed(seconds, "evaluation"):
        bundle = read_bundle(bundle_path)
        command = f"perkwise evaluate {data} --bundle {bundle_path.name}"
        evaluation = value_bundle(bundle, source, settings, command, seed)
        report = home / "var" / "reports" / f"{bundle.hash}.html"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(render(evaluation), encoding="utf-8")
        figures = report.with_suffix(".json")
        figures.write_text(json.dumps(evaluation.to_json(report.name), indent=2), encoding="utf-8")
    run_id = tracking.log_training(
        home,
        name,
        params={**asdict(learner_settings), **_flat(settings), "seed": seed},
        metrics=_metrics(evaluation, seconds),
        lineage={
            "data_hash": source.data_hash,
            "commit": _commit(home),
            "lock_hash": _lock_hash(home),
            "data": _relative(data, home),
        },
        artifacts=[report, figures],
        bundle=bundle_path,
    )
    return Training(
        run_id=run_id,
        name=name,
        bundle=bundle_path,
        report=report,
        rows={"train": len(rows), "test": len(test)},
        services=len(source.catalog),
        seconds={stage: round(spent, 2) for stage, spent in seconds.items()},
        evaluation=evaluation,
        source=source,
    )


def _tiers(source: Source, split: Split, settings: Settings) -> Tiers:
    """Cut on what every user had spent when the training ends."""
    n_users = len(source.history.user_ids)
    as_of_us = split.test_from_us or int(source.dataset.shown_at_us.max())
    profiles = compute(source.history, source.layout, np.arange(n_users), np.full(n_users, as_of_us))
    return Tiers.learn(profiles[:, source.layout.columns.index(TIER_COLUMN)], settings.tiers.names)


def _baselines(train: Dataset, uplift: UpliftModel) -> dict[str, list[float]]:
    """What the training rows say of showing everybody the same: the report's baselines need no later look."""
    popular = popularity(train)
    constant = constant_values(uplift.average_, popular, train.catalog)
    return {"constant_values": constant.tolist(), "popularity": popular.tolist()}


def _study_name(source: Source, settings: Settings, seed: int) -> str:
    """A training that was interrupted goes on with its trials; another one starts its own."""
    what = f"{source.data_hash} {settings.money} {settings.windows} {settings.training.test_share} {seed}"
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def _metrics(evaluation: Evaluation, seconds: dict[str, float]) -> dict[str, float]:
    figures = {
        f"policy_value.{name}": policy.doubly_robust.value for name, policy in evaluation.policies.items()
    }
    for name, gain in evaluation.gains.items():
        figures |= {f"gain_over_{name}.{part}": getattr(gain, part) for part in ("value", "low", "high")}
    for name, share in (evaluation.oracle_share or {}).items():
        figures[f"oracle_share.{name}"] = share
    figures |= {f"seconds.{stage}": spent for stage, spent in seconds.items()}
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _flat(settings: Settings) -> dict[str, object]:
    return {
        f"{section}.{key}": value for section, part in asdict(settings).items() for key, value in part.items()
    }


def _commit(home: Path) -> str:
    git = ["git", "-C", str(home), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def _lock_hash(home: Path) -> str:
    lock = home / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "unknown"


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began


def _step(progress: Progress | None, stage: str, done: int) -> None:
    if progress:
        progress(stage, done, 3)


def _relative(data: Path, home: Path) -> str:
    """Where the data lie, seen from the project where they lie in it, so that both may move together."""
    absolute = data.resolve()
    return str(absolute.relative_to(home)) if absolute.is_relative_to(home) else str(absolute)
