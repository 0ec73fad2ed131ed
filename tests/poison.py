"""Sound shops, and the ways in which their tables come to tell what is not so."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from features.tables import write_table
from features.world import World, make_world
from offers.settings import Settings
from training.source import read_source
from training.split import Split
from training.sufficiency import check_apart, check_sufficient
from training.suspicions.find import find_suspicions
from training.suspicions.suspicion import Suspicion

TRIAL = (0.4, 0.35, 0.25)  # chances of nothing, S1 and S2
SETTINGS = """
[money]
margin_rate = 0.3

[windows]
uptake_days = 7
repurchase_days = 14
complete_until = "{until}"
"""
DAY = pd.Timedelta(days=1)
Tables = dict[str, pd.DataFrame]
_NAMES = ("users", "services", "orders", "events", "exposures", "feedback")


def make_shop(seed: int = 0) -> World:
    """A shop of 900 users, whom it decided about five times each on average."""
    return make_world(900, 4, 160, np.random.default_rng(seed))


def make_trial(world: World, seed: int = 0) -> World:
    """The same shop, but each user was in one decision alone, for nothing, S1 or S2 by fixed chances."""
    rng = np.random.default_rng(seed)
    first = world.exposures.drop_duplicates("user_id").reset_index(drop=True)
    arm = rng.choice(3, len(first), p=TRIAL)
    chance = np.array(TRIAL)[arm]
    services = np.array(["", *world.services["service_id"][:2]], object)
    exposures = first.assign(
        service_id=services[arm], propensity=chance, slate_propensity=chance, position=1, arm="explore"
    )
    used = rng.random(len(first)) < np.array([0, 0.3, 0.15])[arm]
    uses = pd.DataFrame(
        {
            "event_id": "trial-" + first["user_id"],
            "user_id": first["user_id"],
            "event": "used",
            "at": first["shown_at"] + DAY,
            "service_id": services[arm],
            "value": 1.0,
        }
    )[used]
    others = world.events[world.events["event"] != "used"]
    events = pd.concat([others, uses]).sort_values("at", kind="stable").reset_index(drop=True)
    return replace(world, exposures=exposures, events=events)


def make_sound_shop(seed: int) -> World:
    """A shop of some size; every other one knows more of its users, every fourth is a trial."""
    rng = np.random.default_rng(seed)
    n_users = int(np.exp(rng.uniform(np.log(150), np.log(1500))))
    world = make_world(n_users, int(rng.integers(2, 13)), int(rng.integers(120, 400)), rng)
    if seed % 2:
        world = replace(world, users=_better_known(world, rng))
    return make_trial(world, seed) if seed % 4 == 3 else world


def _better_known(world: World, rng: np.random.Generator) -> pd.DataFrame:
    """Users with attributes that tell much, but nothing that could not be known before any decision."""
    customers, n = world.customers, len(world.users)
    return world.users.assign(
        income=np.round(2000 * np.exp(0.5 * (customers.activity + rng.standard_normal(n))), 2),
        habit=np.digitize(customers.activity, [-1, 0, 1]),
        open_to_offers=np.where(customers.openness + 0.3 * rng.standard_normal(n) > 0, "yes", "no"),
        postcode=pd.Series(rng.integers(100, 400, n)).astype(str),
        born_on=pd.Timestamp("2024-01-01", tz="UTC") - pd.to_timedelta(365 * customers.age, unit="D"),
        phone_known=np.where(rng.random(n) < 0.7, "yes", None),
    )


def write_shop(world: World, folder: Path, tables: Tables | None = None) -> Path:
    """The data folder without its truth; these tables in place of the world's."""
    world = replace(world, **(tables or {}))
    folder.mkdir(parents=True, exist_ok=True)
    for name in _NAMES:
        write_table(folder, name, getattr(world, name))
    (folder / "perkwise.toml").write_text(SETTINGS.format(until=world.ends_at.isoformat()), encoding="utf-8")
    return folder


