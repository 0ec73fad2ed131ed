from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offers.catalog import Catalog
from offers.policy import decide, expected_costs
from offers.settings import DecisionSettings
from offers.types import Estimates, Service


def catalog_of(unit_cost, contact_cost):
    return Catalog.of(
        Service(f"s{position:03}", "", unit_cost=unit, contact_cost=contact)
        for position, (unit, contact) in enumerate(zip(unit_cost, contact_cost, strict=True))
    )


def random_case(rng, n_users, n_services, equal_contacts):
    contact = rng.uniform(0, 0.1, n_services)
    catalog = catalog_of(
        rng.uniform(0, 2, n_services), np.full(n_services, 0.02) if equal_contacts else contact
    )
    uptake = rng.beta(1, 4, (n_users, n_services))
    uplift = rng.normal(0.3, 0.6, (n_users, n_services))
    eligible = rng.random((n_users, n_services)) < 0.8
    return catalog, Estimates(uptake, np.zeros_like(uptake), uplift), eligible


def brute_force(uptake, uplift, eligible, catalog, decision):
    """Every list of every length, by the formula as DESIGN states it."""
    dearer = 1 + decision.money_price
    odds = uptake / (1 - uptake)
    best = {0: (0.0, set())}
    for n in range(1, decision.max_services + 1):
        effort = 1 + decision.choice_load * (n - 1)
        for chosen in combinations(np.flatnonzero(eligible), n):
            total = effort + sum(odds[s] for s in chosen)
            worth = sum(
                (uplift[s] - uptake[s] * catalog.unit_cost[s] * dearer) * (odds[s] / total) / uptake[s]
                - catalog.contact_cost[s] * dearer
                for s in chosen
            )
            if worth > best.get(n, (-np.inf,))[0]:
                best[n] = (worth, set(chosen))
    return best


@pytest.mark.parametrize("equal_contacts", [True, False])
def test_a_thousand_random_cases_equal_brute_force_in_worth_list_and_length(equal_contacts):
    rng = np.random.default_rng(1)
    for _ in range(500):
        n_services = int(rng.integers(1, 9))
        decision = DecisionSettings(
            max_services=int(rng.integers(1, 6)),
            choice_load=float(rng.choice([0.0, 0.1, 1.0])),
            money_price=float(rng.choice([0.0, 0.5])),
        )
        catalog, estimates, eligible = random_case(rng, 1, n_services, equal_contacts)
        slates = decide(estimates, eligible, catalog, decision)
        best = brute_force(estimates.uptake[0], estimates.uplift_margin[0], eligible[0], catalog, decision)
        length, (worth, chosen) = max(best.items(), key=lambda item: item[1][0])
        assert slates.length[0] == length
        assert set(slates.services[0, :length].tolist()) == chosen
        assert slates.worth_by_length[0, length] == pytest.approx(worth, abs=1e-12)


def test_sixteen_services_equal_brute_force():
    rng = np.random.default_rng(2)
    catalog, estimates, eligible = random_case(rng, 3, 16, equal_contacts=False)
    decision = DecisionSettings(max_services=4)
    slates = decide(estimates, eligible, catalog, decision)
    for user in range(3):
        best = brute_force(
            estimates.uptake[user], estimates.uplift_margin[user], eligible[user], catalog, decision
        )
        length, (worth, chosen) = max(best.items(), key=lambda item: item[1][0])
        assert set(slates.services[user, : slates.length[user]].tolist()) == chosen
        assert slates.worth_by_length[user, length] == pytest.approx(worth, abs=1e-12)


def test_of_thirty_five_services_with_differing_contacts_the_list_is_within_half_a_percent():
    rng = np.random.default_rng(3)
    decision = DecisionSettings(max_services=3, choice_load=0.1)
    catalog, estimates, _ = random_case(rng, 4, 35, equal_contacts=False)
    slates = decide(estimates, np.ones((4, 35), dtype=bool), catalog, decision)
    for user in range(4):
        best = brute_force(
            estimates.uptake[user], estimates.uplift_margin[user], np.ones(35, dtype=bool), catalog, decision
        )
        assert slates.worth_by_length[user].max() >= 0.995 * max(worth for worth, _ in best.values())


@pytest.mark.parametrize("equal_contacts", [True, False])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n_services=st.integers(1, 20))
def test_a_batch_decides_each_row_as_if_it_were_alone_to_the_last_bit(equal_contacts, seed, n_services):
    rng = np.random.default_rng(seed)
    catalog, estimates, eligible = random_case(rng, 7, n_services, equal_contacts)
    decision = DecisionSettings(max_services=4)
    batch = decide(estimates, eligible, catalog, decision)
    for user in range(7):
        row = slice(user, user + 1)
        one = Estimates(estimates.uptake[row], estimates.uplift_repurchase[row], estimates.uplift_margin[row])
        alone = decide(one, eligible[row], catalog, decision)
        assert alone.services.tobytes() == batch.services[row].tobytes()
        assert alone.worth_by_length.tobytes() == batch.worth_by_length[row].tobytes()


