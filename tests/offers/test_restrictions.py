"""What tracks, holdouts and budgets refuse, and which of several reasons is told."""

import numpy as np

from offers.catalog import Catalog
from offers.eligibility import eligible
from offers.holdouts import memberships
from offers.restrictions import restrict
from offers.settings import parse_settings
from offers.tracks import tracks_of
from offers.types import Service

NAMES = ("coffee", "gift", "lounge", "spa")  # as the catalogue has them
CATALOG = Catalog.of([Service(name, name.title(), tiers=("gold",) * (name == "spa")) for name in NAMES])
SETTINGS = parse_settings(
    {
        "exploration": {"holdout": 0.0},
        "tracks": [
            {"name": "high", "tiers": ["gold"], "services": ["lounge"]},
            {"name": "low", "tiers": ["basic"], "services": ["coffee"]},
        ],
        "holdouts": [{"name": "no lounge", "share": 1.0, "service": "lounge"}],
    }
)
TIERS = ("gold", "basic")


def restricted(*closed, settings=SETTINGS):
    tracks = tracks_of(TIERS, CATALOG, settings)
    held = memberships(
        ["u1", "u2"], settings.exploration, settings.holdouts, CATALOG, tracks.services, now_us=0
    )
    return restrict(eligible(CATALOG, TIERS, now_us=0), tracks, held, closed)


def reasons(allowed, user):
    return {CATALOG.ids[place]: reason for place, reason in allowed.refusals(user).items()}


def test_each_refusal_has_the_first_reason():
    closed = {"the first": [1, 2, 3], "the second": [0, 1]}
    found = restricted(closed, None)
    assert reasons(found, 0) == {
        "gift": "the first",
        "lounge": "the user is in the holdout 'no lounge' of this service",
        "spa": "the first",
        "coffee": "of the track low; the user is in high",
    }
    assert reasons(found, 1) == {
        "lounge": "of the track high; the user is in low",
        "spa": "only for tiers gold; the user is in basic",
    }
    assert found.mask.tolist() == [[False] * 4, [True, True, False, False]]


def test_without_tracks_holdouts_and_budgets_nothing_changes():
    plain = parse_settings({"exploration": {"holdout": 0.0}})
    found, before = restricted(None, None, settings=plain), eligible(CATALOG, TIERS, now_us=0)
    assert (found.mask == before.mask).all() and (found.verdict == before.verdict).all()


def test_what_is_taken_away_twice_keeps_its_first_reason():
    once = restricted(None, None).without(np.ones((2, 4), dtype=bool), lambda user, place: "once", "budget")
    twice = once.without(np.ones((2, 4), dtype=bool), lambda user, place: "twice", "budget")
    assert not twice.mask.any() and reasons(twice, 0) == reasons(once, 0)
    assert reasons(twice, 1)["coffee"] == "once"