def examine(folder: Path, settings: Settings) -> tuple[Suspicion, ...]:
    """What a training would refuse or suspect, without a model."""
    source = read_source(folder, settings)
    split = Split.of(source.dataset, settings.training.test_share)
    rows, held_out = split.apply(source.dataset, source.history.user_ids)
    check_apart(rows, held_out, split.by)
    check_sufficient(rows.single())
    return find_suspicions(source, rows.single())


def tables_of(world: World) -> Tables:
    return {name: getattr(world, name).copy() for name in _NAMES}


@dataclass(frozen=True)
class Poison:
    """One way to spoil the tables, and what must come of it: a warning's name, or a refusal's words."""

    spoil: Callable[[Tables, np.random.Generator], None]
    warning: str | None = None
    where: str = ""
    says: str = ""  # a pattern of the figures, or of the refusal
    base: str = "shop"
    kind: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.spoil.__name__.strip("_"))


# What the tables say happened, for spoiling with.


def _after(t: Tables, days: float, margin: bool = False) -> pd.Series:
    """Orders of each user of `users` within days after their exposure, or what was spent; the trial's."""
    shown = t["exposures"].set_index("user_id")["shown_at"]
    orders = t["orders"]
    since = orders["ordered_at"] - orders["user_id"].map(shown)
    inside = orders[(since >= pd.Timedelta(0)) & (since < days * DAY)]
    grouped = inside.groupby("user_id")["amount"]
    found = grouped.sum() if margin else grouped.size()
    return t["users"]["user_id"].map(found).fillna(0.0)


def _took(t: Tables) -> pd.Series:
    used = t["events"][t["events"]["event"] == "used"]
    return t["users"]["user_id"].isin(used["user_id"])


def _alone(exposures: pd.DataFrame) -> pd.DataFrame:
    """Rows of lists of one service."""
    return exposures[(exposures["service_id"] != "") & ~exposures["slate_id"].duplicated(keep=False)]


def _late(times: pd.Series) -> pd.Series:
    """The second half of the rows, in time."""
    return times >= times.quantile(0.5)


# Users' attributes.


def label_as_attribute(t: Tables, rng: np.random.Generator) -> None:
    t["users"]["segment"] = np.where(_after(t, 14) > 0, "gold", "grey")


def noisy_label_as_attribute(t: Tables, rng: np.random.Generator) -> None:
    flipped = rng.random(len(t["users"])) < 0.1
    t["users"]["active"] = ((_after(t, 14) > 0) ^ flipped).astype(int)


def margin_as_attribute(t: Tables, rng: np.random.Generator) -> None:
    noise = np.exp(0.1 * rng.standard_normal(len(t["users"])))
    t["users"]["worth"] = np.round(_after(t, 14, margin=True) * noise, 2)


def future_attribute(t: Tables, rng: np.random.Generator) -> None:
    t["users"]["spent_next_month"] = _after(t, 30, margin=True)


def missing_where_nothing_came(t: Tables, rng: np.random.Generator) -> None:
    days = rng.uniform(1, 30, len(t["users"]))
    t["users"]["days_to_delivery"] = np.where(_after(t, 14) > 0, days, np.nan)


def uptake_as_attribute(t: Tables, rng: np.random.Generator) -> None:
    t["users"]["member"] = np.where(_took(t), "yes", "no")


def number_as_attribute(t: Tables, rng: np.random.Generator) -> None:
    t["users"]["customer_number"] = np.arange(len(t["users"])) + 100_000


def hash_as_attribute(t: Tables, rng: np.random.Generator) -> None:
    t["users"]["token"] = [f"{number:016x}" for number in rng.integers(2**62, size=len(t["users"]))]


def constant_attribute(t: Tables, rng: np.random.Generator) -> None:
    t["users"]["country"] = "SE"


def empty_attribute(t: Tables, rng: np.random.Generator) -> None:
    t["users"]["income"] = np.nan


def offer_as_attribute(t: Tables, rng: np.random.Generator) -> None:
    shown = t["exposures"].set_index("user_id")["service_id"]
    t["users"]["campaign"] = t["users"]["user_id"].map(shown).fillna("")


# What was shown.


def no_holdout(t: Tables, rng: np.random.Generator) -> None:
    t["exposures"] = t["exposures"][t["exposures"]["service_id"] != ""]


