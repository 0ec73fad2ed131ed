"""Values of lists: exact where every list is written down as often as it was to be shown."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.bootstrap import UserBootstrap
from training.evaluation.slate_value import (
    cascade_doubly_robust,
    cascade_ips,
    cascade_weights,
    independent_ips,
    list_ips,
    position_weights,
    self_normalised,
)

# All ordered lists of two of four services; a policy draws without replacement in proportion to its appeal.
LISTS = np.array(list(permutations(range(4), 2)))
LOGGED = np.array([0.4, 0.3, 0.2, 0.1])
TARGET = np.array([0.1, 0.2, 0.6, 0.1])
ALONE = np.array([3.0, 1.0, 2.0, 5.0])  # what a service earns, whatever else is shown


def steps(appeal):
    """Probability of each list's first service, and of its second given the first; shape (12, 2)."""
    first, second = appeal[LISTS].T
    return np.column_stack([first, second / (1 - first)])


def at_position(appeal):
    """Probability that a list's service stands where it stands, whatever stands beside it; shape (12, 2)."""
    of_list = steps(appeal).prod(axis=1)
    return np.array([[of_list[LISTS[:, at] == shown[at]].sum() for at in (0, 1)] for shown in LISTS])


P_LIST, PI_LIST = steps(LOGGED).prod(axis=1), steps(TARGET).prod(axis=1)
BY_LIST = position_weights(PI_LIST, P_LIST)
BY_POSITION = position_weights(at_position(TARGET), at_position(LOGGED))
BY_CASCADE = cascade_weights(position_weights(steps(TARGET), steps(LOGGED)))

INDEPENDENT = np.column_stack([ALONE[LISTS[:, 0]], 0.5 * ALONE[LISTS[:, 1]]])
# The second is used the less, the better the first was.
CASCADE = np.column_stack([INDEPENDENT[:, 0], INDEPENDENT[:, 1] / INDEPENDENT[:, 0]])
# The first is used the less, the better the second is, too.
ANY = CASCADE / (1 + ALONE[LISTS[:, 1:]])


def expected(estimate):
    """The mean over a log in which each list appears as often as its propensity says."""
    return P_LIST @ estimate


def truth(reward):
    return PI_LIST @ reward.sum(axis=1)


@pytest.mark.parametrize("reward", [INDEPENDENT, CASCADE, ANY])
def test_ips_of_whole_lists_is_exact_whatever_a_reward_depends_on(reward):
    assert expected(list_ips(BY_LIST, reward)) == pytest.approx(truth(reward))


def test_the_others_are_exact_where_their_assumption_holds_and_not_beyond():
    assert expected(independent_ips(BY_POSITION, INDEPENDENT)) == pytest.approx(truth(INDEPENDENT))
    assert expected(cascade_ips(BY_CASCADE, INDEPENDENT)) == pytest.approx(truth(INDEPENDENT))
    assert expected(cascade_ips(BY_CASCADE, CASCADE)) == pytest.approx(truth(CASCADE))
    assert expected(independent_ips(BY_POSITION, CASCADE)) != pytest.approx(truth(CASCADE), rel=1e-3)
    assert expected(cascade_ips(BY_CASCADE, ANY)) != pytest.approx(truth(ANY), rel=1e-3)


def test_fewer_dependences_leave_less_noise():
    estimates = [
        independent_ips(BY_POSITION, INDEPENDENT),
        cascade_ips(BY_CASCADE, INDEPENDENT),
        list_ips(BY_LIST, INDEPENDENT),
    ]
    noise = [P_LIST @ (estimate - truth(INDEPENDENT)) ** 2 for estimate in estimates]
    assert noise == sorted(noise)


def of_policy(q_shown, at):
    """q of position `at` averaged over the policy's choice there, given what stands above."""
    given_above = [steps(TARGET)[:, at] * (LISTS[:, :at] == shown[:at]).all(axis=1) for shown in LISTS]
    return np.array(given_above) @ q_shown[:, at] / (1 if at else 3)


