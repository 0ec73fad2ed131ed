from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offers.catalog import Catalog
from offers.compiler import compiled
from offers.policy import decide, expected_costs
from offers.settings import DecisionSettings
from offers.types import AtMost, Estimates, ListRules, Prices, Service
from tests.offers.brute import best_of_all_lists, brute_force, random_case


def equals_the_best_of_all_lists(seed, n_cases, bound):
    """Random cases of up to 16 candidates and lists of any length: the same worth, list and length."""
    rng = np.random.default_rng(seed)
    for _ in range(n_cases):
        n_services = int(rng.integers(1, 17))
        longest = int(rng.integers(1, n_services + 1))
        decision = DecisionSettings(similarity_load=float(rng.choice([0.0, 0.5, 2.0])))
        catalog, estimates, eligible, options = random_case(rng, 1, n_services, bound=bound)
        by_formula = not bound and rng.random() < 0.5
        if by_formula:  # which needs contacts that are alike
            catalog = Catalog.of(replace(service, contact_cost=0.02) for service in catalog.services)
        slates = decide(estimates, eligible, catalog, decision, longest, quick=by_formula, **options)
        worth, chosen, forced = best_of_all_lists(0, catalog, estimates, eligible, decision, longest, options)
        shown = slates.services[0, : slates.length[0]].tolist()
        assert set(shown) == chosen and forced <= chosen and len(shown) == len(chosen)
        assert slates.worth_by_length[0, len(shown)] == pytest.approx(worth, abs=1e-12)


@pytest.mark.parametrize("bound", [True, False])
def test_random_cases_of_up_to_16_candidates_equal_brute_force(bound):
    equals_the_best_of_all_lists(1, 60, bound)


@pytest.mark.slow
@pytest.mark.parametrize("bound", [True, False])
def test_a_thousand_random_cases_of_up_to_16_candidates_equal_brute_force(bound):
    equals_the_best_of_all_lists(2, 1_000, bound)


@pytest.mark.parametrize("bound", [True, False])
def test_all_lists_at_once_have_the_worth_that_the_formula_gives_each(bound):
    """The two judges agree: one writes the formula down, the other is fast enough for many services."""
    rng = np.random.default_rng(5)
    for _ in range(100):
        n_services, longest = int(rng.integers(1, 8)), int(rng.integers(1, 6))
        decision = DecisionSettings(similarity_load=0.5)
        catalog, estimates, eligible, options = random_case(rng, 1, n_services, bound=bound)
        case = (0, catalog, estimates, eligible, decision, longest, options)
        (worth, *rest), (other_worth, *other_rest) = brute_force(*case), best_of_all_lists(*case)
        assert rest == other_rest and worth == pytest.approx(other_worth, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n_services=st.integers(1, 20), bound=st.booleans())
def test_a_batch_decides_each_row_as_if_it_were_alone_to_the_last_bit(seed, n_services, bound):
    rng = np.random.default_rng(seed)
    catalog, estimates, eligible, options = random_case(rng, 7, n_services, bound=bound)
    longest = rng.integers(0, 5, 7)
    longest[rng.integers(7)] = 4
    batch = decide(estimates, eligible, catalog, DecisionSettings(), longest, **options)
    prices, rules = options["prices"], options["list_rules"]
    for user in range(7):
        row = slice(user, user + 1)
        alone = decide(
            Estimates(*(getattr(estimates, name)[row] for name in Estimates.__annotations__)),
            eligible[row],
            catalog,
            DecisionSettings(),
            longest[row],
            choice_load=options["choice_load"][row],
            prices=prices and Prices(prices.money[row], prices.showing[row]),
            list_rules=rules and ListRules(rules.at_most, rules.must_show[row]),
        )
        width = max(longest[user], 1)
        assert alone.services.tobytes() == batch.services[row, :width].tobytes()
        assert alone.worth_by_length.tobytes() == batch.worth_by_length[row, : width + 1].tobytes()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n_services=st.integers(1, 35))
