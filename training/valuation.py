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
from offers.ranking import is_known
from offers.settings import Settings
from offers.types import Estimates
from training.bundle import Bundle
from training.dataset import SEVERAL, Dataset
from training.evaluation.baselines import baseline_policies
from training.evaluation.bootstrap import Interval
from training.evaluation.evaluate import evaluate
from training.evaluation.figures import (
    PERKWISE,
    Evaluation,
    LengthFigures,
    ListReport,
    Notes,
    ServiceFigures,
)
from training.evaluation.importances import importances
from training.evaluation.list_value import Change, value_of_change, value_of_lists
from training.list_policies import ListCase, Lists, popular_lists
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
    return replace(
        evaluation,
        services=_with_learned(evaluation.services, bundle, evaluation.level),
        lists=value_lists(bundle, test, estimates, may, settings, seed),
    )


def value_lists(
    bundle: Bundle,
    rows: Dataset,
    estimates: Estimates,
    may: NDArray[np.bool_],
    settings: Settings,
    seed: int,
) -> ListReport | None:
    """What the lists that are served are worth, beside single offers and lists made without a model.

    None where a list's propensity is an estimate: then no weight speaks of lists.
    """
    if (rows.is_estimated & (rows.service == SEVERAL)).any():
        return None
    case = list_case(bundle, rows, estimates, may, settings)
    rng, level = np.random.default_rng(seed), settings.training.interval_level
    served = decided_lists(bundle, rows.X, estimates, case.may, settings)
    length = (served >= 0).sum(axis=1)
    baselines = bundle.manifest["training"]["baselines"]
    chosen = policies(bundle, estimates, may, settings)["best_constant"].argmax(axis=1) - 1
    lists = {
        PERKWISE: case.policy(served),
        "single": case.policy(decided_lists(bundle, rows.X, estimates, case.may, settings, max_services=1)),
        "best_constant": case.policy(chosen[:, None]),
        "popularity": case.policy(popular_lists(np.array(baselines["popularity"]), case.may, length)),
        "random": case.random_lists(length, rng),
        "nothing": case.nothing(),
    }
    return ListReport(
        policies={name: value_of_lists(case.log, policy, level) for name, policy in lists.items()},
        changes={
            name: value_of_change(case.log, policy, lists[PERKWISE], level)
            for name, policy in lists.items()
            if name != PERKWISE
        },
        lengths=_by_length(bundle, rows, estimates, case, settings, rng),
        n=len(case),
        n_several=int((case.length > 1).sum()),
        longest=int(case.length.max()),
        impossible=case.impossible_by_cause(served),
    )


def _by_length(
    bundle: Bundle,
    rows: Dataset,
    estimates: Estimates,
    case: ListCase,
    settings: Settings,
    rng: np.random.Generator,
) -> tuple[LengthFigures, ...]:
    """Lists of each length from none to the longest; none where the log holds fewer than two lengths."""
    if len(np.unique(case.length[case.length > 0])) < 2:
        return ()
    level, found = settings.training.interval_level, []
    for n in range(settings.decision.max_services + 1):
        ours = (
            case.policy(decided_lists(bundle, rows.X, estimates, case.may, settings, max_services=n))
            if n
            else case.nothing()
        )
        drawn = case.random_lists(np.full(len(case), n), rng)
        found.append(
            LengthFigures(
                length=n,
                ours=value_of_lists(case.log, ours, level),
                drawn=value_of_lists(case.log, drawn, level),
                n_logged=int((case.length == n).sum()),
            )
        )
    return tuple(found)


def list_case(
    bundle: Bundle, rows: Dataset, estimates: Estimates, may: NDArray[np.bool_], settings: Settings
) -> ListCase:
    """Held-out rows as values of lists are asked of them: `case.policy(lists)` makes a policy of any lists.

    Parameters
    ----------
    rows : Dataset
        That the bundle has not seen, capped.
    estimates, may : of these rows
        From the bundle, and from `may_offer`.
    """
    baseline = bundle.uplift_margin.predict_baseline(rows.X)
    return ListCase.of(rows, estimates, baseline, may, settings.decision, settings.money.currency)


def decided_lists(
    bundle: Bundle,
    X: NDArray[np.float32],
    estimates: Estimates,
    may: NDArray[np.bool_],
    settings: Settings,
    max_services: int | None = None,
) -> Lists:
    """The lists that would be served, without holdout and exploration, shape (n, longest)."""
    load = loads_of(bundle, X)
    return decide(estimates, may, bundle.catalog, settings.decision, max_services, choice_load=load).services


def loads_of(bundle: Bundle, X: NDArray[np.float32]) -> Floats | None:
    """How hard choosing is for the user of each profile, shape (n,); None where the settings say it."""
    tiers = bundle.tiers.of(X[:, bundle.layout.columns.index(TIER_COLUMN)])
    return bundle.choice_load(tiers.tolist())


def value_change(old: tuple[Bundle, Settings], new: tuple[Bundle, Settings], source: Source) -> Change:
    """What serving the new bundle and settings instead of the old ones is worth, on rows kept from both.

    Windows, margin cap, costs and tiers are those of the new; so is the model that steadies the comparison,
    which does not bias it. Either side's lists come from its own models and settings.

    Parameters
    ----------
    source : Source
        The data folder, read with the new bundle's layout.

    Raises
    ------
    ValueError
        Where no rows were kept from both, or the propensities of lists are not logged.
    """
    bundle, settings = new
    facts = bundle.manifest["training"]
    _, rows = Split(**facts["split"]).apply(source.dataset, source.history.user_ids)
    _, rows = Split(**old[0].manifest["training"]["split"]).apply(rows, source.history.user_ids)
    rows = rows.capped(facts["margin_cap"])
    estimates = bundle.estimates(rows.X, repurchase=False)
    may = may_offer(bundle, rows.X, rows.shown_at_us)
    case = list_case(bundle, rows, estimates, may, settings)
    ours = decided_lists(bundle, rows.X, estimates, case.may, settings)
    theirs = (
        decided_lists(bundle, rows.X, estimates, case.may, old[1])
        if old[0].hash == bundle.hash
        else _lists_of_another(*old, bundle, source, rows, may)
    )
    level = settings.training.interval_level
    return value_of_change(case.log, case.policy(theirs), case.policy(ours), level)


def _lists_of_another(
    other: Bundle, settings: Settings, bundle: Bundle, source: Source, rows: Dataset, may: NDArray[np.bool_]
) -> Lists:
    """What another bundle would show, as positions of this one; it knows the services of its own day."""
    history = History.of(source.tables, other.layout, settings.windows.uptake_days)
    X = compute(history, other.layout, rows.user, rows.shown_at_us)
    known = np.array([bundle.catalog.position_of.get(service_id, -1) for service_id in other.catalog.ids])
    own_may = np.where(known >= 0, may[:, np.maximum(known, 0)], False)
    estimates = other.estimates(X, repurchase=False)
    lists = decided_lists(other, X, estimates, own_may & is_known(estimates), settings)
    return np.where(lists >= 0, known[np.maximum(lists, 0)], -1)


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
