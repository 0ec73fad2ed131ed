"""How often the intervals of the values of lists hold the truth, on made logs whose truth is known.

python -m benchmarks.list_value                    # 1,000 logs of each kind: three minutes
python -m benchmarks.list_value --logs 100 --json
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from itertools import permutations
from math import perm

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.settings import DecisionSettings
from offers.types import Estimates, Service
from training.dataset import NOTHING
from training.evaluation.list_value import ListLog, value_of_change, value_of_lists
from training.list_policies import ListCase

Floats = NDArray[np.float64]

LEVEL = 0.95
_TYPES = 40  # of customers: within a type all answer alike
_CHOICE = DecisionSettings(choice_load=0.4, similarity_load=0.5)
_LOGS_A_WORLD = 10
FIGURES = ("exact", "snips", "any_order", "by_service")


@dataclass(frozen=True)
class Kind:
    """How the logs of one kind come about."""

    n_services: int = 6
    longest: int = 2
    n: int = 5000  # decisions
    decisions_a_user: float = 2.0
    holdout: float = 0.1
    explore: float = 0.6  # of the others; the rest is shown the old policy's list
    is_heavy: bool = False  # margins with a log-normal tail, without a cap
    breaks_rule: bool = False  # lists earn half of what the choice model says


KINDS = {
    "6 services, lists of 2, 5,000 decisions": Kind(),
    "all explored, 3,000 decisions": Kind(explore=1.0, n=3000),
    "12 services, lists of 2, 5,000 decisions": Kind(n_services=12, explore=0.8),
    "10 decisions a customer": Kind(decisions_a_user=10.0),
    "heavy tails": Kind(is_heavy=True),
    "lists earn less than the choice model says": Kind(breaks_rule=True),
}


@dataclass(frozen=True)
class World:
    """What is true of every list for every type of customer; lists are numbered, the first is empty."""

    lists: NDArray[np.intp]  # (n_lists, longest)
    catalog: Catalog
    uptake: Floats  # (_TYPES, n_services)
    uplift: Floats
    net: Floats  # (_TYPES, n_lists) expected margin after costs
    served: NDArray[np.intp]  # (_TYPES,) the old policy's list
    target: NDArray[np.intp]  # the new one's
    model: Estimates  # of every type, with errors


@dataclass(frozen=True)
class Coverage:
    """Of the logs of one kind: how often each interval holds the truth."""

    kind: str
    n_logs: int
    value: dict[str, float]  # of the new policy, by estimator
    gain: dict[str, float]  # of the new over the old one
    half_width: dict[str, float]  # median, of the gain; currency units
    effective_n: float  # median, of the new policy
    true_gain: float  # mean


def make_world(kind: Kind, rng: np.random.Generator) -> World:
    """Services of random uptake and uplift, and two policies that err each in their own way."""
    n_services = kind.n_services
    named = [
        Service(f"s{number:02d}", f"S{number}", f"c{number % 4}", unit_cost=unit, contact_cost=contact)
        for number, (unit, contact) in enumerate(rng.uniform(0, [0.5, 0.1], (n_services, 2)))
    ]
    catalog = Catalog.of(named)
    lists = np.full((1 + sum(perm(n_services, n) for n in range(1, kind.longest + 1)), kind.longest), NOTHING)
    row = 1
    for n in range(1, kind.longest + 1):
        for one in permutations(range(n_services), n):
            lists[row, :n] = one
            row += 1
    uptake = rng.uniform(0.05, 0.5, (_TYPES, n_services))
    uplift = rng.normal(0.5, 1.5, (_TYPES, n_services))
    net = _net(lists, uptake, uplift, catalog)
    if kind.breaks_rule:
        net = np.where((lists >= 0).sum(axis=1) > 1, 0.5 * net + 0.5 * net[:, :1], net)
    error = rng.normal(0, 0.5, uplift.shape)
    return World(
        lists=lists,
        catalog=catalog,
        uptake=uptake,
        uplift=uplift,
        net=net,
        served=(net + rng.normal(0, 0.5, net.shape)).argmax(axis=1),
        target=_net(lists, uptake, uplift + error, catalog).argmax(axis=1),
        model=Estimates(uptake, uplift, uplift + error),
    )


def _net(lists: NDArray[np.intp], uptake: Floats, uplift: Floats, catalog: Catalog) -> Floats:
    """Expected margin less costs by the choice model, shape (_TYPES, n_lists), written anew for this."""
    shown, at = lists >= 0, np.maximum(lists, 0)
    odds = np.where(shown, (uptake / (1 - uptake))[:, at], 0.0)
    length, category = shown.sum(axis=1), catalog.category
    alike = [n - len({int(category[s]) for s in one if s >= 0}) for n, one in zip(length, lists)]
    effort = 1 + _CHOICE.choice_load * (np.maximum(length, 1) - 1 + _CHOICE.similarity_load * np.array(alike))
    take = odds / (effort + odds.sum(axis=2))[:, :, None]
    alone = (uplift / uptake - catalog.unit_cost)[:, at]
    return 4 + (take * alone).sum(axis=2) - np.where(shown, catalog.contact_cost[at], 0.0).sum(axis=1)


def draw_log(world: World, kind: Kind, rng: np.random.Generator) -> tuple[ListCase, NDArray[np.intp]]:
    """A log with exact propensities, and each row's type of customer."""
    n_users = int(kind.n / kind.decisions_a_user)
    user = np.sort(rng.integers(0, n_users, kind.n))
    of_type = rng.integers(0, _TYPES, n_users)[user]
    length = (world.lists >= 0).sum(axis=1)
    n_lists = np.array([perm(kind.n_services, n) for n in length])
    uniform = np.where(length > 0, 1 / kind.longest / n_lists, 0.0)
    point = rng.random(kind.n)
    drawn = rng.choice(len(uniform), kind.n, p=uniform)
    explored = point < kind.holdout + (1 - kind.holdout) * kind.explore
    shown = np.where(point < kind.holdout, 0, np.where(explored, drawn, world.served[of_type]))
    served = (1 - kind.holdout) * (1 - kind.explore) * (shown == world.served[of_type])
    propensity = kind.holdout * (shown == 0) + (1 - kind.holdout) * kind.explore * uniform[shown] + served
    spread = rng.lognormal(-0.5, 1.0, kind.n) if kind.is_heavy else rng.gamma(2.0, 0.5, kind.n)
    habit = rng.gamma(4.0, 0.25, n_users)[user]
    value = world.net[of_type, shown] + 4 * (habit * spread - 1)
    model = world.model.take(of_type)
    places = world.lists[shown]
    expected = _net(world.lists, world.uptake, world.model.uplift_margin, world.catalog)[of_type, shown]
    log = ListLog(user, value, propensity, expected, "EUR")
    gain = model.uplift_margin - model.uptake * world.catalog.unit_cost
    may = np.ones(model.uptake.shape, bool)
    baseline = np.full(kind.n, 4.0)
    return ListCase(log, places, may, model.uptake, gain, baseline, world.catalog, _CHOICE), of_type


