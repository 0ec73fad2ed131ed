"""Each check on arrays whose fault, or soundness, is known by construction."""

import numpy as np
import pytest

from training.evaluation.checks import (
    Finding,
    exposure_after_outcome,
    kept_by_user,
    predictability,
    sample_ratio,
    users_in_two_arms,
)

P = np.array([0.15, 0.4, 0.4, 0.05])  # nothing and three services
NAMES = ("nothing", "a", "b", "c")
ALL = np.ones(4, bool)
DAY_US = 86_400_000_000


def drawn(rng, n=3000, p=P):
    """Catalogue positions and their propensities, one user a row."""
    service = rng.choice(len(p), n, p=p) - 1
    return service, p[service + 1]


def ratio(service, propensity, user=None, judged=ALL, expected=None):
    n = len(service)
    expected = np.tile(P, (n, 1)) if expected is None else expected
    return sample_ratio(service, propensity, expected, np.arange(n) if user is None else user, judged, NAMES)[
        0
    ]


def test_an_arm_ten_percent_short_is_found_and_named():
    rng = np.random.default_rng(0)
    service, propensity = drawn(rng, 12_000)
    kept = (service != 0) | (rng.random(12_000) < 0.9)
    found = ratio(service[kept], propensity[kept])
    assert (found.key, found.verdict) == ("sample_ratio", "alert")
    assert found.p < 0.001
    assert found.figure == pytest.approx(-0.06, abs=0.02)  # of the rows that are left a was due 0.4
    assert "By the logged propensities a was due" in found.text
    assert ratio(service, propensity).verdict == "fine"


def test_sample_ratios_raise_alarms_at_the_rate_they_claim():
    rng = np.random.default_rng(1)
    p = np.array([ratio(*drawn(rng, 1000)).p for _ in range(400)])
    assert 0.01 <= (p < 0.05).mean() <= 0.08
    assert (p < 0.001).mean() <= 0.005


def test_users_who_keep_their_arm_are_counted_once():
    # Four rows of a user are one draw: as independent rows their gaps would look twice as improbable.
    rng = np.random.default_rng(2)
    clustered, alone = [], []
    for _ in range(200):
        service, propensity = (np.repeat(part, 4) for part in drawn(rng, 400))
        clustered.append(ratio(service, propensity, np.repeat(np.arange(400), 4)).p)
        alone.append(ratio(service, propensity).p)
    assert (np.array(clustered) < 0.05).mean() <= 0.09
    assert (np.array(alone) < 0.05).mean() >= 0.25


def test_propensities_that_vary_are_judged_by_any_guess_of_them():
    rng = np.random.default_rng(3)
    x = rng.normal(size=8000)
    p = np.column_stack([np.full(8000, 0.2), 0.8 / (1 + np.exp(-x)), 0.8 / (1 + np.exp(x))])
    service = (rng.random((8000, 1)) >= p.cumsum(axis=1)[:, :-1]).sum(axis=1) - 1
    logged, guess = p[np.arange(8000), service + 1], np.tile([0.2, 0.5, 0.3], (8000, 1))
    user, judged = np.arange(8000), np.ones(3, bool)
    assert sample_ratio(service, logged, guess, user, judged, NAMES)[0].verdict == "fine"
    wrong = np.where(service == 1, logged * 1.25, logged)
    found, gaps = sample_ratio(service, wrong, guess, user, judged, NAMES)
    assert found.verdict == "alert" and "propensities b was due" in found.text
    assert gaps[2] < -4 < 4 > abs(gaps[0])


def test_arms_that_not_everybody_may_have_are_not_judged():
    rng = np.random.default_rng(4)
    service, propensity = drawn(rng, 4000)
    kept = service != 1  # half of a year b was not offered
    assert ratio(service[kept], propensity[kept]).verdict == "alert"
    found = ratio(np.where(kept, service, -2), propensity, judged=np.array([True, True, False, True]))
    assert found.verdict == "fine"


def test_of_few_rows_nothing_is_said():
    found = ratio(np.array([-1, 0, 1]), np.array([0.15, 0.4, 0.4]))
    assert (found.verdict, found.p) == ("note", None)


