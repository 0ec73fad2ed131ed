"""The main job of training: from a data folder to a bundle, a report and a tracked run."""

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from features.pipeline import compute
from features.tiers import TIER_COLUMN, Tiers
from offers.rules import RuleSet
from offers.settings import Settings
from offers.types import Progress
from training import tracking
from training.bundle import BundleParts, read_bundle, write_bundle
from training.dataset import SEVERAL, Dataset
from training.evaluation.baselines import constant_values, popularity
from training.evaluation.figures import Evaluation
from training.evaluation.report import render
from training.fitting import Material
from training.lockstep import LearnerSettings
from training.source import Source, read_source
from training.split import Split
from training.sufficiency import check_apart, check_sufficient
from training.suspicions.suspicion import Suspicion
from training.tier_loads import tier_loads
from training.tuning import tune
from training.uplift import UpliftModel
from training.uptake import UptakeModel
from training.valuation import value_bundle

_GOLDEN_ROWS = 16
_LONGEST_TAG = 5000  # characters; MLflow refuses longer ones


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

    @property
    def suspicions(self) -> tuple[Suspicion, ...]:
        """What is hardly ever true of a sound log, by name; the training went on all the same."""
        return self.evaluation.notes.suspicions


def train(
    data: Path,
    home: Path,
    settings: Settings,
    name: str,
    seed: int = 0,
    progress: Progress | None = None,
    rules: RuleSet | None = None,
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
    rules : RuleSet, optional
        The benefit rules, by which the report values the bundle; the models do not know them.

    Raises
    ------
    ValueError
        Where the tables, the log or the labels cannot teach anything; the message says what to do.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, "profiles"):
        lesson = _prepare(data, settings, seed, progress)
    with _timed(seconds, "tuning"):
        learner_settings = _tune(lesson, settings, home / "var" / "optuna.db", seed, progress)
    models = _fit(lesson, learner_settings, settings.decision.choice_load, seconds, progress)
    bundle_path = write_bundle(_parts(lesson, models, settings, seed), home / "var" / "bundles")
    with _timed(seconds, "evaluation"):
        command = f"perkwise evaluate {data} --bundle {bundle_path.name}"
        evaluation = value_bundle(read_bundle(bundle_path), lesson.source, settings, command, seed, rules)
        report, figures = _write_report(evaluation, home / "var" / "reports" / f"{bundle_path.name}.html")
    run_id = tracking.log_training(
        home,
        name,
        params={**asdict(learner_settings), **_flat(settings), "seed": seed},
        metrics=_metrics(evaluation, seconds),
        lineage={
            "data_hash": lesson.source.data_hash,
            "commit": _commit(home),
            "lock_hash": _lock_hash(home),
            "data": _relative(data, home),
            **_suspicion_tag(evaluation.notes.suspicions),
        },
        artifacts=[report, figures],
        bundle=bundle_path,
    )
    return Training(
        run_id=run_id,
        name=name,
        bundle=bundle_path,
        report=report,
        rows=lesson.n_rows,
        services=len(lesson.source.catalog),
        seconds={stage: round(spent, 2) for stage, spent in seconds.items()},
        evaluation=evaluation,
        source=lesson.source,
    )


@dataclass(frozen=True)
class _Lesson:
    """What the models learn from."""

    source: Source
    split: Split
    margin_cap: float
    material: Material
    test: Dataset

    @property
    def train(self) -> Dataset:
        """Lists of several among them."""
        return self.material.rows

    @property
    def single(self) -> Dataset:
        """Training rows of one service or nothing."""
        return self.material.single

    @property
    def n_rows(self) -> dict[str, int]:
        return {"train": len(self.train), "test": len(self.test)}


def _prepare(data: Path, settings: Settings, seed: int, progress: Progress | None) -> _Lesson:
    source = read_source(data, settings, progress=progress)
    split = Split.of(source.dataset, settings.training.test_share)
    rows, test = split.apply(source.dataset, source.history.user_ids)
    check_apart(rows, test, split.by)
    margin_cap = float(np.quantile(rows.margin, settings.money.margin_cap_quantile))
    rows = rows.capped(margin_cap)
    check_sufficient(rows.single())
    return _Lesson(source, split, margin_cap, Material.of(rows, seed), test)


