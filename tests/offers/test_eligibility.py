from datetime import UTC, datetime

import numpy as np
import pytest

from offers.catalog import Catalog, microseconds
from offers.eligibility import eligible
from offers.types import Service

NOON = microseconds(datetime(2026, 6, 1, 12, tzinfo=UTC))
CATALOG = Catalog.of(
    [
        Service("always", "Always"),
        Service("ended", "Ended", active_until=datetime(2026, 6, 1, 12, tzinfo=UTC)),
        Service("starts", "Starts", active_from=datetime(2026, 6, 1, 12, tzinfo=UTC)),
        Service("lounge", "Lounge", tiers=("gold", "platinum")),
    ]
)


@pytest.mark.parametrize(
    "tier, now_us, allowed",
    [
        ("basic", NOON, {"always", "starts"}),
        ("basic", NOON - 1, {"always", "ended"}),
        ("gold", NOON, {"always", "starts", "lounge"}),
        ("no such tier", NOON, {"always", "starts"}),
    ],
)
def test_dates_are_half_open_and_tiers_are_kept(tier, now_us, allowed):
    mask = eligible(CATALOG, [tier], now_us).mask[0]
    assert {service_id for service_id, ok in zip(CATALOG.ids, mask, strict=True) if ok} == allowed


def test_each_refusal_has_a_reason():
    found = eligible(CATALOG, ["basic", "gold"], np.array([NOON, NOON - 1]))
    assert found.refusals(0) == {
        CATALOG.position_of["ended"]: "ended at 2026-06-01T12:00:00+00:00",
        CATALOG.position_of["lounge"]: "only for tiers gold, platinum; the user is in basic",
    }
    assert found.refusals(1) == {CATALOG.position_of["starts"]: "starts at 2026-06-01T12:00:00+00:00"}


def test_a_scenario_leaves_its_own_services_and_those_of_none():
    catalog = Catalog.of(
        [
            Service("any", "Any"),
            Service("home", "Home", scenario="home"),
            Service("trip", "Trip", scenario="trip"),
        ]
    )
    found = eligible(catalog, ["basic"] * 3, NOON, scenarios=["", "home", "no such"])
    assert found.mask.tolist() == [[True, True, True], [True, True, False], [True, False, False]]
    assert found.refusals(1) == {2: "made for the scenario trip; asked for home"}


def test_an_empty_catalogue_allows_nothing_and_refuses_nothing():
    found = eligible(Catalog.of([]), ["basic"], NOON)
    assert found.mask.shape == (1, 0) and found.refusals(0) == {}


def test_times_must_be_one_or_one_a_user():
    with pytest.raises(ValueError, match="now_us must be one time or one for each of 1 users"):
        eligible(CATALOG, ["basic"], np.array([NOON, NOON]))
