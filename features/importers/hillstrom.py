"""Hillstrom's e-mail trial (2008) as a data folder: 64,000 customers, two e-mails and a holdout at random."""

from pathlib import Path

import pandas as pd

from features.importers.folders import find_file, write_data_folder

# The data were published on 20 March 2008 with the outcomes of the two weeks after the mailing,
# so this is its latest possible day; the day itself is not in the data.
SHOWN_AT = pd.Timestamp("2008-03-06", tz="UTC")
COMPLETE_UNTIL = SHOWN_AT + pd.Timedelta(days=14)
# Everybody bought in the year before; when they became customers is not in the data either.
JOINED_AT = SHOWN_AT - pd.Timedelta(days=366)
# Outcomes are known as having happened within the two weeks: all are put on one day.
OUTCOME_AT = SHOWN_AT + pd.Timedelta(days=1)

SERVICE_OF_ARM = {"Mens E-Mail": "mens-email", "Womens E-Mail": "womens-email", "No E-Mail": ""}
PROPENSITY = 1 / 3
ATTRIBUTES = ["recency", "history_segment", "history", "mens", "womens", "zip_code", "newbie", "channel"]
OUTCOMES = ["segment", "visit", "conversion", "spend"]

SETTINGS = f"""# Of `perkwise import hillstrom`. What stands here overrides the project's perkwise.toml.

[money]
currency = "USD"
margin_rate = 0.5            # assumed: the data have amounts alone
margin_cap_quantile = 1.0    # the largest order is 499 USD: no tail that needs a cap

[windows]                    # the trial's outcomes are those of two weeks
uptake_days = 14
repurchase_days = 14
complete_until = "{COMPLETE_UNTIL:%Y-%m-%dT%H:%M:%SZ}"
"""


def import_hillstrom(source: Path, out: Path) -> None:
    """Write the trial as a data folder with users, services, orders, events and exposures.

    Customers are numbered in the order of the file, from 1. A visit is an event `visited`, and of those who
    were mailed also a `used` of their e-mail: the uptake. A conversion is one order of what was
    spent: the repurchase. Visit, order and use stand at one day after the mailing, since no more is
    known than that they fell within 14 days of it. The services cost nothing: the data name no cost.

    Parameters
    ----------
    source : Path
        The file (Parquet, or the CSV as published, plain or compressed), or the folder it lies in.
    out : Path
        The data folder; made if absent, its tables replaced.

    Raises
    ------
    ValueError
        When the file is absent, lacks a column, or has an arm that is none of the three.
    """
    trial = _read_trial(source)
    tables = {
        "users": _users(trial),
        "services": _services(),
        "orders": _orders(trial),
        "events": _events(trial),
        "exposures": _exposures(trial),
    }
    write_data_folder(out, tables, SETTINGS)


def _read_trial(source: Path) -> pd.DataFrame:
    path = find_file(source, "*[hH]illstrom*", (".parquet", ".csv", ".csv.gz", ".csv.zip"))
    trial = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, keep_default_na=False)
    missing = [name for name in ATTRIBUTES + OUTCOMES if name not in trial]
    if missing:
        raise ValueError(
            f"{path} must have the columns of Hillstrom's trial, {', '.join(missing)} missing, "
            f"found {', '.join(trial.columns)}: is it another file?"
        )
    strange = sorted(set(trial["segment"]) - set(SERVICE_OF_ARM))
    if strange:
        raise ValueError(
            f"{path} must have the arms {', '.join(SERVICE_OF_ARM)} in segment, found {', '.join(strange)}: "
            "use the file as published."
        )
    numbers = pd.Series(range(1, len(trial) + 1), index=trial.index)
    return trial.assign(user_id=numbers.map("{:05d}".format), service_id=trial["segment"].map(SERVICE_OF_ARM))


def _users(trial: pd.DataFrame) -> pd.DataFrame:
    users = trial[["user_id", *ATTRIBUTES]]
    return users.assign(joined_at=JOINED_AT)


def _services() -> pd.DataFrame:
    arms = [(service_id, arm) for arm, service_id in SERVICE_OF_ARM.items() if service_id]
    return pd.DataFrame(arms, columns=["service_id", "name"]).assign(category="e-mail", unit_cost=0.0)


def _orders(trial: pd.DataFrame) -> pd.DataFrame:
    buyers = trial[trial["conversion"] == 1]
    return pd.DataFrame(
        {
            "order_id": "order-" + buyers["user_id"],
            "user_id": buyers["user_id"],
            "ordered_at": OUTCOME_AT,
            "amount": buyers["spend"],
        }
    )


def _events(trial: pd.DataFrame) -> pd.DataFrame:
    visitors = trial[trial["visit"] == 1]
    mailed = visitors[visitors["service_id"] != ""]
    return pd.concat(
        [
            _events_of(visitors, "visited").assign(service_id=""),
            _events_of(mailed, "used").assign(service_id=mailed["service_id"]),
        ],
        ignore_index=True,
    )


def _events_of(customers: pd.DataFrame, event: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "event_id": f"{event}-" + customers["user_id"],
            "user_id": customers["user_id"],
            "event": event,
            "at": OUTCOME_AT,
        }
    )


def _exposures(trial: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "slate_id": "mailing-" + trial["user_id"],
            "user_id": trial["user_id"],
            "shown_at": SHOWN_AT,
            "service_id": trial["service_id"],
            "propensity": PROPENSITY,
            "channel": "email",
            "arm": "explore",
        }
    )