awkward = st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 0.3, 1.0, 1.5, 1e308, -1e308])


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n_services=st.integers(1, 6))
def test_a_list_is_sorted_unique_eligible_and_known_whatever_the_models_say(data, n_services):
    row = st.lists(awkward, min_size=n_services, max_size=n_services)
    uptake, uplift = np.array([data.draw(row)]), np.array([data.draw(row)])
    eligible = np.array([data.draw(st.lists(st.booleans(), min_size=n_services, max_size=n_services))])
    catalog = catalog_of(np.zeros(n_services), np.linspace(0, 0.1, n_services))
    slates = decide(Estimates(uptake, uplift, uplift), eligible, catalog, DecisionSettings(max_services=3))
    shown = slates.services[0, : slates.length[0]]
    assert len(set(shown.tolist())) == len(shown)
    assert eligible[0, shown].all()
    assert ((uptake[0, shown] >= 0) & (uptake[0, shown] <= 1) & np.isfinite(uplift[0, shown])).all()
    assert (slates.services[0, slates.length[0] :] == -1).all()


def test_the_list_is_ranked_by_what_each_service_adds():
    catalog = catalog_of([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    uptake = np.array([[0.2, 0.2, 0.2]])
    uplift = np.array([[1.0, 3.0, 2.0]])
    slates = decide(Estimates(uptake, uplift, uplift), uptake > 0, catalog, DecisionSettings(choice_load=0.0))
    assert slates.services[0, :3].tolist() == [1, 2, 0]


def test_choosing_that_gets_harder_shortens_the_list():
    catalog = catalog_of(np.zeros(6), np.zeros(6))
    uptake = np.full((1, 6), 0.3)
    estimates = Estimates(uptake, uptake, np.full((1, 6), 1.0))
    lengths = [
        decide(estimates, uptake > 0, catalog, DecisionSettings(choice_load=load)).length[0]
        for load in (0.0, 0.5, 2.0)
    ]
    assert lengths == [5, 5, 1]


def test_money_that_must_earn_more_leaves_the_dear_service():
    catalog = catalog_of([2.0], [0.0])
    estimates = Estimates(np.array([[0.5]]), np.array([[0.0]]), np.array([[1.2]]))
    allowed = np.array([[True]])
    assert decide(estimates, allowed, catalog, DecisionSettings(money_price=0.1)).length.tolist() == [1]
    assert decide(estimates, allowed, catalog, DecisionSettings(money_price=0.3)).length.tolist() == [0]


def test_one_service_at_most_is_the_one_of_the_greatest_positive_value():
    catalog = catalog_of([1.0, 0.0, 0.0], [0.0, 0.1, 0.0])
    uptake = np.full((2, 3), 0.5)
    uplift = np.array([[1.0, 0.7, 0.5], [0.2, 0.05, -1.0]])  # values 0.5 0.6 0.5 and -0.3 -0.05 -1.0
    slates = decide(Estimates(uptake, uplift, uplift), uptake > 0, catalog, DecisionSettings(), 1)
    assert slates.services.tolist() == [[1], [-1]]
    assert slates.length.tolist() == [1, 0]


def test_no_users_and_no_services_give_empty_slates():
    none = np.empty((0, 2))
    assert decide(
        Estimates(none, none, none), none > 0, catalog_of([0, 0], [0, 0]), DecisionSettings()
    ).services.shape == (0, 5)
    empty = np.empty((2, 0))
    slates = decide(Estimates(empty, empty, empty), empty > 0, catalog_of([], []), DecisionSettings())
    assert slates.length.tolist() == [0, 0]


def test_bad_arguments_are_refused():
    catalog, one = catalog_of([0.0], [0.0]), np.array([[0.5]])
    estimates = Estimates(one, one, one)
    with pytest.raises(ValueError, match="max_services must be at least 1, got 0"):
        decide(estimates, one > 0, catalog, DecisionSettings(), 0)
    with pytest.raises(ValueError, match="estimates must have one column for each of 2 services"):
        decide(estimates, one > 0, catalog_of([0.0, 0.0], [0.0, 0.0]), DecisionSettings())
    with pytest.raises(ValueError, match=r"eligible must have the shape of the estimates \(1, 1\)"):
        decide(estimates, np.ones((1, 2), dtype=bool), catalog, DecisionSettings())


def test_the_expected_cost_of_a_list_counts_uses_and_contacts():
    catalog = catalog_of([2.0, 2.0], [0.1, 0.1])
    uptake = np.full((2, 2), 0.5)
    estimates = Estimates(uptake, uptake, np.array([[9.0, 8.0], [-9.0, -9.0]]))
    decision = DecisionSettings(choice_load=0.5)
    costs = expected_costs(decide(estimates, uptake > 0, catalog, decision), estimates, catalog, decision)
    # both are shown to the first user: each is taken with probability 1 / (1.5 + 1 + 1)
    assert costs.tolist() == pytest.approx([2 * (2.0 / 3.5 + 0.1), 0.0])
