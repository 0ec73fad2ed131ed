"""Policy values: exact where every case is written down, unbiased and honest where they are drawn."""

import numpy as np
import pytest

from training.evaluation.bootstrap import UserBootstrap
from training.evaluation.policy_figures import paired_gains, value_policy
from training.evaluation.policy_value import (
    candidate_columns,
    doubly_robust,
    effect_of_offer,
    effective_sample_size,
    ips,
    least_error,
    match_weights,
    shrink,
    snips,
    strengths,
    switch,
    thresholds,
)

# Two kinds of user, three actions (nothing, a, b), and what each of the six pairs earns.
WORTH = np.array([[1.0, 4.0, 0.0], [2.0, 1.0, 5.0]])
LOGGING = np.array([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]])
POLICY = np.array([[0.0, 1.0, 0.0], [0.1, 0.0, 0.9]])
TRUTH = (POLICY * WORTH).sum(axis=1).mean()


def every_case():
    """A log in which each action appears exactly as often as its propensity says."""
    kind, action = zip(*[(k, a) for k in (0, 1) for a in range(3) for _ in range(int(4 * LOGGING[k, a]))])
    kind, action = np.array(kind), np.array(action)
    return kind, action - 1, LOGGING[kind, action], WORTH[kind, action]


def test_every_estimator_is_exact_when_every_case_is_written_down():
    kind, service, propensity, value = every_case()
    weights = match_weights(POLICY[kind], service, propensity)
    assert weights.mean() == pytest.approx(1)
    assert ips(weights, value).mean() == pytest.approx(TRUTH)
    assert snips(weights, value).mean() == pytest.approx(TRUTH)
    for q in (np.zeros((8, 3)), WORTH[kind], 7 - WORTH[kind]):
        assert doubly_robust(POLICY[kind], weights, value, service, q).mean() == pytest.approx(TRUTH)


def test_a_right_model_saves_wrong_propensities():
    kind, service, propensity, value = every_case()
    weights = match_weights(POLICY[kind], service, propensity**2)
    assert doubly_robust(POLICY[kind], weights, value, service, WORTH[kind]).mean() == pytest.approx(TRUTH)


def test_a_list_of_several_adds_what_the_model_expects_and_no_more():
    policy, q = np.array([[0.0, 1.0]]), np.array([[1.0, 3.0]])
    weights = match_weights(policy, np.array([-2]), np.array([0.01]))
    assert weights.tolist() == [0.0]
    assert doubly_robust(policy, weights, np.array([99.0]), np.array([-2]), q).tolist() == [3.0]


def test_snips_moves_with_a_constant_added_to_every_value():
    rng = np.random.default_rng(0)
    weights, value = rng.exponential(size=50), rng.normal(size=50)
    assert snips(weights, value + 100).mean() == pytest.approx(snips(weights, value).mean() + 100)


def test_snips_of_a_policy_never_logged_is_unknown():
    assert np.isnan(snips(np.zeros(3), np.ones(3))).all()


def test_the_effect_of_an_offer_is_exact_when_every_case_is_written_down():
    kind, service, propensity, value = every_case()
    for guess in (np.zeros(8), np.array([3.0, -2.0])[kind]):
        effect = effect_of_offer(value, service, propensity, 1, guess, 2 * guess)
        assert effect[kind == 0].mean() == pytest.approx(-1.0)
        assert effect[kind == 1].mean() == pytest.approx(3.0)


def test_effective_sample_size_is_n_for_equal_weights_and_0_without_any():
    assert effective_sample_size(np.full(7, 3.0)) == pytest.approx(7)
    assert effective_sample_size(np.zeros(7)) == 0


@pytest.mark.parametrize("propensity", [0.0, 1.2, -0.1, np.nan])
def test_an_impossible_propensity_is_refused(propensity):
    with pytest.raises(ValueError, match=r"slate_propensity must lie in \(0, 1\], got 1 of 2"):
        match_weights(np.array([[1.0, 0.0]] * 2), np.array([-1, 0]), np.array([0.5, propensity]))


def test_a_policy_whose_rows_do_not_sum_to_1_is_refused():
    with pytest.raises(ValueError, match=r"sum to 1 in every row, got 0\.7 in row 1"):
        match_weights(np.array([[1.0, 0.0], [0.5, 0.2]]), np.array([-1, 0]), np.array([0.5, 0.5]))


def test_a_policy_for_other_rows_is_refused():
    with pytest.raises(ValueError, match=r"one row an exposure \(2\), got shape \(1, 2\)"):
        match_weights(np.array([[1.0, 0.0]]), np.array([-1, 0]), np.array([0.5, 0.5]))


