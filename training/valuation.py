"""A bundle valued on the exposures kept from it: the policy that is served, beside the baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.allowance import Allowance, allow, logged_channels
from features.history import History
from features.pipeline import compute
from features.truth import read_truth
from offers.catalog import Catalog
from offers.rules import RuleSet
from offers.settings import Settings
from offers.types import Estimates
from training.bundle import Bundle
from training.choice_load import ChoiceLoads
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
from training.list_policies import ListCase, popular_lists
from training.log_checks import check_log
from training.source import Source
from training.split import Split
from training.suspicions.find import find_suspicions

VERSION = "0.1.0"
Floats = NDArray[np.float64]


class Served(NamedTuple):
    """What decides: models, settings, and the benefit rules."""

    bundle: Bundle
    settings: Settings
    rules: RuleSet = RuleSet()


def value_bundle(
    bundle: Bundle,
    source: Source,
    settings: Settings,
    command: str,
    seed: int,
    rules: RuleSet | None = None,
) -> Evaluation:
    """Every figure of the report on this bundle, served by these settings and rules.

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
    served = Served(bundle, settings, rules or RuleSet())
    allowed = allowance_of(served, source, test)
    evaluation = evaluate(
        test,
        policies=policies(bundle, estimates, allowed, settings),
        q=expected_margin(bundle.uplift_margin.predict_baseline(test.X), estimates, bundle.catalog),
        uplift=estimates.uplift_margin,
        uptake=estimates.uptake,
        eligible=allowed.mask,
        outcome="margin",
        unit=settings.money.currency,
        level=settings.training.interval_level,
        notes=_notes(bundle, source, settings, command, train),
        rng=np.random.default_rng(seed),
        oracle_share=oracle_share(bundle, source.folder, source.history, settings, rules),
        log_findings=check_log(source, seed),
        importances=importances(
            partial(bundle.explain_value, money_price=settings.decision.money_price),
            test.X,
            allowed.mask,
            bundle.layout.columns,
            test.categorical,
            np.random.default_rng(seed),
        ),
    )
    return replace(
        evaluation,
        services=_with_learned(evaluation.services, bundle, evaluation.level),
        lists=value_lists(bundle, test, estimates, allowed, settings, seed),
    )


def value_lists(
    bundle: Bundle,
    rows: Dataset,
    estimates: Estimates,
    allowed: Allowance,
    settings: Settings,
    seed: int,
) -> ListReport | None:
    """What the lists that are served are worth, beside single offers and lists made without a model.

    None where a list's propensity is an estimate: then no weight speaks of lists.
    """
    if (rows.is_estimated & (rows.service == SEVERAL)).any():
        return None
    case = list_case(bundle, rows, estimates, allowed, settings)
    rng, level = np.random.default_rng(seed), settings.training.interval_level
    served = allowed.decide(estimates, settings.decision).services
    length = (served >= 0).sum(axis=1)
    baselines = bundle.manifest["training"]["baselines"]
    chosen = policies(bundle, estimates, allowed, settings)["best_constant"].argmax(axis=1) - 1
    lists = {
        PERKWISE: case.policy(served),
        "single": case.policy(allowed.decide(estimates, settings.decision, 1).services),
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
        lengths=_by_length(estimates, allowed, case, settings, rng),
        n=len(case),
        n_several=int((case.length > 1).sum()),
        longest=int(case.length.max()),
        impossible=case.impossible_by_cause(served),
    )


def _by_length(
    estimates: Estimates,
    allowed: Allowance,
    case: ListCase,
    settings: Settings,
    rng: np.random.Generator,
) -> tuple[LengthFigures, ...]:
    """Lists of each length from none to the longest; none where the log holds fewer than two lengths."""
    if len(np.unique(case.length[case.length > 0])) < 2:
        return ()
    level, found = settings.training.interval_level, []
    for n in range(settings.decision.max_services + 1):
        ours = case.policy(allowed.decide(estimates, settings.decision, n).services) if n else case.nothing()
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
    bundle: Bundle, rows: Dataset, estimates: Estimates, allowed: Allowance, settings: Settings
) -> ListCase:
    """Held-out rows as values of lists are asked of them: `case.policy(lists)` makes a policy of any lists.

    Parameters
    ----------
    rows : Dataset
        That the bundle has not seen, capped.
    estimates, allowed : of these rows
        From the bundle, and from `allowance_of`.
    """
    baseline = bundle.uplift_margin.predict_baseline(rows.X)
    return ListCase.of(
        rows,
        estimates,
        baseline,
        allowed.mask,
        settings.decision,
        settings.money.currency,
        allowed.choice_load,
    )


