"""The policy that the report values is the policy that is served, and its worth is what is true of it."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from features.allowance import logged_channels
from features.rule_facts import shown_today, vocabulary_of
from features.rules_file import parse_yaml
from features.truth import read_truth
from offers.catalog import Catalog
from offers.rule_parsing import parse_rules
from offers.rules import FAULT
from offers.settings import ExplorationSettings, TrackSettings
from offers.types import Estimates, Service
from serving.deletion import DeletedUsers
from serving.recommender import Asked, recommend
from serving.state import State
from tests.checkerboard import N_TEST, START, gain
from training.bundle import read_bundle
from training.choice_load import ChoiceLoads, Load
from training.evaluation.figures import BASELINES, PERKWISE
from training.evaluation.report import render
from training.split import Split
from training.valuation import (
    Served,
    allowance_of,
    expected_margin,
    list_case,
    oracle_share,
    policies,
    value_bundle,
    value_change,
    value_lists,
)

UNASKED = 2.0  # margin of a user to whom nothing is offered
BEST = (gain("a", "left") + gain("b", "right")) / 2  # what the oracle gains over nothing
GAINS = {
    "perkwise": BEST,
    "response": (gain("a", "left") + gain("a", "right")) / 2,  # it is used by those whom it does not fit
    "best_constant": (gain("a", "left") + gain("a", "right")) / 2,
    "popularity": (gain("a", "left") + gain("a", "right")) / 2,
    "random": sum(gain(service, side) for service in "ab" for side in ("left", "right")) / 4,
    "nothing": 0.0,
}


@pytest.fixture(scope="module")
def held_out(first_bundle, shop_source):
    split = Split(**first_bundle.manifest["training"]["split"])
    return split.apply(shop_source.dataset, shop_source.history.user_ids)[1]


def test_each_service_stands_beside_what_the_models_learned_of_it(first_bundle, shop_source, shop_settings):
    found = value_bundle(first_bundle, shop_source, shop_settings, "perkwise evaluate", seed=0)
    model = first_bundle.uplift_margin
    assert [one.learned.value for one in found.services] == model.average_.tolist()
    low, high = model.average_interval(found.level)
    assert [(one.learned.low, one.learned.high) for one in found.services] == list(
        zip(low, high, strict=True)
    )
    assert not any(one.cold for one in found.services) and not first_bundle.cold.any()
    logged, learned = (first_bundle.manifest["training"]["lists"][name] for name in ("logged", "learned"))
    assert (found.notes.n_lists, found.notes.n_lists_learned) == (logged, learned)


def test_the_report_tells_the_load_of_each_tier_or_that_the_default_stands(
    first_bundle, shop_source, shop_settings
):
    found = value_bundle(first_bundle, shop_source, shop_settings, "perkwise evaluate", seed=0)
    in_bundle = first_bundle.manifest["training"]["choice_load"]
    assert found.to_json()["choice_load"] == in_bundle
    loads = ChoiceLoads(Load(0.3, 0.2, 0.4, 1500), {"gold": Load(0.5, 0.25, 0.75, 1200)})
    assert ChoiceLoads.from_json(loads.to_json()) == loads
    page = render(replace(found, notes=replace(found.notes, choice_loads=loads)))
    assert "<td>0.50</td><td>0.25 to 0.75</td><td>1,200</td>" in page
    assert "<td>0.30</td><td>0.20 to 0.40</td><td>1,500</td>" in page
    page = render(replace(found, notes=replace(found.notes, choice_loads=None, default_load=0.35)))
    assert "load of 0.35 stands for every tier" in page


def test_what_is_valued_offline_is_what_is_served_at_that_time(
    first_bundle, shop_source, shop_settings, held_out
):
    first, second = first_bundle.catalog.services
    ends = (START + timedelta(days=100)).to_pydatetime()  # amid the held-out exposures
    bundle = replace(first_bundle, catalog=Catalog.of([replace(first, active_until=ends), second]))
    quiet = replace(shop_settings, exploration=ExplorationSettings(holdout=0.0, explore=0.0))
    rows = held_out.take(np.arange(0, len(held_out), 13))
    allowed = allowance_of(Served(bundle, quiet), shop_source, rows)
    offline = policies(bundle, bundle.estimates(rows.X), allowed, quiet)[PERKWISE]

    state = State(shop_source.tables, bundle.layout, bundle.tiers, 7, DeletedUsers(b"key", set()))
    shown = []
    for user, at_us in zip(rows.user.tolist(), rows.shown_at_us.tolist()):
        user_id = shop_source.history.user_ids[user]
        profile = state.profile(user_id, at_us)
        asked = Asked(user_id, profile.features, profile.tier, at_us, seed=0, max_services=1)
        (decision,) = recommend(bundle, quiet, [asked], at_us)
        shown.append([one.position for one in decision.offered])
    assert shown == [np.flatnonzero(row[1:]).tolist() for row in offline]
    assert [] in shown and [0] in shown and [1] in shown


RULES = """
rules:
  - {name: seldom, services: [a], limits: {cooldown_days: {shown: 30}, capacity_per_day: 150}}
  - {name: loyal, services: [a], who: frequency_all >= 1}
  - {name: either, services: all, limits: {list_at_most: 1}}
  - {name: must, services: [b], must_show: side == "left" and frequency_all >= 2}
  - {name: by-app, services: [b], when: {channel: app}}
