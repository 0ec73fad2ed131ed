"""Every column of a profile against loops over the user's rows, written from the definitions alone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from features.asof import DAY_US
from features.history import History
from features.lifecycle import STAGES
from features.pipeline import Layout, compute

UPTAKE_DAYS = 14
WINDOWS = {"7d": 7, "30d": 30, "90d": 90, "365d": 365, "all": 10_000}
MINUTE_US = 60_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAN = float("nan")


def us(time):
    return (time - EPOCH) // timedelta(microseconds=1)


def rows_before(frame, time_column, user_id, as_of_us):
    rows = [row for row in frame.to_dict("records") if row["user_id"] == user_id]
    known = [{**row, "us": us(row[time_column])} for row in rows]
    return sorted((row for row in known if row["us"] < as_of_us), key=lambda row: row["us"])


def profile_by_hand(tables, user_id, as_of_us):
    orders = rows_before(tables.orders, "ordered_at", user_id, as_of_us)
    events = rows_before(tables.events, "at", user_id, as_of_us)
    offers = rows_before(tables.exposures, "shown_at", user_id, as_of_us)
    answers = rows_before(tables.feedback, "at", user_id, as_of_us)
    user = tables.users[tables.users["user_id"] == user_id].to_dict("records")[0]
    regions = sorted(tables.users["region"].dropna().unique())
    offers = [row for row in offers if row["service_id"]]
    uses = [row for row in events if row["event"] == "used"]
    takes = [use for use in uses if use["service_id"] and any(takes_up(use, offer) for offer in offers)]

    def within(rows, window):
        return [row for row in rows if row["us"] >= as_of_us - WINDOWS[window] * DAY_US]

    def since(rows, which=-1):
        return (as_of_us - rows[which]["us"]) / DAY_US if rows else NAN

    def named(rows, name):
        return [row for row in rows if row["event"] == name]

    def of_service(rows, service_id):
        return [row for row in rows if row["service_id"] == service_id]

    def amount(window):
        return sum(row["amount_cents"] for row in within(orders, window)) / 100

    def over(part, whole):
        return part / whole if whole else NAN

    age = (as_of_us - us(user["joined_at"])) / DAY_US
    gaps = [(after["us"] - row["us"]) // MINUTE_US / 1440 for row, after in pairwise(orders)]
    gap_mean = np.mean(gaps) if gaps else NAN
    expected = {
        "recency_days": since(orders),
        "tenure_days": since(orders, 0),
        "account_age_days": age,
        "gap_mean_days": gap_mean,
        "gap_std_days": np.std(gaps) if gaps else NAN,
        "gaps_overdue": over(since(orders), gap_mean),
        "frequency_trend_90d": 3 * over(len(within(orders, "30d")), len(within(orders, "90d"))),
        "monetary_trend_90d": 3 * over(amount("30d"), amount("90d")),
        "lifecycle_stage": STAGES.index(stage(age, since(orders), gaps)),
        "events_recency_days": since(events),
        "used_recency_days": since(uses),
        "used_trend_90d": 3 * over(len(within(uses, "30d")), len(within(uses, "90d"))),
        "used_value_90d": sum(
            round(row["value"], 3) for row in within(uses, "90d") if row["value"] == row["value"]
        ),  # kept in whole thousandths
        "offers_recency_days": since(offers),
        "taken_recency_days": since(takes),
        "taken_per_offer": over(len(takes), len(offers)),
        "feedback_all": len(answers),
        "feedback_recency_days": since(answers),
        "nps_last": max(row["nps"] for row in answers if row["us"] == answers[-1]["us"]) if answers else NAN,
        "nps_mean_all": np.mean([row["nps"] for row in answers]) if answers else NAN,
        "attribute/age": user["age"],
        "attribute/region": regions.index(user["region"]) if user["region"] in regions else NAN,
    }
    others = [row for row in events if row["event"] not in ("viewed", "clicked", "used")]
    for window in WINDOWS:
        expected |= {
            f"frequency_{window}": len(within(orders, window)),
            f"monetary_{window}": amount(window),
            f"margin_{window}": sum(row["margin_cents"] for row in within(orders, window)) / 100,
            f"basket_{window}": over(amount(window), len(within(orders, window))),
            f"viewed_{window}": len(within(named(events, "viewed"), window)),
            f"clicked_{window}": len(within(named(events, "clicked"), window)),
            f"other_events_{window}": len(within(others, window)),
            f"used_{window}": len(within(uses, window)),
            f"services_used_{window}": len({row["service_id"] for row in within(uses, window)} - {""}),
            f"offers_{window}": len(within(offers, window)),
            f"taken_{window}": len(within(takes, window)),
        }
    services = tables.services.to_dict("records")
    category_of = {service["service_id"]: service["category"] for service in services}
    with_service = [row for row in within(uses, "365d") if row["service_id"]]
    for category in ("car", "care"):
        of_category = [row for row in with_service if category_of[row["service_id"]] == category]
        expected[f"share_of_uses_365d/{category}"] = over(len(of_category), len(with_service))
    for service_id in category_of:
        expected |= {
            f"uses_90d/{service_id}": len(within(of_service(uses, service_id), "90d")),
            f"uses_recency_days/{service_id}": since(of_service(uses, service_id)),
            f"seen_90d/{service_id}": len(within(of_service(offers, service_id), "90d")),
            f"taken_all/{service_id}": len(of_service(takes, service_id)),
        }
    return expected


def takes_up(use, offer):
    days = (use["us"] - offer["us"]) / DAY_US
    return offer["service_id"] == use["service_id"] and 0 <= days < UPTAKE_DAYS


def stage(age, recency, gaps):
    if age < 30:
        return "new"
    gap = max(np.mean(gaps), 7) if len(gaps) >= 2 else 45
    silence = age if recency != recency else recency
    return "active" if silence <= 2 * gap else "at_risk" if silence <= 4 * gap else "lapsed"


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32 - 1), n_rows=st.sampled_from([0, 8, 60, 300]))
def test_every_column_equals_a_loop_over_the_rows(random_tables, seed, n_rows):
    rng = np.random.default_rng(seed)
    tables = random_tables(rng, n_users=5, n_rows=n_rows)
    layout = Layout.of(tables)
    history = History.of(tables, layout, UPTAKE_DAYS)
    moments = tables.events["at"] if n_rows else tables.users["joined_at"]
    user = rng.integers(0, 5, 8)
    as_of_us = np.array([us(time) for time in moments.sample(8, replace=True, random_state=seed)])
    as_of_us += rng.choice([0, 0, 1, DAY_US], 8)
    profiles = compute(history, layout, user, as_of_us)
    for row, number, moment in zip(profiles, user, as_of_us):
        expected = profile_by_hand(tables, history.user_ids[number], moment)
        by_hand = np.array([expected[column] for column in layout.columns], np.float32)
        # Days to two thousandths: the deviation of nearly equal gaps is a small difference of squares.
        np.testing.assert_allclose(row, by_hand, rtol=1e-5, atol=2e-3)


# One user, one service: shown on day 10, the uptake window is two weeks long.
@pytest.mark.parametrize(
    "used_after_us, taken",
    [(-1, 0), (0, 1), (UPTAKE_DAYS * DAY_US - 1, 1), (UPTAKE_DAYS * DAY_US, 0)],
)
def test_an_offer_is_taken_from_its_own_moment_until_just_before_the_window_closes(
    one_user, used_after_us, taken
):
    rows = one_user.plus(
        exposure_at_us=[10 * DAY_US],
        exposure_service=["007"],
        event_at_us=[10 * DAY_US + used_after_us] * 2,
        event=["used", "used"],
        event_service=["007", "NA"],
        event_value=[NAN, NAN],
    )
    assert value_of(rows, "taken_all", 40 * DAY_US) == taken
    assert value_of(rows, "taken_all/007", 40 * DAY_US) == taken


@pytest.mark.parametrize(
    "order_days, as_of_day, name",
    [
        ([], 29, "new"),
        ([], 30, "active"),
        ([], 91, "at_risk"),
        ([], 181, "lapsed"),
        ([100, 110, 120], 140, "active"),
        ([100, 110, 120], 141, "at_risk"),
        ([100, 110, 120], 161, "lapsed"),
        ([100, 101, 102], 116, "active"),  # gaps of a day count as a week
    ],
)
def test_the_life_cycle_counts_silence_in_the_users_own_gaps(one_user, order_days, as_of_day, name):
    n = len(order_days)
    rows = one_user.plus(
        order_at_us=[day * DAY_US for day in order_days],
        order_amount_cents=[100] * n,
        order_margin_cents=[30] * n,
    )
    assert STAGES[int(value_of(rows, "lifecycle_stage", as_of_day * DAY_US))] == name


def value_of(rows, column, as_of_us):
    layout = Layout(service_ids=("007", "NA"), service_categories=("", ""), attributes=())
    history = History.of_one(rows, layout, UPTAKE_DAYS)
    return compute(history, layout, [0], [as_of_us])[0, layout.columns.index(column)]
