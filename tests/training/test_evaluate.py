"""The whole evaluation on a small log whose truth is known."""

import json

import numpy as np
import pytest

from offers.types import Service
from training.evaluation.evaluate import evaluate
from training.evaluation.log_counts import count_log

SERVICES = (
    Service("a", "Delivery", unit_cost=1.0, contact_cost=0.1),
    Service("b", "Warranty"),
    Service("rare", "Concierge", unit_cost=2.0),
)
UPTAKE = np.array([0.5, 0.2, 0.1])


@pytest.fixture(scope="module")
def world(make_log):
    """a brings 2 to users with x > 0 and takes 2 from the others; b brings 1 to all; 10 % lists."""
    rng = np.random.default_rng(0)
    n = 6000
    x = rng.normal(size=n)
    uplift = np.column_stack([2 * np.sign(x), np.ones(n), np.ones(n)])
    arm = rng.choice([-2, -1, 0, 1, 2], n, p=[0.1, 0.3, 0.3, 0.298, 0.002])
    propensity = np.array([0.3, 0.3, 0.298, 0.002, 0.1])[arm + 1]  # of -2 the last
    shown = np.maximum(arm, 0)
    uptake = (rng.random(n) < UPTAKE[shown]) * (arm >= 0)
    margin = 5 + np.where(arm >= 0, uplift[np.arange(n), shown], 0) + rng.normal(size=n)
    log = make_log(
        arm,
        propensity,
        margin,
        uptake,
        rng.integers(0, 3000, n),
        x[:, None],
        SERVICES,
        repurchase=1.0 * (margin > 5),
    )
    return log, uplift


def policies_of(n, choice):
    fixed = {"nothing": 0, "best_constant": 2, "popularity": 1, "response": 1}
    policies = {name: np.tile(np.eye(4)[column], (n, 1)) for name, column in fixed.items()}
    return {**policies, "random": np.tile([0, 1 / 3, 1 / 3, 1 / 3], (n, 1)), "perkwise": np.eye(4)[choice]}


def run(world, notes, outcome="margin", **changes):
    log, uplift = world
    n = len(log)
    cost = UPTAKE * log.catalog.unit_cost + log.catalog.contact_cost
    inputs = {
        "policies": policies_of(n, np.where(log.X[:, 0] > 0, 1, 2)),
        "q": np.column_stack([np.full(n, 5.0), 5.0 + uplift - cost]),
        "uplift": uplift + 0.001 * np.arange(n)[:, None] / n,
        "uptake": np.tile(UPTAKE, (n, 1)),
        "eligible": np.ones((n, 3), bool),
    }
    return evaluate(
        log,
        **{**inputs, **changes},
        outcome=outcome,
        unit="EUR",
        level=0.95,
        notes=notes,
        rng=np.random.default_rng(1),
        n_replicates=200,
    )


@pytest.fixture(scope="module")
def evaluation(world, notes):
    return run(world, notes)


def test_the_json_has_exactly_the_keys_others_read(evaluation):
    found = json.loads(json.dumps(evaluation.to_json("report.html"), allow_nan=False))
    keys = "outcome unit n_test policies lists choice_load gain services importances checks report"
    assert list(found) == keys.split()
    assert set(found["policies"]) == {
        "perkwise",
        "nothing",
        "random",
        "best_constant",
        "popularity",
        "response",
    }
    assert set(found["policies"]["perkwise"]) == {"value", "low", "high", "ips", "snips"}
    assert set(found["gain"]) == {"over_best_constant", "over_response", "over_random"}
    assert set(found["gain"]["over_random"]) == {"value", "low", "high"}
    assert set(found["services"]) == {"a", "b", "rare"}
    keys = "n uptake_ece qini qini_low qini_high auuc uplift_mean uplift_low uplift_high roi"
    keys += " uplift_learned uplift_learned_low uplift_learned_high cold"
    assert list(found["services"]["a"]) == keys.split()
    assert (found["n_test"], found["unit"], found["report"]) == (6000, "EUR", "report.html")


def test_policies_are_worth_what_the_world_says(evaluation):
    # x > 0: a brings 2 - 0.6; else b brings 1.
    truth = {"perkwise": 5 + 1.2, "nothing": 5, "best_constant": 6, "response": 5 - 0.6}
    for name, value in truth.items():
        assert evaluation.policies[name].doubly_robust.value == pytest.approx(value, abs=0.15)
    gain = evaluation.gains["best_constant"]
    assert gain.low < 0.2 < gain.high
    assert gain.low > 0


def test_a_service_has_its_uplift_cost_and_return(evaluation):
    a, b, _ = evaluation.services
    assert a.uplift.low < 0 < a.uplift.high
    assert b.uplift.low < 1 < b.uplift.high
    assert a.cost == pytest.approx(0.6, abs=0.05)
    assert a.net.value == pytest.approx(a.uplift.value - a.cost)
    assert a.roi.value == pytest.approx((a.uplift.value - a.cost) / a.cost)
    assert b.cost == 0
    assert b.roi is None


def test_the_true_ranking_has_the_qini_of_the_true_ranking(evaluation):
    # Gain rises by 2 a user over the first half and falls back: a triangle of area 1/2.
    qini = evaluation.services[0].qini
    assert qini.value == pytest.approx(0.5, abs=0.06)
    assert qini.low < 0.5 < qini.high
    curve = evaluation.services[0].curve
    assert np.interp(0.5, curve.share, curve.gain) == pytest.approx(1, abs=0.1)
    assert (curve.low <= curve.high).all()