def no_treated(t: Tables, rng: np.random.Generator) -> None:
    t["exposures"] = t["exposures"][t["exposures"]["service_id"] == ""]


def holdout_rows_lost(t: Tables, rng: np.random.Generator) -> None:
    nothing = t["exposures"]["service_id"] == ""
    t["exposures"] = t["exposures"][~nothing | (rng.random(len(nothing)) < 0.6)]


def unknown_service(t: Tables, rng: np.random.Generator) -> None:
    t["exposures"]["service_id"] = t["exposures"]["service_id"].replace("S1", "S-one")


def empty_log(t: Tables, rng: np.random.Generator) -> None:
    t["exposures"] = t["exposures"].head(0)


def one_row(t: Tables, rng: np.random.Generator) -> None:
    t["exposures"] = _alone(t["exposures"]).head(1)


def shown_twice(t: Tables, rng: np.random.Generator) -> None:
    again = t["exposures"].assign(slate_id="again-" + t["exposures"]["slate_id"])
    t["exposures"] = pd.concat([t["exposures"], again])


def one_user_half_of_the_rows(t: Tables, rng: np.random.Generator) -> None:
    exposures = t["exposures"]
    own = exposures["user_id"].iloc[0]
    first = exposures["shown_at"][exposures["user_id"] == own].min()
    taken_over = (rng.random(len(exposures)) < 0.5) & (exposures["shown_at"] >= first)
    taken_over &= ~exposures["slate_id"].duplicated(keep=False)
    exposures["user_id"] = exposures["user_id"].where(~taken_over, own)


def shown_in_the_future(t: Tables, rng: np.random.Generator) -> None:
    t["exposures"]["shown_at"] += 36_500 * DAY


# Propensities.


def _times(t: Tables, factor: float | pd.Series) -> None:
    for column in ("propensity", "slate_propensity"):
        t["exposures"][column] = t["exposures"][column] * factor


def propensities_a_third(t: Tables, rng: np.random.Generator) -> None:
    _times(t, 1 / 3)


def propensities_of_one(t: Tables, rng: np.random.Generator) -> None:
    t["exposures"][["propensity", "slate_propensity"]] = 1.0


def propensities_too_low(t: Tables, rng: np.random.Generator) -> None:
    _times(t, 0.7)


def propensities_above_one(t: Tables, rng: np.random.Generator) -> None:
    _times(t, 100.0)


def propensities_of_zero(t: Tables, rng: np.random.Generator) -> None:
    _times(t, (rng.random(len(t["exposures"])) > 0.2) * 1.0)


def propensities_swapped(t: Tables, rng: np.random.Generator) -> None:
    """Those of nothing and of S2, in the trial."""
    logged = t["exposures"]["service_id"].map({"": TRIAL[2], "S1": TRIAL[1], "S2": TRIAL[0]})
    t["exposures"]["propensity"] = t["exposures"]["slate_propensity"] = logged


def propensities_that_do_not_sum_to_one(t: Tables, rng: np.random.Generator) -> None:
    _times(t, 1.1)


# Outcomes.


def never_used(t: Tables, rng: np.random.Generator) -> None:
    events = t["events"]
    t["events"] = events[(events["event"] != "used") | (events["service_id"] != "S1")]


def uses_under_another_name(t: Tables, rng: np.random.Generator) -> None:
    t["events"]["event"] = t["events"]["event"].replace("used", "use")


def _used(t: Tables) -> pd.DataFrame:
    return t["events"][t["events"]["event"] == "used"]


def _uses_of(rows: pd.DataFrame, service: pd.Series) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "event_id": "added-" + rows["slate_id"],
            "user_id": rows["user_id"],
            "event": "used",
            "at": rows["shown_at"] + DAY,
            "service_id": service,
            "value": 1.0,
        }
    )


def always_used(t: Tables, rng: np.random.Generator) -> None:
    rows = t["exposures"][t["exposures"]["service_id"] == "S1"]
    t["events"] = pd.concat([t["events"], _uses_of(rows, rows["service_id"])])