def drawn_log(make_log, n, rng):
    kind = rng.integers(0, 2, n)
    action = (rng.random(n)[:, None] > LOGGING[kind].cumsum(axis=1)).sum(axis=1)
    value = WORTH[kind, action] + rng.normal(size=n)
    return kind, make_log(action - 1, LOGGING[kind, action], value)


def test_intervals_cover_the_truth_about_as_often_as_they_claim(make_log):
    rng = np.random.default_rng(1)
    covered = {"doubly_robust": 0, "ips": 0, "snips": 0}
    estimates = []
    for _ in range(200):
        kind, log = drawn_log(make_log, 300, rng)
        resampled = UserBootstrap(log.user, rng, 200)
        q = WORTH[kind] + 0.5
        figures = value_policy(log, POLICY[kind], log.margin, q, resampled, 0.9).figures
        for name in covered:
            interval = getattr(figures, name)
            covered[name] += interval.low <= TRUTH <= interval.high
        estimates.append((figures.doubly_robust.value, figures.ips.value))
    # The kinds are drawn too, so the truth is that of the population. 200 trials at 0.9: 0.9 +- 0.06.
    assert all(0.84 <= hits / 200 <= 0.96 for hits in covered.values()), covered
    assert np.mean(estimates, axis=0) == pytest.approx([TRUTH, TRUTH], abs=0.05)


def test_doubly_robust_is_tighter_than_ips_with_a_good_model(make_log):
    rng = np.random.default_rng(2)
    kind, log = drawn_log(make_log, 2000, rng)
    resampled = UserBootstrap(log.user, rng, 200)
    figures = value_policy(log, POLICY[kind], log.margin, WORTH[kind], resampled, 0.95).figures
    assert width(figures.doubly_robust) < 0.8 * width(figures.ips)


def test_a_policy_gains_exactly_nothing_over_itself(make_log):
    rng = np.random.default_rng(3)
    kind, log = drawn_log(make_log, 200, rng)
    resampled = UserBootstrap(log.user, rng, 50)
    valued = {
        name: value_policy(log, POLICY[kind], log.margin, WORTH[kind], resampled, 0.95)
        for name in ("perkwise", "twin")
    }
    gain = paired_gains(valued, "perkwise", 0.95)["twin"]
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_a_paired_gain_is_tighter_than_the_two_values_apart(make_log):
    rng = np.random.default_rng(4)
    kind, log = drawn_log(make_log, 1000, rng)
    resampled = UserBootstrap(log.user, rng, 200)
    almost = POLICY[kind].copy()
    almost[:20] = [1.0, 0.0, 0.0]
    q = np.zeros((1000, 3))
    valued = {
        "perkwise": value_policy(log, POLICY[kind], log.margin, q, resampled, 0.95),
        "almost": value_policy(log, almost, log.margin, q, resampled, 0.95),
    }
    gain = paired_gains(valued, "perkwise", 0.95)["almost"]
    assert width(gain) < 0.5 * width(valued["perkwise"].figures.doubly_robust)


def width(interval):
    return interval.high - interval.low


def a_noisy_log(rng, n=2000, model=WORTH):
    """Drawn from the table above, with noise; the model's expectation of every row and action."""
    kind = rng.integers(0, 2, n)
    action = (rng.random((n, 1)) > LOGGING[kind].cumsum(axis=1)).sum(axis=1)
    weights = match_weights(POLICY[kind], action - 1, LOGGING[kind, action])
    value = WORTH[kind, action] + rng.normal(size=n)
    return POLICY[kind], weights, value, action - 1, model[kind]


def test_switch_and_shrinkage_lead_from_the_model_to_doubly_robust():
    policy, weights, value, service, q = a_noisy_log(np.random.default_rng(0), model=WORTH / 2)
    model, robust = (policy * q).sum(axis=1), doubly_robust(policy, weights, value, service, q)
    for lighten in (switch, shrink):
        assert doubly_robust(policy, lighten(weights, 0.0), value, service, q) == pytest.approx(model)
        assert doubly_robust(policy, lighten(weights, np.inf), value, service, q) == pytest.approx(robust)


def test_switch_keeps_a_weight_at_the_threshold_and_drops_one_beyond():
    assert switch(np.array([1.0, 2.0, 2.1]), 2.0).tolist() == [1.0, 2.0, 0.0]


def test_no_shrunk_weight_exceeds_half_the_root_of_the_strength():
    weights = np.geomspace(1e-3, 1e3, 200)
    assert shrink(weights, 16.0).max() == pytest.approx(2, rel=1e-3)
    assert (shrink(weights, 16.0) <= weights).all()


