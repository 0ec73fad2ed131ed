"""How many logged lists it takes to learn how long a list should be.

python -m benchmarks.choice_load        # 20 worlds for each line, minutes; --worlds 3, --seed, --json
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.choice import attraction, choice_effort, count_alike
from offers.policy import decide
from offers.settings import DecisionSettings
from offers.types import Estimates, Service
from training.choice_load import ChoiceLoads, ListChoices, choice_loads

Floats = NDArray[np.float64]

TIERS = ("basic", "bronze", "silver", "gold", "platinum", "diamond")
NO_LOAD = dict.fromkeys(TIERS, 0.0)
LIMIT = 10  # services that a decided list may hold
SIMILARITY = 0.5
MIDDLE_LOAD = 0.0229  # A0(35) / A0(12) = 1.42 among services that are all of different categories
_LINES = ((10_000, 6), (30_000, 6), (60_000, 6), (120_000, 6), (10_000, 12), (30_000, 12), (60_000, 12))


@dataclass(frozen=True)
class Shop:
    """Services whose uptake differs by user, and tiers that find choosing hard to a known degree."""

    rng: np.random.Generator
    loads: Mapping[str, float]
    catalog: Catalog
    level: Floats  # (n_services,) logit of the mean uptake

    @classmethod
    def of(cls, rng: np.random.Generator, loads: Mapping[str, float]) -> "Shop":
        """12 services of 8 categories."""
        catalog = Catalog.of(Service(f"s{position:02}", "", f"c{position % 8}") for position in range(12))
        return cls(rng, loads, catalog, rng.normal(-2.2, 0.5, 12))

    def users(self, n: int) -> tuple[NDArray[np.str_], Floats, Floats]:
        """The tier, the load, and the uptake of each service, of n users; as many of each tier."""
        tier = np.array(TIERS)[np.arange(n) % len(TIERS)]
        logit = self.level + self.rng.normal(0, 0.5, (n, 1))
        return tier, np.array([self.loads[name] for name in tier]), 1 / (1 + np.exp(-logit))

    def log(self, n_lists: int, longest: int) -> tuple[ListChoices, NDArray[np.str_]]:
        """Lists of a length and of services drawn uniformly, and what was taken of them: one or none."""
        tier, load, uptake = self.users(n_lists)
        length = self.rng.integers(2, longest + 1, n_lists)
        services = np.argsort(self.rng.random(uptake.shape), axis=1)[:, :longest]
        shown = np.arange(longest) < length[:, None]
        alone = np.take_along_axis(uptake, services, axis=1)
        odds = np.where(shown, attraction(alone), 0.0)
        alike = count_alike(np.where(shown, self.catalog.category[services], -1))
        effort = np.asarray(choice_effort(length, load, alike, SIMILARITY))
        p_take = odds / (effort + odds.sum(axis=1))[:, None]
        taken = np.cumsum(p_take, axis=1) > self.rng.random(n_lists)[:, None]
        taken &= np.cumsum(taken, axis=1) == 1
        return ListChoices.of(alone, shown, taken, alike, SIMILARITY), tier

    def decide(self, uptake: Floats, loads: Mapping[str, float], tier: NDArray[np.str_]):
        """Lists of at most ``LIMIT``; a use earns 1 and costs nothing."""
        load = np.array([loads[name] for name in tier])
        settings = DecisionSettings(similarity_load=SIMILARITY)
        estimates = Estimates(uptake, uptake, uptake)
        return decide(estimates, uptake > 0, self.catalog, settings, LIMIT, choice_load=load)

    def use_rate(self, load: Floats, uptake: Floats, services: NDArray[np.intp]) -> float:
        """P(something is taken) of lists padded with −1, by the truth; mean over users."""
        shown, places = services >= 0, np.maximum(services, 0)
        odds = np.where(shown, attraction(np.take_along_axis(uptake, places, axis=1)), 0.0).sum(axis=1)
        alike = count_alike(np.where(shown, self.catalog.category[places], -1))
        effort = np.asarray(choice_effort(shown.sum(axis=1), load, alike, SIMILARITY))
        return float(np.where(shown.any(axis=1), odds / (effort + odds), 0.0).mean())


def planted(rng: np.random.Generator) -> Shop:
    """12 services that are used, then 23 that hardly are, all of different categories.

    For a user of the middle load all 35 make the choice 42 % harder than the first 12 do, and are used
    19 % less. The tiers' loads are a quarter, a half, once, twice, 8 and 16 times that.
    """
    loads = dict(zip(TIERS, MIDDLE_LOAD * np.array([0.25, 0.5, 1.0, 2.0, 8.0, 16.0])))
    catalog = Catalog.of(Service(f"s{position:02}", "") for position in range(35))
    return Shop(rng, loads, catalog, np.where(np.arange(35) < 12, rng.normal(-3.3, 0.6, 35), -6.8))


def costly(rng: np.random.Generator) -> Shop:
    """12 services whose contacts cost, among which nobody finds it hard to choose."""
    services = [Service(f"s{at:02}", "", f"c{at % 8}", contact_cost=0.03) for at in range(12)]
    return Shop(rng, NO_LOAD, Catalog.of(services), rng.normal(-2.2, 0.5, 12))


def learn(shop: Shop, n_lists: int, longest: int = 6) -> ChoiceLoads:
    """The loads that lists of the shop tell."""
    found = choice_loads(*_named(*shop.log(n_lists, longest)), TIERS, 0.95)
    if found is None:
        raise ValueError(f"n_lists must be enough to learn from, got {n_lists}.")
    return found


def _named(choices: ListChoices, tier: NDArray[np.str_]) -> tuple[ListChoices, list[str]]:
    return choices, tier.tolist()


@dataclass(frozen=True)
class World:
    """What was learned in one shop, and what it was worth."""

    effort_grew: float  # from 12 services to 35, for the middle load
    use_grew: float
    near_mean: float  # share of tiers whose mean length is within 1 of the best one
    near_mode: float  # the same of the commonest length
    won_back: float  # of the uses that 35 services lose against 12, by the learned lists


def follow(shop: Shop, n_lists: int, longest: int) -> World:
    """Learn from so many lists of 2 to ``longest`` services, and decide for 1,200 other users."""
    found = learn(shop, n_lists, longest)
    tier, load, uptake = shop.users(1_200)
    ours = shop.decide(uptake, {name: found.segments[name].value for name in TIERS}, tier)
    best = shop.decide(uptake, shop.loads, tier)
    lengths = [[slates.length[tier == name] for name in TIERS] for slates in (ours, best)]
    means, modes = ([[of(one) for one in each] for each in lengths] for of in (np.mean, _mode))
    every = np.tile(np.arange(35), (len(load), 1))
    middle = np.full(len(load), MIDDLE_LOAD)
    grown = shop.use_rate(middle, uptake, every) / shop.use_rate(middle, uptake, every[:, :12])
    all_shown, twelve = shop.use_rate(load, uptake, every), shop.use_rate(load, uptake, every[:, :12])
    won = shop.use_rate(load, uptake, ours.services) - all_shown
    return World(
        effort_grew=choice_effort(35, MIDDLE_LOAD) / choice_effort(12, MIDDLE_LOAD) - 1,
        use_grew=grown - 1,
        near_mean=float(np.mean(np.abs(np.subtract(*means)) <= 1)),
        near_mode=float(np.mean(np.abs(np.subtract(*modes)) <= 1)),
        won_back=won / (twelve - all_shown),
    )


def _mode(lengths: NDArray[np.intp]) -> int:
    return int(np.bincount(lengths).argmax())


@dataclass(frozen=True)
class Line:
    """Of so many lists, over worlds; errors are 1.96 standard errors."""

    n_lists: int
    longest: int
    near_mean: float
    near_mean_error: float
    near_mode: float
    won_back: float
    won_back_error: float


def line_of(n_lists: int, longest: int, n_worlds: int, seed: int) -> Line:
    """Means over worlds of their own seeds."""
    worlds = [
        follow(planted(np.random.default_rng([seed, world])), n_lists, longest) for world in range(n_worlds)
    ]
    near, won = ([getattr(world, name) for world in worlds] for name in ("near_mean", "won_back"))
    error = [1.96 * float(np.std(one, ddof=1)) / n_worlds**0.5 for one in (near, won)]
    mode = float(np.mean([world.near_mode for world in worlds]))
    return Line(n_lists, longest, float(np.mean(near)), error[0], mode, float(np.mean(won)), error[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20, help="for each line (20)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    lines = []
    for n_lists, longest in _LINES:
        print(f"{len(lines)} of {len(_LINES)}: {n_lists:,} lists of up to {longest}", file=sys.stderr)
        lines.append(line_of(n_lists, longest, arguments.worlds, arguments.seed))
    if arguments.json:
        print(json.dumps({"lines": [asdict(one) for one in lines]}))
        return
    print("| lists | of up to | tiers within 1, mean length | commonest length | lost uses won back |")
    print("|---|---|---|---|---|")
    for one in lines:
        print(
            f"| {one.n_lists:,} | {one.longest} | {one.near_mean:.0%} ± {one.near_mean_error:.0%} "
            f"| {one.near_mode:.0%} | {one.won_back:.0%} ± {one.won_back_error:.0%} |"
        )


if __name__ == "__main__":
    main()