def used_and_unused_exchanged(t: Tables, rng: np.random.Generator) -> None:
    rows = t["exposures"][t["exposures"]["service_id"] != ""]
    pairs = rows[["slate_id", "user_id", "service_id", "shown_at"]].merge(
        _used(t)[["event_id", "user_id", "service_id", "at"]], on=["user_id", "service_id"]
    )
    inside = pairs[(pairs["at"] >= pairs["shown_at"]) & (pairs["at"] < pairs["shown_at"] + 7 * DAY)]
    unused = rows[~rows["slate_id"].isin(inside["slate_id"])]
    events = t["events"][~t["events"]["event_id"].isin(inside["event_id"])]
    unused = unused.drop_duplicates("slate_id")
    t["events"] = pd.concat([events, _uses_of(unused, unused["service_id"])])


def ordered_and_unordered_exchanged(t: Tables, rng: np.random.Generator) -> None:
    rows = t["exposures"].drop_duplicates("slate_id")[["slate_id", "user_id", "shown_at"]]
    pairs = rows.merge(t["orders"][["order_id", "user_id", "ordered_at"]], on="user_id")
    since = pairs["ordered_at"] - pairs["shown_at"]
    inside = pairs[(since >= pd.Timedelta(0)) & (since < 14 * DAY)]
    unordered = rows[~rows["slate_id"].isin(inside["slate_id"])]
    added = pd.DataFrame(
        {
            "order_id": "added-" + unordered["slate_id"],
            "user_id": unordered["user_id"],
            "ordered_at": unordered["shown_at"] + DAY,
            "amount": np.round(rng.uniform(20, 80, len(unordered)), 2),
        }
    )
    t["orders"] = pd.concat([t["orders"][~t["orders"]["order_id"].isin(inside["order_id"])], added])


def holdout_that_was_none(t: Tables, rng: np.random.Generator) -> None:
    alone = _alone(t["exposures"])
    nothing = t["exposures"][t["exposures"]["service_id"] == ""]
    used = _used(t)[["user_id", "service_id", "at"]].merge(
        alone[["user_id", "service_id", "shown_at", "slate_id"]], on=["user_id", "service_id"]
    )
    inside = (used["at"] >= used["shown_at"]) & (used["at"] < used["shown_at"] + 7 * DAY)
    rate = used[inside]["slate_id"].nunique() / len(alone)
    took = nothing[rng.random(len(nothing)) < rate]
    service = pd.Series(rng.choice(alone["service_id"], len(took)), index=took.index)
    t["events"] = pd.concat([t["events"], _uses_of(took, service)])


def users_of_exposures_shuffled(t: Tables, rng: np.random.Generator) -> None:
    ids = t["users"]["user_id"].to_numpy()
    other = dict(zip(ids, rng.permutation(ids)))
    t["exposures"]["user_id"] = t["exposures"]["user_id"].map(other)


def users_of_orders_shuffled(t: Tables, rng: np.random.Generator) -> None:
    t["orders"]["user_id"] = rng.permutation(t["orders"]["user_id"])


def users_of_another_system(t: Tables, rng: np.random.Generator) -> None:
    """Users of long standing, each with the orders of somebody else."""
    t["users"]["joined_at"] = t["users"]["joined_at"].min()
    ids = t["users"]["user_id"].to_numpy()
    t["orders"]["user_id"] = t["orders"]["user_id"].map(dict(zip(ids, rng.permutation(ids))))


def margins_not_a_number(t: Tables, rng: np.random.Generator) -> None:
    margin = 0.3 * t["orders"]["amount"]
    t["orders"]["margin"] = margin.mask(rng.random(len(margin)) < 0.2, np.inf)


def no_orders_after(t: Tables, rng: np.random.Generator) -> None:
    first = t["exposures"]["shown_at"].min()
    t["orders"] = t["orders"][t["orders"]["ordered_at"] < first]


def orders_cut_off(t: Tables, rng: np.random.Generator) -> None:
    orders = t["orders"]
    t["orders"] = orders[orders["ordered_at"] < orders["ordered_at"].max() - 35 * DAY]


def uses_cut_off(t: Tables, rng: np.random.Generator) -> None:
    events = t["events"]
    late = events["at"] > events["at"].max() - 35 * DAY
    t["events"] = events[(events["event"] != "used") | ~late]


