"""The Starbucks rewards data as a data folder: 17,000 users, ten offers, six waves assigned at random."""

from pathlib import Path

import numpy as np
import pandas as pd

from features.importers.folders import write_data_folder
from features.importers.starbucks_log import HOURS_A_DAY, RewardsLog, read_rewards_log, used_rows

# Hour 0 of the log has no date. Members joined until 26 July 2018: the day after is the earliest.
START = pd.Timestamp("2018-07-27", tz="UTC")
# The log names no propensities. Assignment looks like one uniform draw a wave: a quarter of the users
# get nothing, the others one of ten offers with equal shares.
PROPENSITY_OF_NOTHING = 0.25
PROPENSITY_OF_OFFER = 0.075
UNKNOWN_AGE = 118

SETTINGS = """# Of `perkwise import starbucks`. What stands here overrides the project's perkwise.toml.

[money]
currency = "USD"
margin_rate = 0.6            # assumed: the data have amounts alone
margin_cap_quantile = 0.99   # three days' spend leaps from 99 USD (of 1 user in 200) to 572 (of 1 in 1000):
                             # a few very large orders would decide every comparison

[windows]                    # from each wave to the next one, that no later offer has a part in it
uptake_days = {days}
repurchase_days = {days}
complete_until = "{until:%Y-%m-%dT%H:%M:%SZ}"
"""


def import_starbucks(source: Path, out: Path, window_days: int | None = None) -> None:
    """Write the rewards data as a data folder with users, services, orders, events and exposures.

    Every user has one exposure in every wave, with an empty service where no offer came. Events keep
    the log's `viewed` and `completed`; `used` is what counts as uptake (see `used_rows`). Transactions
    are orders.
    Waves are 3 to 7 days apart and offers stay open for 3 to 10, so the outcomes of an offer may fall
    into the time of the next one: windows end before it, what comes later is not counted.
    `unit_cost` is the reward for each use; rewards of offers completed unseen are not in it.

    Parameters
    ----------
    source : Path
        The folder of portfolio.json, profile.json and transcript.json, each plain or gzip'ed (.gz),
        or one of these files.
    out : Path
        The data folder; made if absent, its tables replaced.
    window_days : int, optional
        Days after a wave whose uses and orders count as its outcome. By default the most whole days
        that end no later than the next wave begins or the log ends, for every wave: 3.

    Raises
    ------
    ValueError
        When a file is absent or not what was published, or `window_days` is less than 1.
    """
    if window_days is not None and window_days < 1:
        raise ValueError(f"window_days must be at least 1, got {window_days}.")
    log = read_rewards_log(source if source.is_dir() else source.parent)
    tables = {
        "users": _users(log.profile),
        "services": _services(log.portfolio),
        "orders": _orders(log),
        "events": _events(log),
        "exposures": _exposures(log),
    }
    last_hour = int(log.transcript["time"].max())
    days = window_days or days_between_waves(log.rows("offer received")["time"], last_hour)
    write_data_folder(out, tables, SETTINGS.format(days=days, until=_moment(last_hour)))


def days_between_waves(hours: pd.Series, last_hour: int) -> int:
    """The most whole days, at least 1, from any wave to the one after it or to the end of the log.

    Examples
    --------
    >>> days_between_waves(pd.Series([0, 0, 168, 336, 408]), last_hour=714)
    3
    """
    waves = np.unique(hours)
    return max(1, int(np.diff(waves, append=last_hour).min() // HOURS_A_DAY))


def _users(profile: pd.DataFrame) -> pd.DataFrame:
    joined = pd.to_datetime(profile["became_member_on"].astype(str), format="%Y%m%d", utc=True)
    return pd.DataFrame(
        {
            "user_id": profile["id"],
            "joined_at": joined,
            "gender": profile["gender"],
            "age": profile["age"].where(profile["age"] != UNKNOWN_AGE),
            "income": profile["income"].astype("float64"),
        }
    )


def _services(portfolio: pd.DataFrame) -> pd.DataFrame:
    days = portfolio["duration"].astype(int).astype(str)
    spend_and_reward = portfolio["difficulty"].astype(str) + "/" + portfolio["reward"].astype(str)
    terms = spend_and_reward.where(portfolio["offer_type"] != "informational", "").radd(" ").str.rstrip()
    return pd.DataFrame(
        {
            "service_id": portfolio["id"],
            "name": portfolio["offer_type"] + terms + " " + days + "d",
            "category": portfolio["offer_type"],
            "unit_cost": portfolio["reward"].astype("float64"),
            "difficulty": portfolio["difficulty"],
            "duration_days": portfolio["duration"],
            "channels": portfolio["channels"].map("|".join),
        }
    )


def _orders(log: RewardsLog) -> pd.DataFrame:
    rows = log.rows("transaction")
    return pd.DataFrame(
        {
            "order_id": "order-" + rows["line"].astype(str),
            "user_id": rows["person"],
            "ordered_at": _moments(rows["time"]),
            "amount": rows["amount"],
        }
    )


def _events(log: RewardsLog) -> pd.DataFrame:
    named = {
        "viewed": log.rows("offer viewed"),
        "completed": log.rows("offer completed"),
        "used": used_rows(log),
    }
    rows = pd.concat([frame.assign(event=event) for event, frame in named.items()])
    rows = rows.sort_values("line", kind="stable", ignore_index=True)
    return pd.DataFrame(
        {
            "event_id": rows["event"] + "-" + rows["line"].astype(str),
            "user_id": rows["person"],
            "event": rows["event"],
            "at": _moments(rows["time"]),
            "service_id": rows["offer"],
        }
    )


def _exposures(log: RewardsLog) -> pd.DataFrame:
    received = log.rows("offer received")
    waves = received["time"].unique()
    everybody = pd.MultiIndex.from_product([waves, log.profile["id"]], names=["time", "person"])
    offers = received.set_index(["time", "person"])["offer"]
    rows = offers.reindex(everybody, fill_value="").reset_index()
    nothing = rows["offer"] == ""
    propensity = nothing.map({True: PROPENSITY_OF_NOTHING, False: PROPENSITY_OF_OFFER})
    return pd.DataFrame(
        {
            "slate_id": "hour-" + rows["time"].astype(str).str.zfill(3) + "-" + rows["person"],
            "user_id": rows["person"],
            "shown_at": _moments(rows["time"]),
            "service_id": rows["offer"],
            "propensity": propensity,
            "arm": "explore",
        }
    )


def _moments(hours: pd.Series) -> pd.Series:
    return START + pd.to_timedelta(hours, unit="h")


def _moment(hour: int) -> pd.Timestamp:
    return START + pd.Timedelta(hours=hour)