def _tune(
    lesson: _Lesson, settings: Settings, storage: Path, seed: int, progress: Progress | None
) -> LearnerSettings:
    storage.parent.mkdir(parents=True, exist_ok=True)
    single = lesson.single
    best, _ = tune(
        single.X,
        single.service,
        lesson.material.propensities,
        single.margin,
        single.uptake,
        n_trials=settings.training.trials,
        seed=seed,
        categorical=single.categorical,
        storage=f"sqlite:///{storage}",
        study_name=_study_name(lesson.source, settings, seed),
        progress=progress,
    )
    return best


def _fit(
    lesson: _Lesson,
    learner_settings: LearnerSettings,
    choice_load: float,
    seconds: dict[str, float],
    progress: Progress | None,
) -> tuple[UptakeModel, UpliftModel, UpliftModel]:
    """The models of uptake, and of uplift in repurchase and in margin."""
    material = lesson.material
    with _timed(seconds, "uptake"):
        uptake = material.fit_uptake(learner_settings)
        _step(progress, 1)
    with _timed(seconds, "uplift"):
        repurchase = material.fit_uplift("repurchase", learner_settings, choice_load)
        _step(progress, 2)
        margin = material.fit_uplift("margin", learner_settings, choice_load)
        _step(progress, 3)
    return uptake, repurchase, margin


def _parts(
    lesson: _Lesson, models: tuple[UptakeModel, UpliftModel, UpliftModel], settings: Settings, seed: int
) -> BundleParts:
    uptake, uplift_repurchase, uplift_margin = models
    tiers = _tiers(lesson.source, lesson.split, settings)
    loads = tier_loads(
        lesson.train, uptake, tiers, settings.decision.similarity_load, settings.training.interval_level
    )
    every = max(1, len(lesson.single) // _GOLDEN_ROWS)
    return BundleParts(
        layout=lesson.source.layout,
        tiers=tiers,
        catalog=lesson.source.catalog,
        uptake=uptake,
        uplift_repurchase=uplift_repurchase,
        uplift_margin=uplift_margin,
        golden=lesson.single.X[::every][:_GOLDEN_ROWS],
        settings=settings,
        seed=seed,
        data_hash=lesson.source.data_hash,
        rows=lesson.n_rows,
        training={
            "split": asdict(lesson.split),
            "margin_cap": lesson.margin_cap,
            "lists": {
                "logged": int((lesson.train.service == SEVERAL).sum()),
                "learned": int(lesson.train.is_teaching_list.sum()),
            },
            "choice_load": loads.to_json() if loads else None,
            "baselines": _baselines(lesson.train, uplift_margin),
        },
    )


def _write_report(evaluation: Evaluation, report: Path) -> tuple[Path, Path]:
    """The page and, beside it, its figures as JSON."""
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(render(evaluation), encoding="utf-8")
    figures = report.with_suffix(".json")
    figures.write_text(json.dumps(evaluation.to_json(report.name), indent=2), encoding="utf-8")
    return report, figures


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
    """A number a key; a section that is a list, such as the tracks, is one value where there are any."""
    flat: dict[str, object] = {}
    for section, part in asdict(settings).items():
        if isinstance(part, dict):
            flat |= {f"{section}.{key}": value for key, value in part.items()}
        elif part:
            flat[section] = part
    return flat


def _suspicion_tag(suspicions: tuple[Suspicion, ...]) -> dict[str, str]:
    """One tag with the names, where there are any; the report has the figures."""
    names = "; ".join(f"{one.name}, {one.where}" for one in suspicions)
    return {"suspicions": names[:_LONGEST_TAG]} if names else {}


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


def _step(progress: Progress | None, done: int) -> None:
    if progress:
        progress("models", done, 3)


def _relative(data: Path, home: Path) -> str:
    """Where the data lie, seen from the project where they lie in it, so that both may move together."""
    absolute = data.resolve()
    return str(absolute.relative_to(home)) if absolute.is_relative_to(home) else str(absolute)
