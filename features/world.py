"""Simulated customers whose truth is known: every table of the contract, and what each offer would do.

Users have tastes, habits and moods that show in what they do; services work in different ways (see
`world_services.ROLES`); a logging policy with known probabilities shows lists, and nothing to some at
random (`world_decisions`); users answer by the closed forms of `world_response`. One exposure never
reaches into the outcome window of the next, and what was offered earlier changes nothing later.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.simulation.behaviour import (
    Happenings,
    count_uses,
    draw_clicks,
    draw_feedback,
    draw_orders,
    draw_unasked_uses,
    draw_uses,
    draw_views,
    draw_visits,
    outside_uptake_windows,
    with_minutes,
)
from features.simulation.customers import Customers, draw_customers
from features.simulation.decisions import BURN_IN_DAYS, Decisions, LoggingPolicy, decide
from features.simulation.response import (
    CHOICE_LOAD,
    MARGIN_RATE,
    REPURCHASE_DAYS,
    UPTAKE_DAYS,
    Response,
    answer,
    respond,
)
from features.simulation.services import Offering, draw_offering
from features.simulation.tables import (
    Labels,
    effects_table,
    events_table,
    exposures_table,
    feedback_table,
    orders_table,
    services_table,
    users_table,
)
from features.tables import write_table
from offers.types import Progress

WORLD_ENDS = pd.Timestamp("2025-06-30", tz="UTC")  # unless told otherwise
HELD_OUT_SHARE = 0.3  # of the decisions come at or after `held_out_from`
LEAST_DAYS = 100  # every user lives to see a decision and the end of its window

_TABLES = ("users", "services", "orders", "events", "exposures", "feedback")
_N_STAGES = 5


@dataclass(frozen=True)
class World:
    """The tables as they stand in files, and the truth about them.

    Attributes
    ----------
    users, services, orders, events, exposures, feedback : DataFrame
        The tables of the contract; money in currency units, times UTC, ids text.
    effects : DataFrame
        user_id, service_id, uptake, uplift_repurchase, uplift_margin (currency units, before costs): the
        truth of each pair if offered alone at `held_out_from`.
    customers, offering, decisions, policy
        What the tables were drawn from, in the same order of users and services.
    """

    users: pd.DataFrame
    services: pd.DataFrame
    orders: pd.DataFrame
    events: pd.DataFrame
    exposures: pd.DataFrame
    feedback: pd.DataFrame
    effects: pd.DataFrame
    n_days: int
    ends_at: pd.Timestamp
    held_out_from: pd.Timestamp
    customers: Customers
    offering: Offering
    decisions: Decisions
    policy: LoggingPolicy

    @property
    def starts_at(self) -> pd.Timestamp:
        """Day 0."""
        return self.ends_at - pd.Timedelta(days=self.n_days)

    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings under which the tables and the truth mean the same."""
        return {
            "money": {"currency": "EUR", "margin_rate": MARGIN_RATE},
            "windows": {
                "uptake_days": UPTAKE_DAYS,
                "repurchase_days": REPURCHASE_DAYS,
                "complete_until": self.ends_at.isoformat(),
            },
            "training": {"test_share": HELD_OUT_SHARE},
        }

    def truth(self, seed: int | None = None) -> dict[str, Any]:
        """What truth/world.json holds beside the effects."""
        return {
            "held_out_from": self.held_out_from.isoformat(),
            "choice_load": CHOICE_LOAD,
            "uptake_days": UPTAKE_DAYS,
            "repurchase_days": REPURCHASE_DAYS,
            "margin_rate": MARGIN_RATE,
            "harmed_share": float((self.effects["uplift_margin"] < 0).mean()),
            "n_users": len(self.customers),
            "n_services": len(self.offering),
            "n_days": self.n_days,
            "seed": seed,
            "roles": dict(zip(self.services["service_id"], self.offering.role_names)),
            "rare": self.services["service_id"][self.offering.is_rare].tolist(),
        }