def test_a_list_keeps_to_every_rule(seed, n_services):
    rng = np.random.default_rng(seed)
    catalog, estimates, eligible, options = random_case(rng, 5, n_services, bound=True)
    longest = rng.integers(0, 7, 5)
    slates = decide(estimates, eligible, catalog, DecisionSettings(), longest, **options)
    again = decide(estimates, eligible, catalog, DecisionSettings(), longest, **options)
    assert slates.services.tobytes() == again.services.tobytes()
    rules = options["list_rules"]
    for user, n in enumerate(slates.length.tolist()):
        shown = set(slates.services[user, :n].tolist())
        assert len(shown) == n <= longest[user]
        assert eligible[user, list(shown)].all() and (slates.services[user, n:] == -1).all()
        assert all(len(shown & set(group.services)) <= group.most for group in rules.at_most)
        for service in set(np.flatnonzero(rules.must_show[user] & eligible[user]).tolist()) - shown:
            full = [
                g for g in rules.at_most if service in g.services and len(shown & {*g.services}) == g.most
            ]
            assert n == longest[user] or full


def test_near_duplicates_do_not_crowd_out_others():
    """Three services alike and a slightly weaker one of another kind: it takes the second place."""
    catalog = Catalog.of(
        Service(name, "", category="meal" if name < "d" else "car") for name in ("a", "b", "c", "d")
    )
    uptake = np.array([[0.3, 0.3, 0.3, 0.3]])
    estimates = Estimates(uptake, uptake, np.array([[1.0, 1.0, 1.0, 0.97]]))
    for similarity, chosen in ((0.0, [0, 1]), (0.5, [0, 3])):
        decision = DecisionSettings(max_services=2, choice_load=0.1, similarity_load=similarity)
        assert decide(estimates, uptake > 0, catalog, decision).services[0].tolist() == chosen


def test_a_service_that_must_be_shown_is_shown_at_a_loss_and_draws_others_with_it():
    """It stays whatever it costs, beside one of no value that is taken in its place."""
    catalog = Catalog.of([Service("bad", ""), Service("dull", ""), Service("unused", "")])
    uptake = np.array([[0.2, 0.6, 0.6]])
    estimates = Estimates(uptake, uptake, np.array([[-1.0, 0.0, 0.0]]))
    must = ListRules((), np.array([[True, False, False]]))
    eligible = np.array([[True, True, False]])
    decision = DecisionSettings(choice_load=0.1)
    slates = decide(estimates, eligible, catalog, decision, list_rules=must)
    assert slates.services[0, :2].tolist() in ([0, 1], [1, 0]) and slates.length.tolist() == [2]
    # b of the harmful one is -1 / 0.8; it is taken less often beside the dull one
    assert slates.worth_by_length[0, :3] == pytest.approx([0, -1.0, -1.25 / (1.1 + 0.25 + 1.5)])


def test_services_that_exclude_each_other_never_stand_together():
    catalog = Catalog.of([Service("a", ""), Service("b", ""), Service("c", "")])
    uptake = np.full((1, 3), 0.2)
    estimates = Estimates(uptake, uptake, np.array([[1.0, 0.9, 0.5]]))
    rules = ListRules((AtMost((0, 1), 1),), np.zeros((1, 3), dtype=bool))
    slates = decide(estimates, uptake > 0, catalog, DecisionSettings(choice_load=0.0), list_rules=rules)
    assert slates.services[0].tolist() == [0, 2, -1, -1, -1]
    assert slates.worth_by_length[0, 3] == -np.inf


def test_the_price_of_money_raises_costs_and_the_price_of_showing_is_charged_as_it_is():
    catalog = Catalog.of([Service("a", "", unit_cost=1.0, contact_cost=0.1)])
    one = np.array([[0.5]])
    prices = Prices(money=np.array([0.4]), showing=np.array([[0.05]]))
    slates = decide(
        Estimates(one, one, one * 3), one > 0, catalog, DecisionSettings(money_price=0.1), prices=prices
    )
    assert slates.worth_by_length[0, 1] == pytest.approx(1.5 - (0.5 + 0.1) * 1.5 - 0.05)


def test_each_user_has_a_load_and_a_length_of_their_own():
    catalog = Catalog.of(Service(str(position), "") for position in range(4))
    uptake = np.full((3, 4), 0.3)
    estimates = Estimates(uptake, uptake, np.ones((3, 4)))
    slates = decide(
        estimates,
        uptake > 0,
        catalog,
        DecisionSettings(),
        np.array([4, 4, 2]),
        choice_load=np.array([0.0, 3.0, 0.0]),
    )
    assert slates.length.tolist() == [4, 1, 2]