def follow(kind: Kind, n_logs: int, seed: int) -> Coverage:
    """Draws logs and counts the intervals that hold the truth; customers of all types are as many."""
    name = next((name for name, one in KINDS.items() if one == kind), "made")
    held: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {figure: [] for figure in FIGURES}
    effective, gains = [], []
    for number in range(n_logs):
        world = make_world(kind, np.random.default_rng([seed, number // _LOGS_A_WORLD]))
        case, of_type = draw_log(world, kind, np.random.default_rng([seed, number, 1]))
        old = case.policy(world.lists[world.served[of_type]])
        new = case.policy(world.lists[world.target[of_type]])
        every = np.arange(_TYPES)
        new_value = world.net[every, world.target].mean()
        gain = new_value - world.net[every, world.served].mean()
        change, figures = value_of_change(case.log, old, new, LEVEL), value_of_lists(case.log, new, LEVEL)
        for figure in FIGURES:
            found, difference = getattr(figures, figure), getattr(change, figure)
            held.setdefault(f"value {figure}", []).append(found.low <= new_value <= found.high)
            held.setdefault(f"gain {figure}", []).append(difference.low <= gain <= difference.high)
            widths[figure].append((difference.high - difference.low) / 2)
        effective.append(figures.effective_n)
        gains.append(gain)
    return Coverage(
        name,
        n_logs,
        value={figure: float(np.mean(held[f"value {figure}"])) for figure in FIGURES},
        gain={figure: float(np.mean(held[f"gain {figure}"])) for figure in FIGURES},
        half_width={figure: float(np.median(widths[figure])) for figure in FIGURES},
        effective_n=float(np.median(effective)),
        true_gain=float(np.mean(gains)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--logs", type=int, default=1000, help="of each kind (1,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    found = []
    for name, kind in KINDS.items():
        print(f"{len(found)} of {len(KINDS)} kinds: {name}", file=sys.stderr)
        found.append(follow(kind, arguments.logs, arguments.seed))
    if arguments.json:
        print(json.dumps({"coverage": [asdict(one) for one in found]}))
        return
    print(_table(found))


def _table(found: list[Coverage]) -> str:
    headings = [f"{what} {figure}" for what in ("value", "gain") for figure in FIGURES]
    lines = [
        f"| logs | effective n | {' | '.join(headings)} | half width of the gain: exact | by_service |",
        "|---" * (len(headings) + 4) + "|",
    ]
    for one in found:
        cells = [f"{part[figure]:.1%}" for part in (one.value, one.gain) for figure in FIGURES]
        cells += [f"{one.half_width[figure]:.2f}" for figure in ("exact", "by_service")]
        lines.append(f"| {one.kind} | {one.effective_n:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
