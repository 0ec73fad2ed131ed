"""The gate opens only where the held-out exposures say that the challenger is better."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.gate import judge

USERS = np.arange(100)
BETTER = np.tile([0.5, 1.5], 50)  # mean 1, standard error 0.5 / sqrt(99)
UNSURE = np.tile([-9.0, 11.0], 50)  # mean 1, standard error 10 / sqrt(99)
WORSE = -BETTER


def test_a_challenger_that_beats_every_rival_is_promoted():
    verdict = judge({"best_constant": BETTER, "champion": BETTER + 1}, USERS)
    assert verdict.promote
    assert verdict.n_more == 0
    assert verdict.reason == (
        "promote: it gains 1 (0.902 to 1.1) over best_constant and 2 (1.9 to 2.1) over champion an exposure."
    )


def test_the_interval_is_the_normal_one_where_each_user_has_one_exposure():
    (comparison,) = judge({"best_constant": BETTER}, USERS, level=0.9).comparisons
    half = 1.6448536 * 0.5 / np.sqrt(99)
    assert comparison.value == 1
    assert (comparison.low, comparison.high) == pytest.approx((1 - half, 1 + half))
    assert comparison.n == 100


@pytest.mark.parametrize("gains", [{"best_constant": WORSE}, {"best_constant": BETTER, "champion": WORSE}])
def test_one_rival_that_is_not_beaten_keeps_the_champion(gains):
    verdict = judge(gains, USERS)
    assert not verdict.promote
    assert verdict.n_more is None
    assert verdict.reason.startswith("keep: it gains -1 (-1.1 to -0.902) over ")
    assert verdict.reason.endswith(" an exposure, which is no gain.")


def test_the_very_policy_of_the_champion_is_not_promoted():
    verdict = judge({"champion": np.zeros(100)}, USERS)
    assert not verdict.promote
    assert verdict.n_more is None


def test_a_gain_that_may_be_chance_says_how_many_more_exposures_it_needs():
    verdict = judge({"best_constant": UNSURE}, USERS)
    # half = 1.96 * 10 / sqrt(99); low > 0 needs half * sqrt(100 / n) < 1, so n > 100 * half ** 2 = 388.03
    assert not verdict.promote
    assert verdict.n_more == 289
    assert verdict.reason == (
        "keep: it gains 1 (-0.97 to 2.97) over best_constant an exposure, which may be chance; "
        "about 289 more exposures are needed to tell."
    )


def test_with_that_many_more_exposures_of_the_kind_it_is_promoted():
    gain = np.tile(UNSURE, 4)[: 100 + 290]
    assert judge({"best_constant": gain}, np.arange(390)).promote


def test_the_rival_that_needs_most_says_how_many():
    gains = {"best_constant": UNSURE, "champion": UNSURE * 2 - 1}  # mean 1, twice as wide
    assert judge(gains, USERS).n_more == pytest.approx(1452, abs=1)


def test_copies_of_a_users_exposures_add_no_certainty():
    once = judge({"best_constant": UNSURE}, USERS).comparisons[0]
    tenfold = judge({"best_constant": np.repeat(UNSURE, 10)}, np.repeat(USERS, 10)).comparisons[0]
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


def test_ids_of_users_may_be_text():
    names = np.array([f"user {number}" for number in USERS])
    assert judge({"champion": UNSURE}, names) == judge({"champion": UNSURE}, USERS)


def test_too_few_users_are_not_judged_at_all():
    verdict = judge({"best_constant": np.ones(20)}, np.repeat(np.arange(10), 2))
    assert not verdict.promote
    assert verdict.reason == (
        "keep: the held-out exposures are of 10 users and at least 30 are needed to judge, "
        "about 40 more exposures."
    )
    assert (verdict.comparisons, verdict.n_more) == ((), 40)


def test_a_challenger_that_is_no_better_is_promoted_no_more_often_than_the_level_allows():
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(150), 3)
    promoted = sum(
        judge({"champion": rng.normal(size=150)[users] + rng.standard_t(4, size=450)}, users).promote
        for _ in range(1000)
    )
    assert 10 <= promoted <= 42  # 25 expected of 1000: one side of 95 %


@given(
    st.lists(st.floats(-100, 100), min_size=60, max_size=60),
    st.lists(st.integers(0, 200), min_size=60, max_size=60, unique=True),
)
def test_promotion_means_every_low_is_above_zero_and_order_does_not_matter(gain, order):
    gains = np.array(gain)
    verdict = judge({"champion": gains, "best_constant": gains + 1}, order)
    assert verdict.promote == all(comparison.low > 0 for comparison in verdict.comparisons)
    assert verdict.promote == (verdict.n_more == 0)
    again = judge({"champion": gains[::-1], "best_constant": gains[::-1] + 1}, order[::-1])
    assert [c.low for c in again.comparisons] == pytest.approx([c.low for c in verdict.comparisons])


def test_the_verdict_is_plain_data():
    assert dataclasses.asdict(judge({"champion": BETTER}, USERS))["comparisons"][0]["rival"] == "champion"


@pytest.mark.parametrize(
    "gains, user, level, message",
    [
        ({}, USERS, 0.95, "gains must name at least one rival, got none"),
        ({"champion": BETTER[1:]}, USERS, 0.95, r"got shape \(99,\) for 100 exposures"),
        ({"champion": []}, [], 0.95, r"and at least one: got shape \(0,\) for 0 exposures"),
        ({"champion": np.where(USERS == 7, np.nan, 1)}, USERS, 0.95, "must be finite, got nan in row 7"),
        ({"champion": BETTER}, USERS, 95, "level must be between 0 and 1, got 95"),
    ],
)
def test_what_cannot_be_judged_is_refused(gains, user, level, message):
    with pytest.raises(ValueError, match=message):
        judge(gains, user, level)


def test_a_gain_too_small_for_any_realistic_log_is_none():
    verdict = judge({"champion": UNSURE - 0.99}, USERS)  # mean 0.01, half width 1.97: 38,800 times as many
    assert verdict.n_more is None
    assert (
        verdict.reason == "keep: it gains 0.01 (-1.96 to 1.98) over champion an exposure, which is no gain."
    )