def test_shrunk_values_are_exact_with_a_right_model():
    kind, service, propensity, value = every_case()
    weights = match_weights(POLICY[kind], service, propensity)
    for light in (switch(weights, 2.0), shrink(weights, 1.0)):
        found = doubly_robust(POLICY[kind], light, value, service, WORTH[kind])
        assert found.mean() == pytest.approx(TRUTH)


def test_the_least_error_weighs_variance_against_squared_bias():
    unbiased = np.array([0.0, 4.0, 0.0, 4.0])  # a mean of 2 with an error of 4 / 4
    for shift, chosen in ((0.9, 1), (1.1, 0)):  # a constant 2 + shift has an error of shift^2
        sums = candidate_columns(np.column_stack([unbiased, np.full(4, 2 + shift)])).sum(axis=0)
        assert least_error(sums)[0] == chosen
    both = np.stack(
        [candidate_columns(np.column_stack([unbiased, unbiased + s])).sum(axis=0) for s in (0, 1)]
    )
    assert least_error(both)[0].tolist() == [0, 0]
    assert least_error(both)[1].tolist() == [2, 2]


def with_rare_weights(rng, model_error):
    """Two actions, one of them rare in the log and always wanted: weights of 50. Its true worth is 1."""
    n = 2000
    shown = np.where(rng.random(n) < 0.02, 0, -1)
    policy = np.tile([0.0, 1.0], (n, 1))
    weights = match_weights(policy, shown, np.where(shown == 0, 0.02, 0.98))
    value = np.where(shown == 0, 1.0, 0.0) + rng.normal(size=n)
    return policy, weights, value, shown, np.tile([0.0, 1.0 + model_error], (n, 1))


@pytest.mark.parametrize(("candidates", "lighten"), [(thresholds, switch), (strengths, shrink)])
def test_a_good_model_is_trusted_and_a_bad_one_is_not(candidates, lighten):
    rng = np.random.default_rng(0)
    squared = {}
    for error in (0.0, 5.0):
        found = []
        for _ in range(100):
            policy, weights, value, service, q = with_rare_weights(rng, error)
            rows = [
                doubly_robust(policy, lighten(weights, candidate), value, service, q)
                for candidate in candidates(weights)
            ]
            best = least_error(candidate_columns(np.column_stack(rows)).sum(axis=0))[1]
            found.append([best, rows[0].mean()])
        squared[error] = ((np.array(found) - 1) ** 2).mean(axis=0)
    assert squared[0.0][0] < 0.9 * squared[0.0][1]
    assert squared[5.0][0] < 1.5 * squared[5.0][1]


def test_switch_and_dros_cover_the_truth_nearly_as_often_as_they_claim(make_log):
    # Choosing a hyperparameter costs coverage: it looks for what is near and calm.
    rng, hits, n = np.random.default_rng(2), {"doubly_robust": 0, "switch": 0, "shrunk": 0}, 100
    for _ in range(n):
        kind, log = drawn_log(make_log, 300, rng)
        q = WORTH[kind] + [0.0, 0.5, -0.5]
        figures = value_policy(
            log, POLICY[kind], log.margin, q, UserBootstrap(log.user, rng, 200), 0.9
        ).figures
        for name in hits:
            interval = getattr(figures, name)
            hits[name] += interval.low <= TRUTH <= interval.high
    assert min(hits.values()) >= 80
    assert figures.switch.high - figures.switch.low > 0


def test_a_policy_never_logged_is_worth_what_the_model_says():
    policy, q = np.tile([0.0, 1.0], (3, 1)), np.full((3, 2), 7.0)
    weights = match_weights(policy, np.full(3, -1), np.full(3, 0.5))
    for candidates, lighten in ((thresholds, switch), (strengths, shrink)):
        for candidate in candidates(weights):
            found = doubly_robust(policy, lighten(weights, candidate), np.ones(3), np.full(3, -1), q)
            assert found.tolist() == [7, 7, 7]


def test_the_effective_size_has_an_interval_too():
    _, weights, _, _, _ = a_noisy_log(np.random.default_rng(0))
    resampled = UserBootstrap(np.arange(len(weights)), np.random.default_rng(1), 500)
    columns = np.column_stack([weights, weights**2])
    found = resampled.figure(lambda sums: sums[..., 0] ** 2 / sums[..., 1], columns).interval(0.95)
    assert found.value == pytest.approx(effective_sample_size(weights))
    assert 0.9 * found.value < found.low < found.value < found.high < 1.1 * found.value


@pytest.mark.parametrize(("lighten", "name"), [(switch, "threshold"), (shrink, "strength")])
def test_a_negative_or_missing_hyperparameter_is_refused(lighten, name):
    for number in (-1.0, np.nan):
        with pytest.raises(ValueError, match=f"{name} must be at least 0"):
            lighten(np.ones(2), number)
