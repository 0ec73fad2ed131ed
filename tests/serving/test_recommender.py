from dataclasses import replace

import numpy as np
import pytest

from offers.exploration import in_holdout, propensity
from offers.list_counts import FeasibleLists
from offers.policy import decide
from offers.settings import DecisionSettings, ExplorationSettings, Settings
from serving.deletion import DeletedUsers
from serving.recommender import Asked, recommend
from serving.state import State

NOW = 1_800_000_000_000_000
QUIET = ExplorationSettings(holdout=0.0, explore=0.0)


@pytest.fixture(scope="module")
def asked(tables, bundle):
    """One request for each user of the world."""
    state = State(tables, bundle.layout, bundle.tiers, 7, DeletedUsers(b"key", set()))
    requests = []
    for seed, user_id in enumerate(tables.users["user_id"]):
        profile = state.profile(user_id, NOW)
        requests.append(Asked(user_id, profile.features, profile.tier, profile.as_of_us, seed, 3))
    return requests


def test_what_is_served_is_what_the_policy_decides(bundle, asked):
    settings = Settings(exploration=QUIET, decision=DecisionSettings(choice_load=0.01))
    estimates = bundle.estimates(np.stack([one.profile for one in asked]))
    everything = np.ones_like(estimates.uptake, dtype=bool)
    slates = decide(estimates, everything, bundle.catalog, settings.decision, 3)
    decisions = recommend(bundle, settings, asked, NOW)
    assert any(decision.offered for decision in decisions)
    for user, decision in enumerate(decisions):
        shown = [one.position for one in decision.offered]
        assert shown == slates.services[user, : slates.length[user]].tolist()
        assert decision.arm == "policy" and decision.slate_propensity == 1.0


def test_a_batch_decides_each_user_as_if_alone(bundle, asked):
    settings = Settings(exploration=ExplorationSettings(holdout=0.2, explore=0.4))
    batch = recommend(bundle, settings, asked[:40], NOW)
    for one, together in zip(asked[:40], batch):
        (alone,) = recommend(bundle, settings, [one], NOW)
        assert (alone.arm, alone.offered, alone.slate_propensity) == (
            together.arm,
            together.offered,
            together.slate_propensity,
        )


def test_propensities_are_those_of_the_closed_form(bundle, asked):
    exploration = ExplorationSettings(holdout=0.2, explore=0.5)
    arms = set()
    for decision in recommend(bundle, Settings(exploration=exploration), asked, NOW):
        shown = [one.position for one in decision.offered]
        lists = FeasibleLists.of(range(len(bundle.catalog)), 3)
        expected = propensity(shown, decision.policy_list, lists, exploration)
        assert decision.slate_propensity == expected.slate
        assert tuple(one.propensity for one in decision.offered) == expected.positions
        arms.add(decision.arm)
    assert arms == {"policy", "explore", "holdout"}


def test_the_holdout_is_shown_nothing_and_says_so(bundle, asked):
    exploration = ExplorationSettings(holdout=0.5, explore=0.0)
    decisions = recommend(bundle, Settings(exploration=exploration), asked, NOW)
    for decision in decisions:
        assert (decision.arm == "holdout") == in_holdout(decision.asked.user_id, exploration)
        if decision.arm == "holdout":
            assert decision.offered == () and "holdout" in decision.n_reason


def test_explored_lists_are_uniform_in_length_and_follow_the_seed(bundle, asked):
    settings = Settings(exploration=ExplorationSettings(holdout=0.0, explore=1.0))
    lengths = [len(decision.offered) for decision in recommend(bundle, settings, asked, NOW)]
    assert set(lengths) == {1, 2, 3}
    assert min(lengths.count(n) for n in (1, 2, 3)) > len(asked) / 5
    first, second = (recommend(bundle, settings, asked[:1], NOW)[0].offered for _ in range(2))
    assert first == second


def test_values_are_uplift_less_what_the_service_is_expected_to_cost(bundle, asked):
    settings = Settings(exploration=QUIET, decision=DecisionSettings(money_price=0.1))
    (decision,) = recommend(bundle, settings, asked[:1], NOW)
    assert decision.offered
    for one in decision.offered:
        service = bundle.catalog.services[one.position]
        assert one.cost == pytest.approx(one.uptake * service.unit_cost + service.contact_cost)
        assert one.value == pytest.approx(one.uplift - 1.1 * one.cost)


def test_refused_services_are_never_shown_and_have_a_reason(bundle, asked):
    first, *others = bundle.catalog.services
    narrow = replace(
        bundle, catalog=replace(bundle.catalog, services=(replace(first, tiers=("no such",)), *others))
    )
    settings = Settings(exploration=ExplorationSettings(holdout=0.0, explore=0.5))
    for decision in recommend(narrow, settings, asked[:50], NOW):
        assert 0 not in [one.position for one in decision.offered]
        assert list(decision.refusals) == [0]
        assert "only for tiers no such" in decision.refusals[0]


def test_a_service_without_a_sound_estimate_is_never_shown(bundle, asked):
    class Unsure(type(bundle)):
        def estimates(self, X, **more):
            found = super().estimates(X, **more)
            return replace(found, uplift_margin=found.uplift_margin * [np.nan, 1, 1, 1])

    unsure = Unsure(**{name: getattr(bundle, name) for name in bundle.__dataclass_fields__})
    settings = Settings(exploration=ExplorationSettings(holdout=0.0, explore=1.0))
    for decision in recommend(unsure, settings, asked[:50], NOW):
        assert 0 not in [one.position for one in decision.offered]
        assert decision.refusals == {0: "the models have no sound estimate of it for this user"}


def test_nobody_asked_for_means_no_decision(bundle):
    assert recommend(bundle, Settings(), [], NOW) == []


@pytest.mark.parametrize("money_price", [0.0, 0.5])
def test_base_effects_and_rest_add_up_to_the_value(bundle, asked, money_price):
    settings = Settings(exploration=QUIET, decision=DecisionSettings(money_price=money_price))
    told = recommend(bundle, settings, [one._replace(explain=True) for one in asked[:40]], NOW)
    offered = [(decision, one) for decision in told for one in decision.offered]
    assert any(one.why.reasons for _, one in offered)
    for decision, one in offered:
        effects = [reason.effect for reason in one.why.reasons]
        assert one.why.base + sum(effects) + one.why.rest == pytest.approx(one.value, rel=1e-9)
        assert 0 not in effects and len(effects) <= 3
        assert effects == sorted(effects, key=abs, reverse=True)
        for reason in one.why.reasons:
            column = bundle.layout.columns.index(reason.feature)
            np.testing.assert_equal(reason.value, float(decision.asked.profile[column]))


def test_a_feature_that_no_model_asks_for_is_no_reason(bundle, asked):
    told = bundle.explain_value(np.stack([one.profile for one in asked]))
    unused = np.flatnonzero((told.contributions == 0).all(axis=(0, 1)))
    assert 0 < len(unused) < len(bundle.layout.columns)
    changed = np.stack([one.profile for one in asked])
    changed[:, unused] = np.random.default_rng(0).normal(size=(len(asked), len(unused)))
    assert np.array_equal(bundle.explain_value(changed).contributions, told.contributions)


def test_without_explain_nothing_is_explained(bundle, asked):
    settings = Settings(exploration=QUIET)
    (decision,) = recommend(bundle, settings, asked[:1], NOW)
    assert all(one.why is None for one in decision.offered)
