import numpy as np
import pytest

from features.simulation.behaviour import Happenings, draw_orders
from features.simulation.customers import draw_customers
from features.simulation.decisions import LONGEST, Decisions
from features.simulation.response import (
    CHOICE_LOAD,
    MARGIN_RATE,
    REPURCHASE_DAYS,
    answer,
    orders_expected,
    pace,
    respond,
    season,
    season_total,
    take_probabilities,
)
from features.simulation.services import ROLES, draw_offering
from offers.choice import attraction
from offers.choice import take_probabilities as take_probabilities_of_one_list

CUSTOMERS = draw_customers(500, 180, np.random.default_rng(1))
OFFERING = draw_offering(12, np.random.default_rng(2))
DAY = 60.0
N_DRAWS = 20_000


def one_service(service: int, user: np.ndarray, day: float = DAY):
    return respond(CUSTOMERS, OFFERING, user, np.full(len(user), service), np.full(len(user), day))


def all_services(user: int):
    services = np.arange(len(OFFERING))
    return respond(CUSTOMERS, OFFERING, np.full(12, user), services, np.full(12, DAY))


def forced_orders(user: int, slate: list[int], seed: int):
    """The takes and the orders of one user who lives the same days many times."""
    rng = np.random.default_rng(seed)
    clones = CUSTOMERS.take(np.full(N_DRAWS, user))
    slates = np.full((N_DRAWS, LONGEST), -1)
    slates[:, : len(slate)] = slate
    rows, days = np.arange(N_DRAWS), np.full(N_DRAWS, DAY)
    answers = answer(clones, OFFERING, rows, days, slates, rng)
    unused = np.zeros(N_DRAWS, int)
    decisions = Decisions(rows, days, slates, unused, unused + 1.0, np.ones(slates.shape))
    return answers.taken, draw_orders(clones, decisions, answers, 90, rng)


def orders_in_window(orders: Happenings, start: float = DAY):
    """Number and margin of each life's orders from a day on."""
    inside = (orders.day >= start) & (orders.day < start + REPURCHASE_DAYS)
    n_orders = np.bincount(orders.user[inside], minlength=N_DRAWS)
    return n_orders, MARGIN_RATE * np.bincount(orders.user[inside], orders.value[inside], minlength=N_DRAWS)


def z_score(draws: np.ndarray, truth: float) -> float:
    return (draws.mean() - truth) / (draws.std() / np.sqrt(len(draws)))


def test_the_season_total_is_the_integral_of_the_season():
    days = np.linspace(3, 200, 200_001)
    numeric = season(days)[:-1].sum() * (days[1] - days[0])
    assert season_total(200.0) - season_total(3.0) == pytest.approx(numeric, rel=1e-5)


def test_expected_orders_are_the_integral_of_rate_and_pace_over_the_window():
    lapsing = int(np.flatnonzero((CUSTOMERS.lapse_day > 62) & (CUSTOMERS.lapse_day < 70))[0])
    grid = DAY + (np.arange(140_000) + 0.5) * REPURCHASE_DAYS / 140_000
    numeric = pace(CUSTOMERS, np.full(len(grid), lapsing), grid).mean() * REPURCHASE_DAYS
    closed = orders_expected(CUSTOMERS, np.array([lapsing]), np.array([DAY]))[0]
    assert closed == pytest.approx(CUSTOMERS.order_rate[lapsing] * numeric, rel=1e-4)


def test_repurchase_uplift_is_the_mixture_of_taking_and_not_taking():
    user = np.arange(100)
    one = one_service(3, user)
    p_order_if_shown = one.uptake * (1 - np.exp(-one.orders * (1 + one.direct + one.through)))
    p_order_if_shown += (1 - one.uptake) * (1 - np.exp(-one.orders * (1 + one.direct)))
    np.testing.assert_allclose(one.uplift_repurchase, p_order_if_shown - (1 - np.exp(-one.orders)))