def value_change(old: Served, new: Served, source: Source) -> Change:
    """What serving new models, settings and rules instead of the old is worth, on rows kept from both.

    Windows, margin cap, costs, services and tiers are those of the new; so is the model that steadies the
    comparison, which does not bias it. Either side's lists come from its own models, settings and rules.

    Parameters
    ----------
    source : Source
        The data folder, read with the new bundle's layout.

    Raises
    ------
    ValueError
        Where no rows were kept from both, or the propensities of lists are not logged.
    """
    bundle, settings, _ = new
    facts = bundle.manifest["training"]
    _, rows = Split(**facts["split"]).apply(source.dataset, source.history.user_ids)
    _, rows = Split(**old.bundle.manifest["training"]["split"]).apply(rows, source.history.user_ids)
    rows = rows.capped(facts["margin_cap"])
    estimates = bundle.estimates(rows.X, repurchase=False)
    allowed, before = (
        allowance_of(Served(bundle, one.settings, one.rules), source, rows) for one in (new, old)
    )
    case = list_case(bundle, rows, estimates, allowed, settings)
    ours, theirs = allowed.decide(estimates, settings.decision), estimates
    if old.bundle.hash != bundle.hash:
        theirs = estimates_by(old.bundle, bundle, source, rows)
        before = replace(before, choice_load=old.bundle.choice_load(before.tiers))
    lists = before.decide(theirs, old.settings.decision)
    level = settings.training.interval_level
    return value_of_change(case.log, case.policy(lists.services), case.policy(ours.services), level)


def estimates_by(other: Bundle, bundle: Bundle, source: Source, rows: Dataset) -> Estimates:
    """What another bundle says of these rows, service by service of this one; NaN: it does not know it."""
    history = History.of(source.tables, other.layout, other.windows.uptake_days)
    found = other.estimates(compute(history, other.layout, rows.user, rows.shown_at_us), repurchase=False)
    places = np.array([other.catalog.position_of.get(service_id, -1) for service_id in bundle.catalog.ids])
    parts = (found.uptake, found.uplift_repurchase, found.uplift_margin)
    return Estimates(*(np.where(places >= 0, part[:, places], np.nan) for part in parts))


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


def allowance_of(served: Served, source: Source, rows: Dataset) -> Allowance:
    """What the user of each row may be shown at that time, and what lists must keep to.

    Parameters
    ----------
    source : Source
        Read with the bundle's own layout.
    """
    bundle, settings, rules = served
    channels = None
    if any(rule.when.channels for rule in rules.rules):
        channels = logged_channels(source.tables.exposures, source.history, rows.user, rows.shown_at_us)
    return allow(bundle, source.history, settings, rows.X, rows.user, rows.shown_at_us, rules, channels)


def policies(
    bundle: Bundle, estimates: Estimates, allowed: Allowance, settings: Settings
) -> dict[str, Floats]:
    """Perkwise's own decisions and those of the baselines, each of shape (n, n_services + 1).

    Lists are of one service at most, because that is what most of a log can speak of.
    """
    baselines = bundle.manifest["training"]["baselines"]
    return {
        PERKWISE: single_offers(estimates, allowed, settings),
        **baseline_policies(
            np.array(baselines["constant_values"]),
            np.array(baselines["popularity"]),
            estimates.uptake,
            allowed.mask,
        ),
    }


def single_offers(estimates: Estimates, allowed: Allowance, settings: Settings) -> Floats:
    """What is decided where one service may be shown at most, shape (n, n_services + 1)."""
    chosen = allowed.decide(estimates, settings.decision, 1).services[:, 0]
    policy = np.zeros((len(chosen), allowed.mask.shape[1] + 1))
    policy[np.arange(len(chosen)), chosen + 1] = 1.0  # position -1 is nothing, which stands first
    return policy


def expected_margin(baseline: Floats, estimates: Estimates, catalog: Catalog) -> Floats:
    """Expected margin less costs of nothing (first) and each service, shape (n, n_services + 1).

    Parameters
    ----------
    baseline : array of shape (n,)
        Expected margin with nothing shown.
    """
    return baseline[:, None] + np.column_stack([np.zeros(len(baseline)), _gain(estimates, catalog)])


def oracle_share(
    bundle: Bundle, folder: Path, history: History, settings: Settings, rules: RuleSet | None = None
) -> dict[str, float] | None:
    """What share of the oracle's gain over nothing each policy reaches; None where no truth is known.

    The oracle offers each user the one service that he may be offered, or nothing, of the highest true net
    margin at the start of the held-out period. Only a simulated world knows it.
    """
    truth = read_truth(folder)
    if truth is None:
        return None
    _check_same("users", truth.user_ids, history.user_position)
    _check_same("services", truth.service_ids, bundle.catalog.position_of)
    user = np.array([history.user_position[user_id] for user_id in truth.user_ids])
    at_us = np.full(len(user), truth.held_out_from_us)
    X = compute(history, bundle.layout, user, at_us)
    allowed = allow(bundle, history, settings, X, user, at_us, rules)
    estimates = bundle.estimates(X, repurchase=False)
    actual = Estimates(truth.uptake, truth.uplift_repurchase, truth.uplift_margin)
    net = np.column_stack([np.zeros(len(user)), np.where(allowed.mask, _gain(actual, bundle.catalog), 0.0)])
    oracle = net.max(axis=1).mean()
    return {
        name: float((policy * net).sum(axis=1).mean() / oracle)
        for name, policy in policies(bundle, estimates, allowed, settings).items()
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
        default_load=settings.decision.choice_load,
        choice_loads=ChoiceLoads.from_json(facts["choice_load"]) if facts.get("choice_load") else None,
    )
