"""Four loops in the same world, with the same luck: share of the oracle's value, week by week."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.simulation.decisions import ARMS, Decisions
from offers import exploration
from offers.settings import Settings
from offers.types import Progress
from training.loop.learner import LOOPS, Loop, Notes, Plan, Rules
from training.loop.market import Market, Truth

SHIFT_SHARE = 1 / 3  # of the services pass their effects on when the world shifts
LONGEST = 3  # services in a list: hardly anybody's best list in this world is longer


@dataclass(frozen=True)
class LoopWeek:
    """What one loop's week was worth and cost; money is a user, in currency units."""

    policy_share: float  # of the oracle's value: the policies' lists, without holdout and chance
    served_share: float  # the same of all that was shown, holdout and exploration included
    value: float  # true expected net margin beyond showing nothing, of the policies' lists
    spend: float  # expected cost of what was shown
    notes: Notes


@dataclass(frozen=True)
class SimulatedWeek:
    week: int
    oracle: float  # expected net margin a user beyond showing nothing
    loops: dict[str, LoopWeek]


@dataclass(frozen=True)
class Simulation:
    """What a run was asked for, and what came of it."""

    users: int
    services: int
    seed: int
    shift_week: int  # 0: none
    weeks: tuple[SimulatedWeek, ...]

    def shares(self, loop: str) -> NDArray[np.float64]:
        """The loop's share of the oracle's value by week."""
        return np.array([week.loops[loop].policy_share for week in self.weeks])

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and texts, as the command prints them."""
        return {
            "users": self.users,
            "services": self.services,
            "seed": self.seed,
            "shift_week": self.shift_week or None,
            "weeks": [
                {
                    "week": week.week,
                    "oracle_value": week.oracle,
                    "oracle_share": {name: one.policy_share for name, one in week.loops.items()},
                    "served_share": {name: one.served_share for name, one in week.loops.items()},
                    "value": {name: one.value for name, one in week.loops.items()},
                    "spend": {name: one.spend for name, one in week.loops.items()},
                    "notes": {name: asdict(one.notes) for name, one in week.loops.items()},
                }
                for week in self.weeks
            ],
        }

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> "Simulation":
        """What `to_json` told."""
        return cls(
            users=answer["users"],
            services=answer["services"],
            seed=answer["seed"],
            shift_week=answer["shift_week"] or 0,
            weeks=tuple(_week_from_json(week) for week in answer["weeks"]),
        )


def _week_from_json(week: Mapping[str, Any]) -> SimulatedWeek:
    oracle = week["oracle_value"]
    loops = {
        name: LoopWeek(
            policy_share=share,
            served_share=week["served_share"][name],
            value=week["value"][name],
            spend=week["spend"][name],
            notes=Notes(**{**week["notes"][name], "drifted": tuple(week["notes"][name]["drifted"])}),
        )
        for name, share in week["oracle_share"].items()
    }
    return SimulatedWeek(week["week"], oracle, loops)


def simulate(
    n_users: int,
    n_services: int,
    n_weeks: int,
    seed: int,
    settings: Settings,
    shift_week: int = 7,
    progress: Progress | None = None,
    loops: Sequence[Rules] = LOOPS,
) -> Simulation:
    """Run the loops; the same arguments give the same numbers.

    Parameters
    ----------
    shift_week : int
        The first week whose answers are those of a changed world; 0, or after the last: it never changes.

    Raises
    ------
    ValueError
        Where a size is too small.
    """
    weeks = live(n_users, n_services, n_weeks, seed, settings, shift_week, progress, loops)
    return Simulation(n_users, n_services, seed, shift_week if shift_week <= n_weeks else 0, tuple(weeks))


def live(
    n_users: int,
    n_services: int,
    n_weeks: int,
    seed: int,
    settings: Settings,
    shift_week: int = 7,
    progress: Progress | None = None,
    loops: Sequence[Rules] = LOOPS,
) -> Iterator[SimulatedWeek]:
    """The weeks of `simulate`, each as soon as it is over."""
    longest = min(settings.decision.max_services, LONGEST)
    settings = replace(settings, decision=replace(settings.decision, max_services=longest))
    market = Market.open(n_users, n_services, n_weeks, np.random.default_rng([seed, 0]))
    held_out = np.array(
        [exploration.in_holdout(user, settings.exploration) for user in market.user_ids], dtype=bool
    )
    first = Loop(LOOPS[0], settings, market, held_out, seed)
    running = [first]
    for week in range(1, n_weeks + 1):
        if week == shift_week:
            for loop in running:
                loop.market = loop.market.shift(SHIFT_SHARE, np.random.default_rng([seed, 1]))
        truth = running[0].market.truth()
        oracle = truth.worth(truth.oracle(settings.decision.max_services))
        if week == 2:
            running = [first.fork(rules) for rules in loops]
        found = {}
        for place, loop in enumerate(running):
            plan = loop.plan(loop.market.profiles(loop.market.history()))
            found[loop.rules.name] = _judged(plan, truth, float(oracle.mean()), held_out)
            _answer(loop, plan, np.random.default_rng([seed, week, 0]))
            if progress:
                done = (week - 1) * len(loops) + (place + 1 if week > 1 else len(loops))
                progress("weeks × loops", done, n_weeks * len(loops))
        if week == 1:
            found = {rules.name: found[first.rules.name] for rules in loops}
        yield SimulatedWeek(week, float(oracle.mean()), found)


def _answer(loop: Loop, plan: Plan, rng: np.random.Generator) -> None:
    """The world answers, and the loop hears it; all loops draw the same luck."""
    n_users, shown = len(plan.shown.lists), plan.shown
    decisions = Decisions(
        user=np.arange(n_users),
        day=np.full(n_users, loop.market.shop.day),
        slates=shown.lists,
        arm=np.array([ARMS.index(arm) for arm in shown.arms.tolist()]),
        slate_propensity=shown.slate_propensity,
        propensity=shown.propensity,
    )
    market = loop.market.answer(decisions, rng)
    loop.hear(market, market.last_week(market.history(), shown.lists.shape[1]))


def _judged(plan: Plan, truth: Truth, oracle: float, held_out: NDArray[np.bool_]) -> LoopWeek:
    served = truth.worth(plan.shown.lists)
    if plan.policies:
        value = sum(share * float(truth.worth(lists).mean()) for share, lists in plan.policies)
    else:
        value = float(served[~held_out].mean())
    return LoopWeek(
        policy_share=value / oracle,
        served_share=float(served.mean()) / oracle,
        value=value,
        spend=float(truth.spend(plan.shown.lists).mean()),
        notes=plan.notes,
    )