@pytest.fixture(scope="module")
def informed():
    """x, which by the log does not matter, and what a model might learn of it: that b goes to high x."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=6000)
    learned = np.column_stack([np.zeros(6000), -0.3 * x, 0.3 * x, np.zeros(6000)])
    return rng, x, learned


def asked(service, propensity, learned, declared="logged", comparable=ALL):
    return predictability(service, propensity, learned, np.arange(len(service)), comparable, declared)


def test_who_was_shown_what_beyond_the_propensities_refuses_the_word_uplift(informed):
    rng, _, learned = informed
    p = P * np.exp(learned)
    p /= p.sum(axis=1, keepdims=True)
    service = (rng.random((6000, 1)) >= p.cumsum(axis=1)[:, :-1]).sum(axis=1) - 1
    found = asked(service, P[service + 1], learned)
    assert (found.verdict, found.refuses) == ("alert", True)
    assert "can be predicted from the profile beyond them" in found.text
    told = asked(service, p[np.arange(6000), service + 1], learned)
    assert (told.verdict, told.refuses) == ("fine", False)


def test_a_draw_cannot_be_predicted_whatever_was_learned(informed):
    rng, _, learned = informed
    alerts = [asked(*drawn(rng, 6000), learned).p < 0.01 for _ in range(200)]
    assert np.mean(alerts) <= 0.03


def test_a_log_without_propensities_is_told_from_a_draw_but_refuses_nothing(informed):
    rng, x, learned = informed
    service, propensity = drawn(rng, 6000)
    assert "looks like a draw" in asked(service, propensity, learned, "none").text
    chosen = np.where(x > 0, 1, 0)
    found = asked(chosen, np.full(6000, 0.5), learned, "none")
    assert (found.verdict, found.refuses) == ("note", False)
    assert "somebody or something chose" in found.text


def test_arms_kept_by_user_are_told_from_arms_drawn_anew():
    rng = np.random.default_rng(6)
    user, expected = np.repeat(np.arange(500), 4), np.tile(P, (2000, 1))
    anew, _ = drawn(rng, 2000)
    kept = np.repeat(drawn(rng, 500)[0], 4)
    assert kept_by_user(kept, expected, user, np.arange(2000))
    assert not kept_by_user(anew, expected, user, np.arange(2000))


def two_arms(is_holdout, user, day):
    return users_in_two_arms(np.asarray(is_holdout), np.asarray(user), np.asarray(day) * DAY_US, 30 * DAY_US)


USER, WEEK = np.repeat(np.arange(400), 4), np.tile(7 * np.arange(4), 400)
STABLE = USER % 10 == 0


def test_a_holdout_kept_by_user_has_nobody_in_two_arms():
    found = two_arms(STABLE, USER, WEEK)
    assert (found.verdict, found.figure) == ("fine", 0)


def test_users_of_a_kept_holdout_who_were_shown_offers_are_an_alert():
    crossed = STABLE & (USER < 40) & (WEEK == 14)  # users 0, 10, 20 and 30 of 40 got one offer
    found = two_arms(STABLE & ~crossed, USER, WEEK)
    assert (found.verdict, found.figure) == ("alert", 0.1)
    assert "4 of 40 users of the holdout were also shown offers within one outcome window" in found.text


def test_a_holdout_drawn_anew_at_each_contact_is_no_fault():
    found = two_arms(np.random.default_rng(7).random(1600) < 0.1, USER, WEEK)
    assert found.verdict == "fine"
    assert "drawn anew at each contact" in found.text


def test_a_new_salt_a_window_later_draws_a_new_holdout_and_crosses_nobody():
    later = np.where(WEEK >= 14, WEEK + 60, WEEK)
    assert two_arms(np.where(WEEK >= 14, USER % 10 == 1, STABLE), USER, later).verdict == "fine"


def test_without_a_holdout_or_with_few_contacts_nothing_is_claimed():
    assert "names no holdout" in two_arms(np.zeros(1600, bool), USER, WEEK).text
    found = two_arms([True, False, True], [1, 1, 2], [0, 1, 2])
    assert found.verdict == "note" and "too few contacts follow one another" in found.text


def after_outcome(happened, service, propensity, at_once=None, is_fine_clock=True):
    n = len(service)
    at_once = np.zeros(n, bool) if at_once is None else at_once
    return exposure_after_outcome(
        service, propensity, np.arange(n), ALL, {"an hour": happened}, at_once, is_fine_clock
    )


def test_offers_logged_after_the_order_are_an_alert():
    rng = np.random.default_rng(8)
    service, propensity = drawn(rng, 5000)
    usual = rng.random(5000) < 0.02
    late = (service >= 0) & (rng.random(5000) < 0.05)
    assert after_outcome(usual, service, propensity).verdict == "fine"
    found = after_outcome(usual | late, service, propensity)
    assert found.verdict == "alert"
    assert found.figure == pytest.approx(0.05, abs=0.02)
    assert "more often within an hour before an offer than before nothing" in found.text


def test_decisions_that_follow_orders_in_every_arm_alike_are_no_fault():
    rng = np.random.default_rng(9)
    alerts = [after_outcome(rng.random(2000) < 0.3, *drawn(rng, 2000)).p < 0.01 for _ in range(200)]
    assert np.mean(alerts) <= 0.03


def test_a_moment_shared_with_an_order_is_an_alert_by_a_fine_clock_and_a_note_by_a_coarse_one():
    rng = np.random.default_rng(10)
    service, propensity = drawn(rng, 2000)
    quiet, ties = np.zeros(2000, bool), np.arange(2000) < 10
    fine = after_outcome(quiet, service, propensity, ties)
    assert fine.verdict == "alert" and "10 contacts were logged at the very moment" in fine.text
    coarse = after_outcome(quiet, service, propensity, ties, is_fine_clock=False)
    assert coarse.verdict == "note" and "too coarse to say which came first" in coarse.text


def test_a_finding_is_plain_json():
    found = Finding("key", "Name", "fine", "Text.", 3, figure=float("nan"), p=0.5).to_json()
    assert (found["figure"], found["p"], found["n"], found["refuses"]) == (None, 0.5, 3, False)
