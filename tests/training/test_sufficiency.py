"""A log that cannot teach is refused in the words of its tables; a sound one is not."""

import numpy as np
import pytest

from features.asof import DAY_US
from training.sufficiency import check_apart, check_sufficient

N = 1000
SERVICE = np.tile([-1, 0, 1, 1], N // 4)  # nothing and a for a quarter each, b for half
PROPENSITY = np.where(SERVICE == 1, 0.5, 0.25)
MARGIN = np.tile([0.0, 1.0, 2.0, 3.0, 4.0], N // 5)
UPTAKE = (SERVICE >= 0) & (np.arange(N) % 3 == 0)


@pytest.fixture
def make(make_log):
    """The sound log, but for what is named."""

    def make(service=SERVICE, propensity=PROPENSITY, margin=MARGIN, uptake=UPTAKE, **further):
        return make_log(service, propensity, margin, uptake, **further)

    return make


def test_a_sound_log_is_accepted(make):
    check_sufficient(make())


def test_propensities_of_a_policy_that_targets_are_accepted(make):
    # Half of the users get b with 0.9, the others nothing with 0.9; there is no other service.
    targeted = np.arange(N) % 2 == 0
    rare = np.arange(N) // 2 % 10 == 0
    shows_b = targeted ^ rare
    check_sufficient(make(np.where(shows_b, 1, -1), np.where(rare, 0.1, 0.9), uptake=shows_b & (MARGIN > 2)))


@pytest.mark.parametrize(
    "fault, message",
    [
        (
            {"service": np.full(N, -1)},
            "exposures must hold lists of exactly one service among the 1,000 rows",
        ),
        ({"service": SERVICE % 2}, "exposures must hold rows without a service among the 1,000 rows"),
        ({"uptake": np.zeros(N)}, "events `used` within 14 days after an offer must .* found 0 in all 750"),
        ({"uptake": SERVICE >= 0}, "events `used` within 14 days .* found 1 in all 750"),
        ({"margin": np.zeros(N)}, "orders within 30 days after an exposure must .* found 0 in all 1,000"),
        (
            {"margin": np.full(N, 2.0), "repurchase": (MARGIN > 0) * 1.0},
            "margins of orders .* found 2 in all 1,000",
        ),
        ({"propensity": PROPENSITY / 3}, "by them nothing was shown in about 83 of 1,000 rows, found 250"),
        ({"propensity": np.where(SERVICE < 0, 0.9, 0.25)}, "nothing was shown in about 900 of 1,000 rows"),
        ({"propensity": np.where(SERVICE == 1, 0.05, 0.25)}, "b was shown in about 50 of 1,000 rows"),
        ({"propensity": np.full(N, 1e-300)}, "nothing was shown in about 0 of 1,000 rows, found 250"),
    ],
)
def test_a_log_that_cannot_teach_is_refused(make, fault, message):
    with pytest.raises(ValueError, match=message):
        check_sufficient(make(**fault))


def test_a_log_of_which_rows_were_left_out_is_refused(make):
    kept = SERVICE != 1  # b's rows were not exported
    with pytest.raises(ValueError, match="by them a was shown in about 100 of 500 rows, found 250"):
        check_sufficient(
            make(SERVICE[kept], np.where(SERVICE[kept] < 0, 0.25, 0.2), MARGIN[kept], UPTAKE[kept])
        )


def test_what_few_users_were_shown_is_chance(make):
    check_sufficient(make(propensity=PROPENSITY / 3, user=np.arange(N) % 29))


def at_days(make, days, users):
    """Rows at these days, of these users."""
    days = np.asarray(days, np.int64)
    n = len(days)
    return make(SERVICE[:n], PROPENSITY[:n], MARGIN[:n], UPTAKE[:n], user=users, shown_at_us=days * DAY_US)


def test_training_and_held_out_rows_that_are_apart_are_accepted(make):
    check_apart(at_days(make, [0, 0, 1, 1], [0, 1, 2, 3]), at_days(make, [0, 1], [4, 5]), "user")
    check_apart(at_days(make, [0, 0, 1, 1], [0, 1, 2, 3]), at_days(make, [31, 32], [0, 1]), "time")


@pytest.mark.parametrize(
    "days, users, by, message",
    [
        ([0, 1], [3, 4], "user", "users must be in the training or in the held-out rows, found 1 in both"),
        ([30, 40], [8, 9], "time", "windows of training rows must close .* found 2 open"),
        ([], [], "time", "exposures must hold rows to learn from and rows to hold out, found 4 and 0"),
    ],
)
def test_training_and_held_out_rows_that_know_of_each_other_are_refused(make, days, users, by, message):
    train = at_days(make, [0, 0, 1, 1], [0, 1, 2, 3])
    with pytest.raises(ValueError, match=message):
        check_apart(train, at_days(make, days, np.array(users, int)), by)