def test_the_expected_cost_counts_each_users_load_and_the_similarity():
    catalog = Catalog.of(Service(name, "", category="meal", unit_cost=2.0) for name in "ab")
    uptake = np.full((2, 2), 0.5)
    estimates = Estimates(uptake, uptake, np.full((2, 2), 9.0))
    decision, load = DecisionSettings(similarity_load=0.5), np.array([0.0, 0.4])
    slates = decide(estimates, uptake > 0, catalog, decision, choice_load=load)
    assert slates.length.tolist() == [2, 2]
    costs = expected_costs(slates, estimates, catalog, decision, load)
    assert costs.tolist() == pytest.approx([2 * 2 / 3, 2 * 2 / 3.6])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"choice_load": np.array([-0.1])}, "choice_load must be finite and 0 or more"),
        ({"choice_load": np.array([0.1, 0.1])}, r"choice_load must have the shape \(1,\)"),
        ({"prices": Prices(np.array([np.nan]), np.zeros((1, 2)))}, "prices.money must be finite and 0 or"),
        (
            {"prices": Prices(np.array([0.0]), np.zeros((1, 3)))},
            r"prices.showing must have the shape \(1, 2\)",
        ),
        (
            {"list_rules": ListRules((), np.zeros((2, 2), dtype=bool))},
            r"list_rules.must_show must have the shape \(1, 2\)",
        ),
        (
            {"list_rules": ListRules((AtMost((0, 2), 1),), np.zeros((1, 2), dtype=bool))},
            r"list_rules.at_most must name catalogue positions from 0 to 1, got \[2\]",
        ),
        (
            {"max_services": np.array([-1])},
            "max_services must be one number of 0 or more for each of 1 users",
        ),
    ],
)
def test_what_cannot_be_decided_by_is_refused(options, message):
    one = np.array([[0.5, 0.5]])
    catalog = Catalog.of([Service("a", ""), Service("b", "")])
    with pytest.raises(ValueError, match=message):
        decide(Estimates(one, one, one), one > 0, catalog, DecisionSettings(), **options)


def greatest_loss(seed, n_users, longest, bound, n_services=35):
    """What the list decided loses of the best of all lists, as a share of it; per user."""
    rng = np.random.default_rng(seed)
    decision = DecisionSettings(max_services=longest)
    catalog, estimates, eligible, options = random_case(rng, n_users, n_services, bound=bound)
    slates = decide(estimates, eligible, catalog, decision, **options)
    ours = slates.worth_by_length[np.arange(n_users), slates.length]
    best = np.array(
        [
            best_of_all_lists(user, catalog, estimates, eligible, decision, longest, options)[0]
            for user in range(n_users)
        ]
    )
    assert (ours <= best + 1e-9).all()
    return np.max((best - ours) / np.maximum(np.abs(best), 1e-9))


@pytest.mark.parametrize("bound", [True, False])
def test_where_all_lists_can_be_searched_the_best_is_found(bound):
    assert greatest_loss(3, 3, 4, bound, n_services=35) < 1e-12


@pytest.mark.parametrize("bound", [True, False])
def test_of_more_lists_the_one_found_is_within_half_a_percent_of_the_best(bound):
    assert greatest_loss(3, 3, 4, bound, n_services=40) < 0.005


def test_code_that_cannot_be_kept_is_compiled_for_this_process():
    nowhere: dict[str, Any] = {}
    exec(compile("def twice(x):\n    return 2 * x\n", "<no file>", "exec"), nowhere)
    assert compiled("float64(float64)")(nowhere["twice"])(4.0) == 8.0


@pytest.mark.slow
@pytest.mark.parametrize("longest", [2, 3, 4, 5])
@pytest.mark.parametrize("bound", [True, False])
def test_of_thirty_five_services_many_lists_are_within_half_a_percent_of_the_best(bound, longest):
    """All 384,125 lists of up to five of 35."""
    assert greatest_loss(longest, 40, longest, bound) < 0.005


def test_quick_lists_keep_the_rules_and_lose_next_to_nothing():
    """Against every list tried, where at most 16 of 20 services are candidates."""
    rng = np.random.default_rng(4)
    catalog, estimates, eligible, options = random_case(rng, 300, 20, bound=True)
    quick = decide(estimates, eligible, catalog, DecisionSettings(), quick=True, **options)
    exact = decide(estimates, eligible, catalog, DecisionSettings(), **options)
    users = np.arange(300)
    ours, best = (found.worth_by_length[users, found.length] for found in (quick, exact))
    assert (ours <= best + 1e-9).all()
    assert best.sum() - ours.sum() < 0.001 * best.sum()
    assert (ours >= best - 1e-9).mean() > 0.98
    for group in options["list_rules"].at_most:
        assert (np.isin(quick.services, group.services).sum(axis=1) <= group.most).all()