@pytest.mark.parametrize("extreme", [np.argmin, np.argmax])
def test_forced_offers_have_the_mean_outcomes_of_the_closed_forms(extreme):
    users = np.arange(len(CUSTOMERS))
    uplift = np.stack([one_service(service, users).uplift_margin for service in range(12)], axis=1)
    user, service = np.unravel_index(extreme(uplift), uplift.shape)
    truth = one_service(service, np.array([user]))
    taken, orders = forced_orders(user, [service], seed=3)
    n_orders, margin = orders_in_window(orders)
    p_order = 1 - np.exp(-truth.orders[0]) + truth.uplift_repurchase[0]
    expected_margin = truth.margin_per_order[0] * truth.orders[0] + truth.uplift_margin[0]
    assert abs(z_score(taken == service, truth.uptake[0])) < 4
    assert abs(z_score(n_orders > 0, p_order)) < 4
    assert abs(z_score(margin, expected_margin)) < 4

    after = DAY + REPURCHASE_DAYS  # nothing is left of the offer
    orders_after = orders_expected(CUSTOMERS, np.array([user]), np.array([after]))[0]
    assert abs(z_score(orders_in_window(orders, after)[0], orders_after)) < 4


def test_showing_nothing_leaves_the_orders_as_they_are():
    taken, orders = forced_orders(0, [], seed=4)
    n_orders, _ = orders_in_window(orders)
    assert set(taken) == {-1}
    assert abs(z_score(n_orders, orders_expected(CUSTOMERS, np.array([0]), np.array([DAY]))[0])) < 4


def test_a_list_is_worth_its_services_scaled_by_how_often_each_is_taken():
    user, slate = 7, [0, 4, 9]
    each = all_services(user)
    p_take = take_probabilities_of_one_list(attraction(each.uptake[slate]), CHOICE_LOAD)
    uplift = (each.uplift_margin[slate] * p_take / each.uptake[slate]).sum()
    taken, orders = forced_orders(user, slate, seed=5)
    _, margin = orders_in_window(orders)
    for service, p in zip(slate, p_take):
        assert abs(z_score(taken == service, p)) < 4
    assert abs(z_score(margin, each.margin_per_order[0] * each.orders[0] + uplift)) < 4


def test_take_probabilities_of_padded_lists_are_those_of_the_choice_model():
    uptake = np.array([[0.3, 0.1, 0.5, 0.0], [0.2, 0.0, 0.0, 0.0]])
    shown = np.array([[True, True, True, False], [True, False, False, False]])
    p_take = take_probabilities(uptake, shown)
    np.testing.assert_allclose(
        p_take[0, :3], take_probabilities_of_one_list(attraction([0.3, 0.1, 0.5]), CHOICE_LOAD)
    )
    np.testing.assert_allclose(p_take[1], [0.2, 0, 0, 0])  # alone: its own uptake


def test_no_list_makes_the_order_rate_negative():
    rng = np.random.default_rng(6)
    user = np.repeat(np.arange(len(CUSTOMERS)), 20)
    slates = np.argsort(rng.random((len(user), 12)), axis=1)[:, :LONGEST]
    multiplier = answer(CUSTOMERS, OFFERING, user, np.full(len(user), DAY), slates, rng).multiplier
    assert multiplier.min() > 0


def test_reminders_work_without_being_taken_and_treats_are_taken_without_working():
    users = np.arange(len(CUSTOMERS))
    mean = {}
    for role in ROLES:
        services = [s for s, name in enumerate(OFFERING.role_names) if name == role]
        responses = [one_service(service, users) for service in services]
        mean[role] = {
            "uptake": np.mean([response.uptake for response in responses]),
            "through": np.mean([response.uptake * response.through for response in responses]),
            "direct": np.mean([response.direct for response in responses]),
        }
    assert mean["reminder"]["through"] == 0 and mean["reminder"]["direct"] > 0.15
    assert mean["reminder"]["uptake"] == min(each["uptake"] for each in mean.values())
    assert mean["treat"]["uptake"] == max(each["uptake"] for each in mean.values())
    assert mean["treat"]["direct"] + mean["treat"]["through"] < mean["reminder"]["direct"]


def test_one_service_in_six_is_rare_and_roles_are_even():
    offering = draw_offering(35, np.random.default_rng(0))
    assert offering.is_rare.sum() == 5
    assert np.bincount(offering.role).tolist() == [7, 7, 7, 7, 7]
    assert offering.popularity[offering.is_rare].max() < offering.popularity[~offering.is_rare].min() / 2
