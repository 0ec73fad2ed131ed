import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offers.catalog import Catalog, time_us
from offers.holdouts import in_holdout, memberships, points, user_keys
from offers.settings import ExplorationSettings, HoldoutSettings
from offers.types import Service

CATALOG = Catalog.of([Service("gift", "Gift"), Service("lounge", "Lounge"), Service("spa", "Spa")])
TRACKS = {"high": np.array([False, True, True])}
USERS = [f"user {number}" for number in range(20_000)]
NOW = time_us("2026-06-15T00:00:00Z")
NONE = ExplorationSettings(holdout=0.0)


def found(*holdouts, exploration=NONE, now_us=NOW, users=USERS):
    return memberships(users, exploration, holdouts, CATALOG, TRACKS, now_us)


def test_the_holdout_has_its_share_and_grows_without_a_reshuffle():
    small = {user for user in USERS if in_holdout(user, ExplorationSettings(holdout=0.05))}
    large = {user for user in USERS if in_holdout(user, ExplorationSettings(holdout=0.10))}
    assert small < large
    assert len(small) / len(USERS) == pytest.approx(0.05, abs=0.006)
    other = {user for user in USERS if in_holdout(user, ExplorationSettings(holdout=0.05, salt="2"))}
    assert len(other & small) < 0.2 * len(small)


@given(st.floats(0, 1), st.floats(0, 1), st.text(max_size=5), st.text(max_size=5))
def test_a_greater_share_keeps_those_who_are_in_and_another_holdout_as_it_was(first, second, name, salt):
    users = USERS[:300]
    low, high = sorted([first, second])
    fixed = HoldoutSettings("fixed", 0.3, service="spa")
    before, after = (
        found(HoldoutSettings(name, share, service="gift", salt=salt), fixed, users=users).refused
        for share in (low, high)
    )
    assert ((before[:, 0] < 0) | (after[:, 0] == 0)).all()
    assert (before[:, 2] == after[:, 2]).all()


def test_points_are_uniform_and_independent_of_each_other():
    keys = user_keys(USERS)
    first, second = points(keys, "salt", "a"), points(keys, "salt", "b")
    other = points(keys, "salt 2", "a")
    for one, two in ((first, second), (first, other)):
        counts = np.histogram2d(one, two, bins=10, range=[[0, 1], [0, 1]])[0]
        statistic = ((counts - 200) ** 2 / 200).sum()
        assert abs(statistic - 99) < 4.5 * np.sqrt(2 * 99)


def test_the_main_holdout_and_a_further_one_are_independent():
    both = found(
        HoldoutSettings("gifts", 0.2, service="gift", salt="perkwise-1"),
        exploration=ExplorationSettings(holdout=0.2),
    )
    together = (both.nothing & (both.refused[:, 0] == 0)).mean()
    assert together == pytest.approx(0.04, abs=0.006)


def test_a_service_is_refused_to_its_holdout_and_a_track_to_that_of_the_track():
    both = found(
        HoldoutSettings("no gift", 0.2, service="gift"), HoldoutSettings("no high", 0.3, track="high")
    )
    assert both.names == ("no gift", "no high")
    gift, lounge, spa = both.refused.T
    assert (gift == 0).mean() == pytest.approx(0.2, abs=0.01) and set(gift) == {-1, 0}
    assert (lounge == 1).mean() == pytest.approx(0.3, abs=0.01) and (lounge == spa).all()
    assert not both.nothing.any() and both.share == 0


def test_several_holdouts_of_everything_hold_the_users_of_each():
    both = found(HoldoutSettings("quiet", 0.1), exploration=ExplorationSettings(holdout=0.2))
    assert both.share == pytest.approx(1 - 0.9 * 0.8)
    assert both.nothing.mean() == pytest.approx(both.share, abs=0.01)


@pytest.mark.parametrize(
    "day, holds", [("2026-05-31", False), ("2026-06-01", True), ("2026-06-30", True), ("2026-07-01", False)]
)
def test_a_holdout_holds_within_its_period_alone(day, holds):
    june = HoldoutSettings(
        "june", 1.0, active_from="2026-06-01T00:00:00Z", active_until="2026-07-01T00:00:00Z"
    )
    held = found(june, now_us=time_us(f"{day}T00:00:00Z"))
    assert held.nothing.all() == held.nothing.any() == holds
    assert held.share == (1.0 if holds else 0.0)


def test_membership_of_one_user_does_not_depend_on_the_others():
    holdouts = (HoldoutSettings("gifts", 0.5, service="gift"), HoldoutSettings("all", 0.5))
    together = found(*holdouts, users=USERS[:50])
    for place, user in enumerate(USERS[:50]):
        alone = found(*holdouts, users=[user])
        assert alone.nothing[0] == together.nothing[place]
        assert (alone.refused[0] == together.refused[place]).all()


def test_users_asked_for_at_different_moments_are_held_as_at_each():
    june = HoldoutSettings("june", 0.5, active_until="2026-07-01T00:00:00Z")
    gifts = HoldoutSettings("gifts", 0.5, service="gift", active_from="2026-07-01T00:00:00Z")
    before, after = (time_us(f"2026-0{month}-15T00:00:00Z") for month in (6, 7))
    users = USERS[:60]
    together = found(june, gifts, users=users, now_us=np.tile([before, after], 30))
    for place, moment in ((0, before), (1, after)):
        alone = found(june, gifts, users=users[place::2], now_us=moment)
        assert (together.nothing[place::2] == alone.nothing).all()
        assert (together.refused[place::2] == alone.refused).all()
        assert (together.share[place::2] == alone.share).all()
    assert set(together.share.tolist()) == {0.0, 0.5}