def make_world(
    n_users: int,
    n_services: int,
    n_days: int,
    rng: np.random.Generator,
    progress: Progress | None = None,
    ends_at: pd.Timestamp = WORLD_ENDS,
) -> World:
    """A world of that size that ends at a moment; the same state of `rng` gives the same world.

    Raises
    ------
    ValueError
        One error that lists every size that is too small.

    Examples
    --------
    >>> world = make_world(50, 4, 120, np.random.default_rng(0))
    >>> world.effects.columns.tolist()
    ['user_id', 'service_id', 'uptake', 'uplift_repurchase', 'uplift_margin']
    >>> len(world.effects)
    200
    """
    _check_sizes(n_users, n_services, n_days)
    step = _steps(progress)
    customers = draw_customers(n_users, n_days, rng)
    offering = draw_offering(n_services, rng)
    step()
    visits = draw_visits(customers, n_days, rng)
    views = draw_views(customers, offering, n_days, rng)
    unasked = draw_unasked_uses(customers, offering, n_days, rng)
    early = unasked.take(unasked.day < customers.start_day[unasked.user] + BURN_IN_DAYS)
    step()
    policy = LoggingPolicy.of(offering, count_uses(early, n_users, n_services))
    decisions = decide(customers, policy, n_days, rng)
    answers = answer(customers, offering, decisions.user, decisions.day, decisions.slates, rng)
    step()
    orders = draw_orders(customers, decisions, answers, n_days, rng)
    clicks = draw_clicks(customers, decisions, answers, rng)
    unasked = outside_uptake_windows(unasked, decisions, n_users)
    uses = Happenings.joined(unasked, draw_uses(decisions, answers, rng))
    uses = with_minutes(customers, offering, uses, rng)
    feedback = draw_feedback(customers, offering, uses, n_days, rng)
    step()
    labels = Labels.of(n_users, n_services, ends_at - pd.Timedelta(days=n_days))
    events = {"viewed": views, "visited": visits, "clicked": clicks, "used": uses}
    held_out_day = float(np.quantile(decisions.day, 1 - HELD_OUT_SHARE))
    world = World(
        users=users_table(customers, labels),
        services=services_table(offering, labels),
        orders=orders_table(orders, labels),
        events=events_table(events, labels),
        exposures=exposures_table(decisions, labels),
        feedback=feedback_table(feedback, labels),
        effects=effects_table(responses_at(customers, offering, held_out_day), labels),
        n_days=n_days,
        ends_at=ends_at,
        held_out_from=labels.time_of(np.array([held_out_day]))[0],
        customers=customers,
        offering=offering,
        decisions=decisions,
        policy=policy,
    )
    step()
    return world


def responses_at(
    customers: Customers, offering: Offering, day: float, repurchase_days: int = REPURCHASE_DAYS
) -> list[Response]:
    """How every user answers to each service if it is offered alone on that day; one response a service."""
    users = np.arange(len(customers))
    days = np.full(len(users), day)
    return [
        respond(customers, offering, users, np.full(len(users), service), days, repurchase_days)
        for service in range(len(offering))
    ]


def write_world(world: World, folder: Path, seed: int | None = None) -> None:
    """Write the tables, the world's own perkwise.toml and the truth; the same world, the same bytes.

    Files of the same names are replaced. `seed` is only noted in truth/world.json.
    """
    truth = folder / "truth"
    truth.mkdir(parents=True, exist_ok=True)
    for name in _TABLES:
        write_table(folder, name, getattr(world, name))
    (folder / "perkwise.toml").write_text(_as_toml(world.settings()), encoding="utf-8")
    world.effects.to_parquet(truth / "effects.parquet", index=False)
    (truth / "world.json").write_text(json.dumps(world.truth(seed), indent=2) + "\n", encoding="utf-8")


def _as_toml(settings: dict[str, dict[str, Any]]) -> str:
    """Sections of numbers and plain texts; JSON writes both as TOML does."""
    lines = ["# Set by the simulated world: its truth is told in these units and windows."]
    for section, values in settings.items():
        lines += ["", f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _check_sizes(n_users: int, n_services: int, n_days: int) -> None:
    least = {"n_users": (n_users, 1), "n_services": (n_services, 2), "n_days": (n_days, LEAST_DAYS)}
    faults = [
        f"{name} must be at least {low}, got {size}." for name, (size, low) in least.items() if size < low
    ]
    if faults:
        raise ValueError(" ".join(faults))


def _steps(progress: Progress | None) -> Callable[[], None]:
    """A call for the end of each stage."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress:
            progress("world", done, _N_STAGES)

    return step
