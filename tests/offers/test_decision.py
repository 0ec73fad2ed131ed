from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offers.catalog import Catalog
from offers.decision import make_decisions
from offers.eligibility import eligible
from offers.exploration import propensity
from offers.list_counts import FeasibleLists
from offers.policy import decide
from offers.settings import ExplorationSettings, Settings
from offers.types import AtMost, Estimates, ListRules, Prices, Service

SETTINGS = Settings(exploration=ExplorationSettings(holdout=0.2, explore=0.5))
CATALOG = Catalog.of(
    [
        Service("a", "A", contact_cost=0.1),
        Service("b", "B", unit_cost=2.0),
        Service("c", "C", tiers=("gold",)),
        Service("d", "D", scenario="travel"),
        Service("e", "E"),
    ]
)


def drawn(seed, n_users=30):
    """What goes into the decisions of so many users; some estimates are unknown."""
    rng = np.random.default_rng(seed)
    shape = (n_users, len(CATALOG))
    uplift = rng.normal(1, 2, shape)
    uplift[rng.random(shape) < 0.1] = np.nan
    estimates = Estimates(rng.uniform(0, 0.6, shape), uplift, uplift)
    tiers = rng.choice(["basic", "gold"], n_users).tolist()
    allowed = eligible(CATALOG, tiers, 0, rng.choice(["", "travel", "home"], n_users).tolist())
    held_out = rng.random(n_users) < 0.2
    return estimates, allowed, held_out, rng.integers(1, 5, n_users), list(range(n_users))


def facts(made, user):
    """All that is said of one user's decision."""
    return (
        made.arms[user],
        made.shown(user),
        made.propensities[user, : made.length[user]].tolist(),
        made.slate_propensity[user],
        made.policy_list(user),
        made.worth_by_length(user),
        made.n_reason(user),
        made.refusals(user),
    )


@given(st.integers(0, 10_000))
def test_a_user_is_decided_alone_as_among_others(seed):
    estimates, allowed, held_out, longest, seeds = drawn(seed)
    made = make_decisions(estimates, allowed, SETTINGS, held_out, seeds, max_services=longest)
    for user in range(0, len(made), 7):
        row = slice(user, user + 1)
        one = replace(
            allowed,
            mask=allowed.mask[row],
            tiers=allowed.tiers[row],
            scenarios=allowed.scenarios[row],
            verdict=allowed.verdict[row],
        )
        alone = make_decisions(
            estimates.take(row), one, SETTINGS, held_out[row], seeds[row], max_services=longest[row]
        )
        assert facts(alone, 0) == facts(made, user)


@given(st.integers(0, 10_000))
def test_only_sound_and_eligible_services_are_shown_and_never_more_than_allowed(seed):
    estimates, allowed, held_out, longest, seeds = drawn(seed)
    made = make_decisions(estimates, allowed, SETTINGS, held_out, seeds, max_services=longest)
    for user in range(len(made)):
        shown = made.shown(user)
        assert len(set(shown)) == len(shown) <= longest[user]
        assert all(
            allowed.mask[user, place] and np.isfinite(estimates.uplift_margin[user, place]) for place in shown
        )
        assert set(made.refusals(user)) == set(np.flatnonzero(~made.candidates[user]))
        assert (made.arms[user] == "holdout") == held_out[user]
        assert not (held_out[user] and shown)


@given(st.integers(0, 10_000))
def test_the_policy_s_list_and_the_propensities_are_those_of_their_own_functions(seed):
    estimates, allowed, held_out, longest, seeds = drawn(seed)
    made = make_decisions(estimates, allowed, SETTINGS, held_out, seeds, max_services=longest)
    for user in range(len(made)):
        slates = decide(
            estimates.take(slice(user, user + 1)),
            made.candidates[user : user + 1],
            CATALOG,
            SETTINGS.decision,
            int(longest[user]),
        )
        assert made.policy_list(user) == tuple(slates.services[0, : slates.length[0]].tolist())
        assert made.worth_by_length(user) == tuple(slates.worth_by_length[0].tolist())
        expected = propensity(
            made.shown(user),
            made.policy_list(user),
            FeasibleLists.of(np.flatnonzero(made.candidates[user]).tolist(), int(longest[user])),
            SETTINGS.exploration,
        )
        assert made.slate_propensity[user] == expected.slate
        assert made.propensities[user, : made.length[user]].tolist() == list(expected.positions)
        assert made.inclusions[user, : made.length[user]].tolist() == list(expected.inclusions)


def test_the_longest_list_is_the_setting_where_none_is_named():
    estimates, allowed, held_out, _, seeds = drawn(0)
    made = make_decisions(estimates, allowed, SETTINGS, held_out, seeds)
    assert set(made.max_services.tolist()) == {SETTINGS.decision.max_services}
    assert made.services.shape[1] == SETTINGS.decision.max_services


def test_of_nobody_there_is_no_decision():
    none = np.empty((0, len(CATALOG)))
    made = make_decisions(
        Estimates(none, none, none), eligible(CATALOG, [], 0), SETTINGS, np.zeros(0, dtype=bool), []
    )
    assert len(made) == 0


def test_a_list_of_less_than_no_service_is_refused():
    estimates, allowed, held_out, longest, seeds = drawn(0)
    with pytest.raises(ValueError, match="max_services must be one number of 0 or more"):
        make_decisions(estimates, allowed, SETTINGS, held_out, seeds, max_services=-longest)


def test_loads_prices_and_rules_of_lists_reach_the_policy():
    estimates, allowed, held_out, _, seeds = drawn(2, n_users=200)
    n_users, n_services = allowed.mask.shape
    must_show = np.arange(n_users * n_services).reshape(n_users, n_services) % 9 == 0
    further = {
        "choice_load": np.linspace(0, 2, n_users),
        "prices": Prices(np.linspace(0, 1, n_users), np.full((n_users, n_services), 0.05)),
        "list_rules": ListRules((AtMost((0, 1), 1),), must_show),
    }
    made = make_decisions(estimates, allowed, SETTINGS, held_out, seeds, **further)
    for name in further:
        without = make_decisions(estimates, allowed, SETTINGS, held_out, seeds, **{**further, name: None})
        assert (without.slates.services != made.slates.services).any(), name
    expected = decide(estimates, made.candidates, CATALOG, SETTINGS.decision, **further)
    assert np.array_equal(made.slates.services, expected.services)


def test_every_length_has_its_reason():
    estimates, allowed, held_out, longest, seeds = drawn(1, n_users=200)
    made = make_decisions(estimates, allowed, SETTINGS, held_out, seeds, max_services=longest)
    beginnings = {
        arm: {made.n_reason(u)[:8] for u in np.flatnonzero(made.arms == arm)} for arm in np.unique(made.arms)
    }
    assert beginnings["holdout"] == {"Nothing:"} and beginnings["explore"] == {"Explored"}
    assert {"1 servic", "2 servic"} <= beginnings["policy"]