"""


def rules_of(source, bundle, settings, text):
    words = vocabulary_of(bundle.layout, bundle.tiers.names, bundle.catalog, settings, ["app", "email"])
    found, findings = parse_rules(parse_yaml(text.encode()).content, words, "digest")
    assert not [str(one) for one in findings if one.severity == FAULT]
    return found


def test_lists_under_rules_and_choice_loads_of_tiers_are_those_that_are_served(
    first_bundle, shop_source, shop_settings, held_out
):
    tiers = {name: {"value": 0.1 + number} for number, name in enumerate(first_bundle.tiers.names)}
    training = {
        **first_bundle.manifest["training"],
        "choice_load": {"tiers": tiers, "common": {"value": 9.0}},
    }
    bundle = replace(first_bundle, manifest={**first_bundle.manifest, "training": training})
    quiet = replace(shop_settings, exploration=ExplorationSettings(holdout=0.0, explore=0.0))
    channel = np.where(np.arange(len(shop_source.tables.exposures)) % 3 == 0, "email", "app")
    exposures = shop_source.tables.exposures.assign(channel=channel)
    exposures["channel"] = exposures.groupby("slate_id")["channel"].transform("first")
    source = replace(shop_source, tables=replace(shop_source.tables, exposures=exposures))
    rules = rules_of(source, bundle, quiet, RULES)
    rows = held_out.take(np.arange(0, len(held_out), 11))
    served = Served(bundle, quiet, rules)
    allowed = allowance_of(served, source, rows)
    estimates = bundle.estimates(rows.X)
    offline = allowed.decide(estimates, quiet.decision).services

    state = State(source.tables, bundle.layout, bundle.tiers, 7, DeletedUsers(b"key", set()))
    asked_by = logged_channels(exposures, source.history, rows.user, rows.shown_at_us)
    shown = []
    for user, at_us, by in zip(rows.user.tolist(), rows.shown_at_us.tolist(), asked_by, strict=True):
        user_id = source.history.user_ids[user]
        profile = state.profile(user_id, at_us)
        past = replace(
            state.past(user_id, profile, rules.needs, at_us),
            shown_today=shown_today(source.history, 2, at_us, rules.timezone),
        )
        load = float(bundle.choice_load([profile.tier])[0])
        asked = Asked(
            user_id,
            profile.features,
            profile.tier,
            at_us,
            seed=0,
            max_services=quiet.decision.max_services,
            channel=by,
            past=past,
            choice_load=load,
        )
        (decision,) = recommend(bundle, quiet, [asked], at_us, rules)
        shown.append([one.position for one in decision.offered])
    assert shown == [[place for place in row if place >= 0] for row in offline.tolist()]
    assert {"app", "email"} == set(asked_by)
    # Every rule of the file and every load is felt.
    for number in range(len(rules.rules)):
        fewer = replace(rules, rules=rules.rules[:number] + rules.rules[number + 1 :])
        without = allowance_of(Served(bundle, quiet, fewer), source, rows)
        assert (without.decide(estimates, quiet.decision).services != offline).any(), rules.rules[number].name
    case = list_case(bundle, rows, estimates, allowed, quiet)
    slates = allowed.decide(estimates, quiet.decision)
    worth = slates.worth_by_length[np.arange(len(rows)), slates.length]
    assert case.policy(offline).expected == pytest.approx(case.baseline + worth)


def test_tracks_are_held_to_at_every_moment(first_bundle, shop_source, shop_settings, held_out):
    low, high = first_bundle.tiers.names[:2], first_bundle.tiers.names[2:]
    tracks = (
        TrackSettings("low", tiers=low, services=("b",), max_services=1),
        TrackSettings("high", tiers=high, services=("a",)),
    )
    served = Served(first_bundle, replace(shop_settings, tracks=tracks))
    allowed = allowance_of(served, shop_source, held_out)
    is_low = np.isin(np.array(allowed.tiers), low)
    assert 0 < is_low.sum() < len(held_out)
    assert (allowed.mask == np.column_stack([~is_low, is_low])).all()
    lists = allowed.decide(first_bundle.estimates(held_out.X), shop_settings.decision).services
    assert set(lists[is_low, 0].tolist()) == {-1, 1} and set(lists[~is_low, 0].tolist()) == {-1, 0}
    assert allowed.tracks.max_services[is_low].tolist() == [1] * int(is_low.sum())


def test_a_change_of_rules_is_priced_by_what_the_rules_forbid(first_bundle, shop_source, shop_settings):
    nothing = rules_of(
        shop_source, first_bundle, shop_settings, "rules:\n  - {name: none, services: all, who: false}"
    )
    before = Served(first_bundle, shop_settings)
    change = value_change(before, replace_rules(before, nothing), shop_source)
    assert change.new.length == 0 and change.kind == "bad"
    lost = change.old.exact.value - change.new.exact.value
    assert change.exact.value == pytest.approx(-lost)
    assert change.exact.low < -BEST < change.exact.high  # lists of two bring what their best service does
    same = value_change(replace_rules(before, nothing), replace_rules(before, nothing), shop_source)
    assert same.n_differ == 0


def replace_rules(served, rules):
    return served._replace(rules=rules)


def test_shares_of_the_oracle_are_of_what_the_rules_allow(first_bundle, shop_source, shop_settings):
    rules = rules_of(
        shop_source, first_bundle, shop_settings, "rules:\n  - {name: r, services: [b], who: false}"
    )
    share = oracle_share(first_bundle, shop_source.folder, shop_source.history, shop_settings, rules)
    allowed_best = gain("a", "left") / 2  # of the two halves of users, only the left is offered anything
    assert share["best_constant"] == pytest.approx(GAINS["best_constant"] / allowed_best)
    assert 0.9 < share["perkwise"] <= 1


def test_every_policy_is_a_distribution_over_what_may_be_offered(
    first_bundle, shop_source, shop_settings, held_out
):
    may = np.random.default_rng(0).random((len(held_out), 2)) < 0.5
    everything = allowance_of(Served(first_bundle, shop_settings), shop_source, held_out)
    allowed = replace(everything, eligibility=replace(everything.eligibility, mask=may))
    found = policies(first_bundle, first_bundle.estimates(held_out.X), allowed, shop_settings)
    assert set(found) == {PERKWISE, *BASELINES}
    for policy in found.values():
        assert np.allclose(policy.sum(axis=1), 1) and (policy >= 0).all()
        assert not policy[:, 1:][~may].any()


def test_expected_margins_are_the_baseline_and_what_each_offer_adds_after_costs():
    catalog = Catalog.of([Service("a", "A", unit_cost=2.0), Service("b", "B", contact_cost=0.5)])
    estimates = Estimates(np.array([[0.5, 0.1]]), np.zeros((1, 2)), np.array([[3.0, 4.0]]))
    assert expected_margin(np.array([10.0]), estimates, catalog).tolist() == [[10.0, 12.0, 13.5]]


@pytest.mark.parametrize("name", GAINS)
def test_the_interval_of_every_policy_holds_its_true_value(trained, name):
    report = trained.home / "var" / "reports" / f"{trained.first['bundle']}.json"
    found = json.loads(report.read_text())["policies"][name]
    truth = UNASKED + GAINS[name]
    assert found["low"] < truth < found["high"]
    assert found["ips"]["low"] < truth < found["ips"]["high"]
    assert found["snips"]["low"] < truth < found["snips"]["high"]


def test_lists_are_valued_as_they_are_served(first_bundle, shop_source, shop_settings, held_out):
    allowed = allowance_of(Served(first_bundle, shop_settings), shop_source, held_out)
    estimates = first_bundle.estimates(held_out.X)
    found = value_lists(first_bundle, held_out, estimates, allowed, shop_settings, seed=0)
    assert list(found.policies) == [PERKWISE, "single", "best_constant", "popularity", "random", "nothing"]
    assert (found.n, found.longest, found.impossible) == (len(held_out), 2, {})
    assert found.n_several == (held_out.service == -2).sum()
    served = allowed.decide(estimates, shop_settings.decision).services
    assert found.policies[PERKWISE].length == pytest.approx((served >= 0).sum(axis=1).mean())
    # Every single offer is as in the report on single offers; its true values are known.
    for name, of in (("single", "perkwise"), ("best_constant", "best_constant"), ("nothing", "nothing")):
        exact = found.policies[name].exact
        assert exact.low < UNASKED + GAINS[of] < exact.high
    assert [one.length for one in found.lengths] == list(range(shop_settings.decision.max_services + 1))
    assert sum(one.n_logged for one in found.lengths) == len(held_out)


def test_the_page_has_a_section_on_lists(first_bundle, shop_source, shop_settings):
    found = value_bundle(first_bundle, shop_source, shop_settings, "perkwise evaluate", seed=0)
    page = render(found)
    section = page[page.index('<section id="lists">') :]
    told = " ".join(re.sub(r"<[^>]+>", " ", section[: section.index("</section>")]).split())
    assert told.startswith("What lists of several services are worth")
    n, n_several = found.lists.n, found.lists.n_several
    assert f"The log shows several at once on {n_several:,} of {n:,} contacts, 2 at most." in told
    rows = ("Perkwise", "over nothing", "By length of the list", "By every estimator")
    assert all(one in told or one.capitalize() in told for one in rows)
    for figures in found.lists.policies.values():
        assert f"{figures.effective_n:,.0f}" in told
    bare = render(replace(found, lists=None))
    assert '<section id="lists">' not in bare and len(bare) < len(page)


def test_without_logged_propensities_of_lists_none_are_valued(
    first_bundle, shop_source, shop_settings, held_out
):
    allowed = allowance_of(Served(first_bundle, shop_settings), shop_source, held_out)
    guessed = replace(held_out, estimated=np.full((len(held_out), 4), 0.25, np.float32))
    estimates = first_bundle.estimates(guessed.X)
    assert value_lists(first_bundle, guessed, estimates, allowed, shop_settings, 0) is None


def test_another_bundle_is_priced_on_rows_that_both_have_not_seen(
    first_bundle, trained, shop_source, shop_settings
):
    wider = read_bundle(trained.second.bundle)
    change = value_change(Served(wider, shop_settings), Served(first_bundle, shop_settings), shop_source)
    assert change.n == N_TEST and change.new.exact.low < change.new.exact.value
    same = value_change(Served(first_bundle, shop_settings), Served(first_bundle, shop_settings), shop_source)
    assert same.n_differ == 0


def test_the_report_names_the_column_that_decides(trained):
    report = trained.home / "var" / "reports" / f"{trained.first['bundle']}.json"
    found = json.loads(report.read_text())["importances"]
    assert found["columns"][0]["column"] == "attribute/side"
    assert {one[0]["column"] for one in found["services"].values()} == {"attribute/side"}


def test_a_bundle_s_values_are_what_their_parts_add_up_to(first_bundle, held_out):
    estimates = first_bundle.estimates(held_out.X[:200])
    cost = estimates.uptake * first_bundle.catalog.unit_cost + first_bundle.catalog.contact_cost
    for price in (0.0, 0.3):
        found = first_bundle.explain_value(held_out.X[:200], money_price=price)
        assert found.total == pytest.approx(estimates.uplift_margin - (1 + price) * cost, rel=1e-9, abs=1e-9)


def test_shares_of_the_oracle_are_those_of_the_truth(first_bundle, shop_source, shop_settings):
    share = oracle_share(first_bundle, shop_source.folder, shop_source.history, shop_settings)
    for name in ("best_constant", "popularity", "random", "nothing"):
        assert share[name] == pytest.approx(GAINS[name] / BEST)
    assert 0.97 < share["perkwise"] <= 1


@dataclass(frozen=True)
class Knowing:
    """A model that knows the truth of every user, in the order of their ids."""

    truth: np.ndarray

    def predict(self, X: np.ndarray, progress: bool = False) -> np.ndarray:
        assert len(X) == len(self.truth)
        return self.truth


def test_whoever_knows_the_truth_reaches_all_of_it(first_bundle, shop_source, shop_settings):
    truth = read_truth(shop_source.folder)
    oracle = replace(first_bundle, uptake=Knowing(truth.uptake), uplift_margin=Knowing(truth.uplift_margin))
    share = oracle_share(oracle, shop_source.folder, shop_source.history, shop_settings)
    assert share["perkwise"] == 1


def test_without_a_truth_no_share_of_it_is_told(first_bundle, shop_source, shop_settings, home):
    shutil.rmtree(home / "var" / "shop" / "truth")
    assert oracle_share(first_bundle, home / "var" / "shop", shop_source.history, shop_settings) is None


def without_a_row(effects):
    return effects.iloc[1:]


def of_other_users(effects):
    return effects.assign(user_id="x" + effects["user_id"])


def of_other_services(effects):
    return effects.assign(service_id=effects["service_id"] + "x")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (without_a_row, "must hold each user's response to each service, got ValueError: gaps in uptake"),
        (lambda effects: effects.drop(columns="uptake"), "got KeyError: .*uptake"),
        (lambda effects: effects.head(0), "got ValueError: gaps in uptake"),
        (of_other_users, "the truth must be about the users of the tables, [0-9]+ differ, such as '"),
        (of_other_services, "the truth must be about the services of the tables, 4 differ, such as 'a'"),
    ],
)
def test_a_truth_that_does_not_fit_the_tables_is_refused(
    first_bundle, shop_source, shop_settings, home, spoil, message
):
    file = home / "var" / "shop" / "truth" / "effects.parquet"
    spoil(pd.read_parquet(file)).to_parquet(file)
    with pytest.raises(ValueError, match=message + ".*a report needs no truth"):
        oracle_share(first_bundle, home / "var" / "shop", shop_source.history, shop_settings)


@pytest.mark.parametrize(
    "file, content", [("world.json", "{"), ("world.json", "{}"), ("effects.parquet", "PAR1")]
)
def test_a_damaged_truth_is_named(first_bundle, shop_source, shop_settings, home, file, content):
    (home / "var" / "shop" / "truth" / file).write_text(content)
    with pytest.raises(ValueError, match=r"truth must hold each user's response .*remove that folder"):
        oracle_share(first_bundle, home / "var" / "shop", shop_source.history, shop_settings)
