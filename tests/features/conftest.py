"""Random tables for the tests of profiles: small, full of ties, with every kind of gap."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from features.tables import Tables
from features.user_rows import UserRows

HOUR_US = 3_600_000_000
START_US = 1_700_000_000_000_000 // HOUR_US * HOUR_US
SPAN_HOURS = 500 * 24
SERVICES = ("007", "car-wash", "NA", "洗车")


def make_tables(rng: np.random.Generator, n_users: int = 20, n_rows: int = 400) -> Tables:
    """Tables whose times are sixty different hours, so that rows tie with each other and with queries."""
    user_ids = np.array([f"user-{number}" for number in range(n_users)], object)
    some_users = user_ids[: max(1, n_users - 2)]  # the last two have no rows
    hours = rng.integers(0, SPAN_HOURS, 60)

    def rows(n: int) -> dict[str, object]:
        return {
            "user_id": pd.Series(rng.choice(some_users, n), dtype="str"),
            "at": times(rng.choice(hours, n)),
        }

    def ids(n: int) -> pd.Series:
        return pd.Series([f"{number}" for number in range(n)], dtype="str")

    def texts(choices: tuple[str, ...], n: int) -> pd.Series:
        return pd.Series(rng.choice(np.array(choices, object), n), dtype="str")

    amount_cents = rng.integers(0, 20_000, n_rows)
    users = pd.DataFrame(
        {
            "user_id": pd.Series(user_ids, dtype="str"),
            "joined_at": times(rng.integers(-400 * 24, 24, n_users)),
            "region": pd.Series(rng.choice(np.array(["north", "south", None], object), n_users), dtype="str"),
            "age": np.where(rng.random(n_users) < 0.2, np.nan, rng.integers(18, 90, n_users)),
        }
    )
    services = pd.DataFrame(
        {
            "service_id": pd.Series(SERVICES, dtype="str"),
            "name": pd.Series(SERVICES, dtype="str"),
            "category": pd.Series(["care", "car", "", "car"], dtype="str"),
        }
    )
    orders = pd.DataFrame(
        {
            "order_id": ids(n_rows),
            **rows(n_rows),
            "amount_cents": amount_cents,
            "margin_cents": amount_cents // 3,
        }
    )
    events = pd.DataFrame(
        {
            "event_id": ids(2 * n_rows),
            **rows(2 * n_rows),
            "event": texts(("viewed", "clicked", "used", "used", "shared"), 2 * n_rows),
            "service_id": texts((*SERVICES, ""), 2 * n_rows),
            "value": np.where(rng.random(2 * n_rows) < 0.3, np.nan, rng.normal(0, 100, 2 * n_rows)),
        }
    )
    exposures = pd.DataFrame(
        {
            "slate_id": ids(n_rows),
            **rows(n_rows),
            "service_id": texts((*SERVICES, ""), n_rows),
            "propensity": np.full(n_rows, 0.2),
        }
    )
    feedback = pd.DataFrame(
        {
            **rows(n_rows // 4),
            "nps": rng.integers(0, 11, n_rows // 4),
            "service_id": texts((*SERVICES, ""), n_rows // 4),
        }
    )
    return Tables(
        users=users,
        services=services,
        orders=orders.rename(columns={"at": "ordered_at"}),
        events=events,
        exposures=exposures.rename(columns={"at": "shown_at"}),
        feedback=feedback,
        quarantine=pd.DataFrame(),
        counts=(),
    )


def times(hours: np.ndarray) -> pd.Series:
    us = START_US + np.asarray(hours, np.int64) * HOUR_US
    return pd.Series(us.astype("datetime64[us]")).dt.tz_localize("UTC")


@pytest.fixture(scope="session")
def random_tables() -> Callable[..., Tables]:
    """`random_tables(rng, n_users, n_rows)` makes tables; n_rows 0 leaves every log empty."""
    return make_tables


@pytest.fixture
def one_user() -> UserRows:
    """A user who joined on 1 January 1970, and of whom nothing else is known."""
    return UserRows(joined_at_us=0)