# Units and clocks.


def amounts_in_cents_from_halfway(t: Tables, rng: np.random.Generator) -> None:
    late = _late(t["orders"]["ordered_at"])
    t["orders"]["amount"] *= np.where(late, 100, 1)


def margins_in_cents_from_halfway(t: Tables, rng: np.random.Generator) -> None:
    late = _late(t["orders"]["ordered_at"])
    t["orders"]["margin"] = np.round(0.3 * t["orders"]["amount"] * np.where(late, 100, 1), 2)


def another_currency_from_halfway(t: Tables, rng: np.random.Generator) -> None:
    late = _late(t["orders"]["ordered_at"])
    t["orders"]["amount"] = np.round(t["orders"]["amount"] * np.where(late, 4.3, 1), 2)


def margins_in_cents(t: Tables, rng: np.random.Generator) -> None:
    t["orders"]["margin"] = np.round(30 * t["orders"]["amount"], 2)


def another_time_zone_from_halfway(t: Tables, rng: np.random.Generator) -> None:
    """The shop is open in the day; from halfway on its hours are written five hours late."""
    at = t["events"]["at"]
    hour = np.clip(rng.normal(13, 2.5, len(at)), 0, 23.9)
    t["events"]["at"] = at.dt.floor("D") + pd.to_timedelta(hour + 5 * _late(at), unit="h").to_numpy()
    joined = t["events"]["user_id"].map(t["users"].set_index("user_id")["joined_at"])
    t["events"] = t["events"][t["events"]["at"] >= joined]


def exposures_a_day_late_from_halfway(t: Tables, rng: np.random.Generator) -> None:
    late = _late(t["exposures"]["shown_at"])
    t["exposures"]["shown_at"] += pd.to_timedelta(np.where(late, 26, 0), unit="h")


def exposures_after_the_outcome(t: Tables, rng: np.random.Generator) -> None:
    t["exposures"]["shown_at"] += 8 * DAY


def shown_to_those_who_just_ordered(t: Tables, rng: np.random.Generator) -> None:
    """A list of one, where somebody ordered within its window, is logged an hour after that order."""
    rows = _alone(t["exposures"])[["slate_id", "user_id", "shown_at"]]
    pairs = rows.merge(t["orders"][["user_id", "ordered_at"]], on="user_id")
    since = pairs["ordered_at"] - pairs["shown_at"]
    inside = pairs[(since >= pd.Timedelta(0)) & (since < 14 * DAY)]
    first = inside.groupby("slate_id")["ordered_at"].min() + pd.Timedelta(hours=1)
    moved = t["exposures"]["slate_id"].map(first)
    t["exposures"]["shown_at"] = t["exposures"]["shown_at"].where(moved.isna(), moved)


# Who the users are.


def users_twice(t: Tables, rng: np.random.Generator) -> None:
    chosen = t["users"]["user_id"][rng.random(len(t["users"])) < 0.1]
    keys = {"orders": "order_id", "events": "event_id", "exposures": "slate_id"}
    for name in ("users", *keys):
        rows = t[name][t[name]["user_id"].isin(chosen)]
        again = rows.assign(user_id="again-" + rows["user_id"])
        if name in keys:
            again[keys[name]] = "again-" + rows[keys[name]]
        t[name] = pd.concat([t[name], again])


def robots(t: Tables, rng: np.random.Generator) -> None:
    ids = t["users"].sort_values("joined_at")["user_id"].head(3)
    at = t["events"]["at"].quantile(0.5) + pd.to_timedelta(rng.uniform(0, 40, 9_000), unit="D")
    views = pd.DataFrame(
        {
            "event_id": [f"robot-{number}" for number in range(9_000)],
            "user_id": np.repeat(ids.to_numpy(), 3_000),
            "event": "viewed",
            "at": at.round("us"),
            "service_id": "S1",
            "value": np.nan,
        }
    )
    t["events"] = pd.concat([t["events"], views])