def test_the_true_ranking_has_the_uplift_at_the_top_and_the_autoc_of_the_true_ranking(evaluation):
    # All of the top 30 % gain 2. TOC(q) is 2, from the middle on 2 (1 - q) / q: an area of 2 ln 2.
    a, b, rare = evaluation.services
    assert a.uplift_at_top.low < 2 < a.uplift_at_top.high
    assert a.autoc.low < 2 * np.log(2) < a.autoc.high
    assert a.autoc.low > 1
    assert b.autoc.low < 0 < b.autoc.high
    assert (rare.uplift_at_top, rare.autoc) == (None, None)
    # The gain rises to 1 at the middle and falls back to 0.
    assert a.auuc.low < 0.5 < a.auuc.high


def test_a_budget_buys_what_the_world_says(evaluation):
    # b costs nothing and brings 1 to all; then a brings 1 more to half of them, at a cost of 0.6.
    costs = evaluation.costs
    assert (costs.cost, costs.worthwhile) == ("money", pytest.approx(0.3, abs=0.01))
    assert costs.budgets[[0, -1]] == pytest.approx([0, 0.3], abs=0.01)
    for gains, at_nothing, at_all in ((costs.targeted, 1, 1.5), (costs.untargeted, 1, 1)):
        assert gains.low[0] < at_nothing < gains.high[0]
        assert gains.low[-1] < at_all < gains.high[-1]
    assert costs.added.low < 0.25 < costs.added.high
    assert costs.added.low > 0


def test_without_money_a_budget_counts_offers(world, notes):
    costs = run(world, notes, outcome="repurchase", q=np.full((6000, 4), 0.5)).costs
    assert (costs.cost, costs.worthwhile) == ("offers", None)
    assert costs.budgets[-1] == pytest.approx(1)


def test_where_no_gain_is_expected_there_is_nothing_to_spend_on(world, notes):
    assert run(world, notes, uplift=np.full((6000, 3), -1.0)).costs is None


def test_switch_and_dros_are_worth_about_what_doubly_robust_is(evaluation):
    for figures in evaluation.policies.values():
        for found in (figures.switch, figures.shrunk):
            assert found.value == pytest.approx(figures.doubly_robust.value, abs=0.15)
            assert found.low < found.high


def test_deciles_realise_what_was_predicted(evaluation):
    deciles = evaluation.services[0].deciles
    realised = np.array([interval.value for interval in deciles.realised])
    pure = [0, 1, 2, 3, 6, 7, 8, 9]  # the sign of x changes within the fifth or sixth
    assert realised[pure] == pytest.approx([2] * 4 + [-2] * 4, abs=0.4)
    assert deciles.predicted[pure] == pytest.approx([2] * 4 + [-2] * 4, abs=0.01)


def test_constant_uptake_is_calibrated(evaluation):
    assert evaluation.services[0].to_json()["uptake_ece"] < 0.03
    assert evaluation.reliability.error() < 3 * evaluation.reliability.chance()


def test_a_service_with_few_exposures_is_counted_and_not_estimated(evaluation):
    rare = evaluation.services[2]
    assert 0 < rare.n < 30
    found = rare.to_json()
    assert found.pop("n") == rare.n and found.pop("cold") is False
    assert set(found.values()) == {None}


def test_lists_of_several_are_an_arm_of_their_own(evaluation):
    arms = {arm.label: arm.n for arm in evaluation.arms}
    assert arms["a list of several"] == pytest.approx(600, abs=80)
    assert sum(arms.values()) == 6000


def test_an_outcome_that_is_no_money_has_no_cost_taken_off(world, notes):
    found = run(world, notes, outcome="repurchase", q=np.full((6000, 4), 0.5))
    a = found.services[0]
    assert (a.net, a.roi) == (None, None)
    assert found.policies["nothing"].doubly_robust.value == pytest.approx(0.5, abs=0.05)


def test_the_same_seed_gives_the_same_figures(world, notes, evaluation):
    assert run(world, notes).to_json() == evaluation.to_json()


def test_averages_are_over_those_who_could_have_been_offered_it(world, notes):
    log, _ = world
    eligible = np.column_stack([log.X[:, 0] > 0, np.ones((6000, 2), bool)])
    found = run(world, notes, eligible=eligible).services[0]
    assert found.uplift.value == pytest.approx(2, abs=0.15)


def test_a_missing_baseline_is_refused(world, notes):
    policies = policies_of(6000, np.zeros(6000, int))
    del policies["random"]
    with pytest.raises(ValueError, match=r"perkwise and the five baselines, \['random'\] are missing"):
        run(world, notes, policies=policies)


@pytest.mark.parametrize(
    "name, columns, means", [("q", 3, "nothing and each service"), ("uplift", 4, "a service")]
)
def test_an_array_that_does_not_fit_the_catalogue_is_refused(world, notes, name, columns, means):
    with pytest.raises(
        ValueError, match=rf"{name} must have shape \(6000, .*{means}.*, got \(6000, {columns}\)"
    ):
        run(world, notes, **{name: np.zeros((6000, columns))})


def test_a_log_in_waves_is_counted_by_wave_and_a_steady_one_by_month():
    hour = 3_600_000_000
    waves = count_log(np.array([-1, 0, 1, -1, -2]), np.arange(5), np.repeat([0, 168 * hour], [2, 3]), 2)
    assert [(p.start, p.n, p.n_nothing) for p in waves.periods] == [
        ("1970-01-01 00:00", 2, 1),
        ("1970-01-08 00:00", 3, 1),
    ]
    assert (waves.n, waves.n_nothing, waves.n_several, waves.n_by_service) == (5, 2, 1, (1, 1))
    steady = count_log(np.full(59, -1), np.zeros(59), np.arange(59) * 24 * hour, 2)
    assert [(p.start, p.n) for p in steady.periods] == [("1970-01", 31), ("1970-02", 28)]