def remaining(reward):
    """The right model of a cascade: what the policy earns at a position and below, for each list shown."""
    below = of_policy(np.column_stack([np.zeros(12), reward[:, 1]]), 1)
    return np.column_stack([reward[:, 0] + below, reward[:, 1]])


@pytest.mark.parametrize("error", [0.0, 1.0, -3.0])
def test_the_doubly_robust_cascade_is_exact_with_right_propensities_and_any_model(error):
    q = remaining(CASCADE) * (1 + error)
    q_policy = np.column_stack([of_policy(q, 0), of_policy(q, 1)])
    found = cascade_doubly_robust(BY_CASCADE, CASCADE, q, q_policy)
    assert expected(found) == pytest.approx(truth(CASCADE))


def test_the_doubly_robust_cascade_is_exact_with_a_right_model_and_wrong_propensities():
    q = remaining(CASCADE)
    q_policy = np.column_stack([of_policy(q, 0), of_policy(q, 1)])
    wrong = cascade_weights(position_weights(steps(TARGET), steps(LOGGED) ** 2))
    assert expected(cascade_doubly_robust(wrong, CASCADE, q, q_policy)) == pytest.approx(truth(CASCADE))


def test_a_right_model_leaves_less_noise_than_ips():
    q = remaining(CASCADE)
    found = cascade_doubly_robust(BY_CASCADE, CASCADE, q, np.column_stack([of_policy(q, 0), of_policy(q, 1)]))
    noise = P_LIST @ (found - truth(CASCADE)) ** 2
    assert noise < P_LIST @ (cascade_ips(BY_CASCADE, CASCADE) - truth(CASCADE)) ** 2 / 2


@given(st.floats(-100, 100))
def test_self_normalised_values_move_with_a_constant_added_to_every_reward(constant):
    for weights in (BY_POSITION, BY_CASCADE):
        normalised = self_normalised(weights)
        moved = independent_ips(normalised, CASCADE + constant).mean()
        assert moved == pytest.approx(independent_ips(normalised, CASCADE).mean() + 2 * constant)
    whole = self_normalised(BY_LIST)
    moved = list_ips(whole, CASCADE + constant).mean()
    assert moved == pytest.approx(list_ips(whole, CASCADE).mean() + 2 * constant)


def test_a_list_of_one_is_a_single_offer():
    weights, reward = np.array([2.0, 0.0, 0.5]), np.array([1.0, 3.0, 2.0])
    one = weights[:, None], reward[:, None]
    for estimate in (independent_ips(*one), cascade_ips(*one), list_ips(weights, reward[:, None])):
        assert estimate.tolist() == [2.0, 0.0, 1.0]


def test_a_policy_never_logged_is_unknown_after_normalising():
    assert np.isnan(self_normalised(np.zeros(3))).all()


def test_drawn_logs_have_intervals_that_hold_the_truth_about_as_often_as_they_claim():
    rng, holds = np.random.default_rng(5), 0
    for _ in range(100):
        shown = rng.choice(len(LISTS), 400, p=P_LIST)
        reward = CASCADE[shown] + rng.normal(size=(400, 2))
        rows = cascade_ips(BY_CASCADE[shown], reward)
        resampled = UserBootstrap(rng.integers(0, 300, 400), rng, 200)
        columns = np.column_stack([rows, np.ones(400)])
        interval = resampled.figure(lambda sums: sums[..., 0] / sums[..., 1], columns).interval(0.9)
        holds += interval.low <= truth(CASCADE) <= interval.high
    assert 80 <= holds <= 98


@pytest.mark.parametrize(
    ("policy", "propensity", "message"),
    [
        ([0.5], [[0.5]], r"the same shape, got \(1,\) and \(1, 1\)"),
        ([0.5, 0.5], [0.5, 0.0], r"must lie in \(0, 1\], got 1 of 2 that do not"),
        ([0.5, 1.5], [0.5, 0.5], "must hold probabilities, got 0.5 to 1.5"),
    ],
)
def test_what_cannot_be_a_weight_is_refused(policy, propensity, message):
    with pytest.raises(ValueError, match=message):
        position_weights(np.array(policy), np.array(propensity))
