"""A bundle valued on the exposures kept from it: the policy that is served, beside the baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.history import History
from features.pipeline import compute
from features.tiers import TIER_COLUMN
from features.truth import read_truth
from offers.catalog import Catalog
from offers.eligibility import eligible
from offers.policy import decide
from offers.settings import Settings
from offers.types import Estimates
from training.bundle import Bundle
from training.dataset import Dataset
from training.evaluation.baselines import baseline_policies
from training.evaluation.bootstrap import Interval
from training.evaluation.evaluate import evaluate
from training.evaluation.figures import PERKWISE, Evaluation, Notes, ServiceFigures
from training.evaluation.importances import importances
from training.log_checks import check_log
from training.source import Source
from training.split import Split
from training.suspicions.find import find_suspicions

VERSION = "0.1.0"
Floats = NDArray[np.float64]


def value_bundle(bundle: Bundle, source: Source, settings: Settings, command: str, seed: int) -> Evaluation:
    """Every figure of the report on this bundle.

    Parameters
    ----------
    source : Source
        Read with the bundle's own layout.
    command : str
        What to type to have this report again.
    """
    facts = bundle.manifest["training"]
    train, test = Split(**facts["split"]).apply(source.dataset, source.history.user_ids)
    test = test.capped(facts["margin_cap"])
    estimates = bundle.estimates(test.X, repurchase=False)
    may = may_offer(bundle, test.X, test.shown_at_us)
    evaluation = evaluate(
        test,
        policies=policies(bundle, estimates, may, settings),
        q=expected_margin(bundle.uplift_margin.predict_baseline(test.X), estimates, bundle.catalog),
        uplift=estimates.uplift_margin,
        uptake=estimates.uptake,
        eligible=may,
        outcome="margin",
        unit=settings.money.currency,
        level=settings.training.interval_level,
        notes=_notes(bundle, source, settings, command, train),
        rng=np.random.default_rng(seed),
        oracle_share=oracle_share(bundle, source.folder, source.history, settings),
        log_findings=check_log(source, seed),
        importances=importances(
            partial(bundle.explain_value, money_price=settings.decision.money_price),
            test.X,
            may,
            bundle.layout.columns,
            test.categorical,
            np.random.default_rng(seed),
        ),
    )
    return replace(evaluation, services=_with_learned(evaluation.services, bundle, evaluation.level))


def _with_learned(
    services: Sequence[ServiceFigures], bundle: Bundle, level: float
) -> tuple[ServiceFigures, ...]:
    """The figures of each service beside what the models learned of it on average."""
    model = bundle.uplift_margin
    intervals = zip(model.average_.tolist(), *(end.tolist() for end in model.average_interval(level)))
    return tuple(
        replace(figures, learned=Interval(*interval), cold=cold)
        for figures, interval, cold in zip(services, intervals, bundle.cold.tolist(), strict=True)
    )


def may_offer(bundle: Bundle, X: NDArray[np.float32], at_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which services the user of each profile may be offered at that time, shape (n, n_services)."""
    tiers = bundle.tiers.of(X[:, bundle.layout.columns.index(TIER_COLUMN)])
    return eligible(bundle.catalog, tiers.tolist(), at_us).mask


def policies(
    bundle: Bundle, estimates: Estimates, may: NDArray[np.bool_], settings: Settings
) -> dict[str, Floats]:
    """Perkwise's own decisions and those of the baselines, each of shape (n, n_services + 1).

    Lists are of one service at most, because that is what most of a log can speak of.
    """
    chosen = decide(estimates, may, bundle.catalog, settings.decision, max_services=1).services[:, 0]
    perkwise = np.zeros((len(chosen), len(bundle.catalog) + 1))
    perkwise[np.arange(len(chosen)), chosen + 1] = 1.0  # position -1 is nothing, which stands first
    baselines = bundle.manifest["training"]["baselines"]
    return {
        PERKWISE: perkwise,
        **baseline_policies(
            np.array(baselines["constant_values"]), np.array(baselines["popularity"]), estimates.uptake, may
        ),
    }


def expected_margin(baseline: Floats, estimates: Estimates, catalog: Catalog) -> Floats:
    """Expected margin less costs of nothing (first) and each service, shape (n, n_services + 1).

    Parameters
    ----------
    baseline : array of shape (n,)
        Expected margin with nothing shown.
    """
    return baseline[:, None] + np.column_stack([np.zeros(len(baseline)), _gain(estimates, catalog)])


def oracle_share(
    bundle: Bundle, folder: Path, history: History, settings: Settings
) -> dict[str, float] | None:
    """What share of the oracle's gain over nothing each policy reaches; None where no truth is known.

    The oracle offers each user the one service, or nothing, of the highest true net margin at the start of
    the held-out period. Only a simulated world knows it.
    """
    truth = read_truth(folder)
    if truth is None:
        return None
    _check_same("users", truth.user_ids, history.user_position)
    _check_same("services", truth.service_ids, bundle.catalog.position_of)
    user = np.array([history.user_position[user_id] for user_id in truth.user_ids])
    at_us = np.full(len(user), truth.held_out_from_us)
    X = compute(history, bundle.layout, user, at_us)
    may = may_offer(bundle, X, at_us)
    estimates = bundle.estimates(X, repurchase=False)
    actual = Estimates(truth.uptake, truth.uplift_repurchase, truth.uplift_margin)
    net = np.column_stack([np.zeros(len(user)), np.where(may, _gain(actual, bundle.catalog), 0.0)])
    oracle = net.max(axis=1).mean()
    return {
        name: float((policy * net).sum(axis=1).mean() / oracle)
        for name, policy in policies(bundle, estimates, may, settings).items()
    }


def _check_same(what: str, told: Sequence[str], known: Mapping[str, int]) -> None:
    if set(told) != set(known):
        differ = sorted(set(told) ^ set(known))
        raise ValueError(
            f"the truth must be about the {what} of the tables, {len(differ)} differ, such as {differ[0]!r}. "
            "Make the world again, or remove its folder truth/: a report needs no truth."
        )


def _gain(estimates: Estimates, catalog: Catalog) -> Floats:
    return estimates.uplift_margin - estimates.uptake * catalog.unit_cost - catalog.contact_cost


def _notes(bundle: Bundle, source: Source, settings: Settings, command: str, train: Dataset) -> Notes:
    facts = bundle.manifest["training"]
    lists = facts["lists"]
    return Notes(
        title=source.folder.resolve().name,
        n_train=len(train) - lists["logged"] + lists["learned"],
        n_lists=lists["logged"],
        n_lists_learned=lists["learned"],
        log=source.log,
        dropped=source.dropped,
        uptake_days=settings.windows.uptake_days,
        repurchase_days=settings.windows.repurchase_days,
        margin_cap_quantile=settings.money.margin_cap_quantile,
        margin_cap=facts["margin_cap"],
        propensities="logged" if source.dataset.estimated is None else "estimated",
        bundle=bundle.hash,
        data_hash=source.data_hash,
        made_at=datetime.now(UTC).isoformat(timespec="minutes"),
        command=command,
        version=VERSION,
        suspicions=find_suspicions(source, train.single()) if len(train) else (),
    )