POISONS = (
    Poison(label_as_attribute, "outcome_in_profile", "users.segment", base="trial"),
    Poison(noisy_label_as_attribute, "outcome_in_profile", "users.active", base="trial"),
    Poison(margin_as_attribute, "outcome_in_profile", "users.worth", base="trial"),
    Poison(future_attribute, "outcome_in_profile", "users.spent_next_month", base="trial"),
    Poison(missing_where_nothing_came, "outcome_in_profile", "users.days_to_delivery", base="trial"),
    Poison(uptake_as_attribute, "outcome_in_profile", "users.member", "of uptake", base="trial"),
    Poison(number_as_attribute, "identifier_attribute", "users.customer_number", "900 different values"),
    Poison(hash_as_attribute, "identifier_attribute", "users.token", "900 different values"),
    Poison(constant_attribute, "constant_attribute", "users.country", "1 value in 900 users"),
    Poison(empty_attribute, "empty_attribute", "users.income", "no value in 900 users"),
    Poison(offer_as_attribute, "offer_in_profile", "users.campaign", base="trial"),
    Poison(no_holdout, says="exposures must hold rows without a service"),
    Poison(no_treated, says="exposures must hold lists of exactly one service"),
    Poison(holdout_rows_lost, "propensity_level", "nothing"),
    Poison(unknown_service, "rows_quarantined", "exposures", "known_service"),
    Poison(empty_log, says="exposures must hold at least one row to learn from"),
    Poison(one_row, says="rows to hold out, found 0 and 1|held-out exposures must be there, found none"),
    Poison(shown_twice, "duplicated_exposures", "exposures"),
    Poison(one_user_half_of_the_rows, "dominant_user", "user U"),
    Poison(shown_in_the_future, says="All [0-9,]+ rows break the contract"),
    Poison(propensities_a_third, says="every decision with its true propensity"),
    Poison(propensities_of_one, says="every decision with its true propensity"),
    Poison(propensities_too_low, "propensity_level", "nothing"),
    Poison(propensities_above_one, says="All [0-9,]+ rows break the contract"),
    Poison(propensities_of_zero, "rows_quarantined", "exposures", "probability"),
    Poison(propensities_swapped, "propensity_level", "nothing", base="trial"),
    Poison(propensities_that_do_not_sum_to_one, "propensity_sum", "exposures.propensity", base="trial"),
    Poison(never_used, "one_class_service", "service S1"),
    Poison(always_used, "one_class_service", "service S1"),
    Poison(uses_under_another_name, says="events `used` within 7 days after an offer must differ"),
    Poison(used_and_unused_exchanged, "uptake_inverted", "events used"),
    Poison(ordered_and_unordered_exchanged, "repurchase_inverted", "orders"),
    Poison(holdout_that_was_none, "holdout_like_offered", "events used"),
    Poison(users_of_exposures_shuffled, "holdout_like_offered", "events used"),
    Poison(users_of_orders_shuffled, "rows_quarantined", "orders", "not_before_joined"),
    Poison(users_of_another_system, "tables_unrelated", "orders, events"),
    Poison(margins_not_a_number, "rows_quarantined", "orders", "finite"),
    Poison(no_orders_after, says="orders within 14 days after an exposure must differ"),
    Poison(orders_cut_off, "outcome_gap", "orders"),
    Poison(uses_cut_off, "outcome_gap", "events used"),
    Poison(amounts_in_cents_from_halfway, "unit_change", "orders.amount", "times as large"),
    Poison(margins_in_cents_from_halfway, "unit_change", "orders.margin", "times as large"),
    Poison(another_currency_from_halfway, "unit_change", "orders.amount", "times as large"),
    Poison(margins_in_cents, "margin_above_amount", "orders.margin"),
    Poison(another_time_zone_from_halfway, "clock_shift", "events", r"\+5 h"),
    Poison(exposures_a_day_late_from_halfway, "use_before_offer", "exposures.shown_at"),
    Poison(exposures_after_the_outcome, "holdout_like_offered", "events used"),
    Poison(shown_to_those_who_just_ordered, "order_before_choice", "exposures.shown_at"),
    Poison(users_twice, "duplicated_users", "users"),
    Poison(robots, "busy_user", "events"),
)
