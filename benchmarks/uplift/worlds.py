"""Made worlds of many services whose truth is known: who takes what up, and what each offer does to whom.

In a world of kind "uptake" most of an offer's effect comes through its use: those who take it up buy more,
or less. In one of kind "direct" the uptake says nothing of the effect. The outcome is a repurchase (0 or 1)
or its margin, which has a heavy tail. Nothing is shaped after a learner: every dependence is a surface of
its own, linear, stepped, wavy or crossed, of traits that the columns show with noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.uplift.people import People
from benchmarks.uplift.surfaces import Surface, draw_surface
from benchmarks.uplift.tasks import Lists, Task
from features.simulation.response import take_probabilities

Floats = NDArray[np.float64]
Kind = Literal["uptake", "direct"]
Outcome = Literal["repurchase", "margin"]

N_ROWS, N_TEST, N_LISTS = 60_000, 20_000, 8_000
LONGEST = 4  # services in a list
_N_PILOT = 4_000  # users on whom a world is scaled
_EVERY_NTH_IS_RARE, _RARE_SHARE = 6, 0.03
_UPTAKE_BOUNDS = (0.005, 0.8)
_PROBABILITY_BOUNDS = (0.002, 0.998)
_AMOUNT_NOISE = 0.9  # standard deviation of the logarithm of an order's margin: a heavy tail


@dataclass(frozen=True)
class Service:
    """One service: what is known of it, and how it works; effects are relative to `World.size`."""

    category: int
    scenario: int
    cost: float
    popularity: float  # weight in the logging policy
    pull: Surface  # log of the policy's further weight, from what the shop sees
    uptake: Surface  # log-odds
    direct: Surface
    through: Surface


@dataclass(frozen=True)
class World:
    """Users, services and how they meet."""

    people: People
    services: tuple[Service, ...]
    outcome: Outcome
    p_nothing: float
    baseline: Surface  # log-odds of a repurchase with nothing shown
    amount: Surface  # mean margin of a repurchase
    in_proportion: bool  # whether effects are in proportion to the user's own baseline
    size: float

    def p_baseline(self, traits: Floats) -> Floats:
        """(n,) P(repurchase | nothing)."""
        return _sigmoid(self.baseline(traits))

    def uptake(self, traits: Floats) -> Floats:
        """(n, S) P(taken up | offered alone)."""
        return np.clip(_sigmoid(self._each("uptake", traits)), *_UPTAKE_BOUNDS)

    def changes(self, traits: Floats) -> tuple[Floats, Floats]:
        """(n, S) change of P(repurchase), before bounds: by being shown, and further once taken up."""
        p = self.p_baseline(traits)
        unit = (self.size * (p if self.in_proportion else np.full(len(p), p.mean())))[:, None]
        return unit * self._each("direct", traits), unit * self._each("through", traits)

    def uplift(self, traits: Floats) -> Floats:
        """(n, S) E[outcome | offered alone] − E[outcome | nothing]."""
        p, uptake = self.p_baseline(traits)[:, None], self.uptake(traits)
        direct, through = self.changes(traits)
        shown = (1 - uptake) * _bounded(p + direct) + uptake * _bounded(p + direct + through)
        return (shown - p) * self.worth(traits)[:, None]

    def worth(self, traits: Floats) -> Floats:
        """(n,) mean outcome of a repurchase: 1, or its margin."""
        return self.amount(traits) if self.outcome == "margin" else np.ones(len(traits))

    def policy(self, observed: Floats) -> Floats:
        """(n, S + 1) probabilities of the log, nothing first; known to all."""
        popularity = np.array([service.popularity for service in self.services])
        pull = np.column_stack(
            [service.pull(observed[:, : self.people.n_known]) for service in self.services]
        )
        weights = popularity * np.exp(pull)
        weights *= (1 - self.p_nothing) / weights.sum(axis=1, keepdims=True)
        return np.column_stack([np.full(len(weights), self.p_nothing), weights])

    def answer(
        self, traits: Floats, slates: NDArray[np.intp], rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Outcome (n,) and uptake at each place (n, longest) of what was shown, -1 pads.

        In a list each service works in proportion to P(taken in the list) / P(taken if alone).
        """
        shown, place = slates >= 0, np.maximum(slates, 0)
        alone = np.where(shown, np.take_along_axis(self.uptake(traits), place, axis=1), 0.0)
        if slates.shape[1] == 1:
            p_take = alone
        else:
            p_take = take_probabilities(alone, shown)
        taken_place = (rng.random(len(traits))[:, None] >= np.cumsum(p_take, axis=1)).sum(axis=1)
        taken = taken_place[:, None] == np.arange(slates.shape[1])
        scale = np.divide(p_take, alone, out=np.zeros_like(alone), where=shown)
        direct, through = (np.take_along_axis(part, place, axis=1) for part in self.changes(traits))
        change = np.where(shown, scale * direct + taken * through, 0.0).sum(axis=1)
        returns = rng.random(len(traits)) < _bounded(self.p_baseline(traits) + change)
        noise = np.ones(len(traits))
        if self.outcome == "margin":
            noise = np.exp(_AMOUNT_NOISE * rng.standard_normal(len(traits)) - _AMOUNT_NOISE**2 / 2)
        return returns * self.worth(traits) * noise, taken.astype(float)

    def _each(self, name: str, traits: Floats) -> Floats:
        return np.column_stack([getattr(service, name)(traits) for service in self.services])


def make_world(kind: Kind, n_services: int, outcome: Outcome, rng: np.random.Generator) -> World:
    """A world of that kind.

    The best constant service adds 8 to 20 % to the mean outcome, the best service for each user 1.8 to 4
    times as much: drawn too.
    """
    people = People.draw(rng)
    pilot = people.traits(_N_PILOT, rng)
    offering = _Offering.draw(kind, n_services, people, pilot, rng)
    frame = {
        "people": people,
        "outcome": outcome,
        "p_nothing": float(rng.uniform(0.10, 0.25)),
        "baseline": _draw_baseline(pilot, rng),
        "amount": _draw_amount(pilot, rng),
        "in_proportion": bool(rng.random() < 0.5),
    }
    constant, ratio = rng.uniform(0.08, 0.2), rng.uniform(1.8, 4.0)

    def at(variety: float, size: float) -> World:
        return World(services=offering.services(variety), size=size, **frame)

    def found_ratio(variety: float) -> float:
        return np.divide(*_oracle_and_constant(at(variety, size=0.2), pilot))

    variety = _solve(found_ratio, ratio, 0.0, 4.0)
    base = (at(variety, 0.0).p_baseline(pilot) * at(variety, 0.0).worth(pilot)).mean()
    size = _solve(lambda size: _oracle_and_constant(at(variety, size), pilot)[1] / base, constant, 0.0, 3.0)
    return at(variety, size)


def draw_task(
    world: World,
    name: str,
    seed: int,
    rng: np.random.Generator,
    n_rows: int = N_ROWS,
    n_test: int = N_TEST,
    n_lists: int = N_LISTS,
) -> Task:
    """Logged rows and test users of a world."""
    people = world.people
    parts = [people.traits(n, rng) for n in (n_rows, n_test, n_lists)]
    seen = [people.observe(traits, rng) for traits in parts]
    policy = world.policy(seen[0])
    service = _draw_actions(policy, rng)
    y, uptake = world.answer(parts[0], service[:, None], rng)
    return Task(
        name=name,
        seed=seed,
        X=seen[0].astype(np.float32),
        categorical=people.categorical,
        service=service,
        propensity=policy,
        y=y,
        uptake=uptake[:, 0],
        X_test=seen[1].astype(np.float32),
        uplift_test=world.uplift(parts[1]),
        attributes=np.array([[each.category, each.scenario, each.cost] for each in world.services]),
        lists=_draw_lists(world, parts[2], seen[2].astype(np.float32), rng) if n_lists else None,
    )


def _draw_lists(world: World, traits: Floats, X: NDArray[np.float32], rng: np.random.Generator) -> Lists:
    """Lists of 2 to LONGEST services, all lengths and orders of those not rare equally likely."""
    popularity = np.array([service.popularity for service in world.services])
    pool = np.flatnonzero(popularity > np.median(popularity) / 5)
    n, longest = len(traits), min(LONGEST, len(pool))
    order = np.argsort(rng.random((n, len(pool))), axis=1)[:, :longest]
    length = rng.integers(2, longest + 1, n)
    slates = np.where(np.arange(longest) < length[:, None], pool[order], -1)
    orders_of_length = np.cumprod(len(pool) - np.arange(longest, dtype=float))
    y, uptake = world.answer(traits, slates, rng)
    return Lists(X, slates, 1 / (longest - 1) / orders_of_length[length - 1], y, uptake)


@dataclass(frozen=True)
class _Offering:
    """The services before it is settled how much users differ."""

    drawn: tuple[dict, ...]
    parts: tuple[tuple[float, Surface, float, Surface], ...]  # direct: mean, variation; through: the same

    @classmethod
    def draw(
        cls, kind: Kind, n_services: int, people: People, pilot: Floats, rng: np.random.Generator
    ) -> "_Offering":
        n_categories, n_scenarios = int(rng.integers(3, 7)), 3
        category = rng.permutation(np.arange(n_services) % n_categories)
        scenario = rng.integers(0, n_scenarios, n_services)
        cost = np.exp(rng.normal(0.5, 0.5, n_services))
        popularity = np.exp(rng.normal(0, 0.5, n_services))
        popularity[rng.permutation(n_services)[: n_services // _EVERY_NTH_IS_RARE]] *= _RARE_SHARE
        strength = rng.normal(0, 0.35, n_categories)[category] + 0.25 * (np.log(cost) - 0.5)
        strength += 0.5 + rng.normal(0, 0.35, n_services)
        tastes = [draw_surface(pilot, rng) for _ in range(n_categories)]
        effects = [draw_surface(pilot, rng) for _ in range(n_categories)]
        readiness, response = draw_surface(pilot, rng), draw_surface(pilot, rng)
        seen = pilot[:, : people.n_known]  # what the policy sees is about as wide as the traits
        drawn, parts = [], []
        for s in range(n_services):
            own_uptake, own_effect = draw_surface(pilot, rng), draw_surface(pilot, rng)
            level = rng.normal(-1.7, 0.5)
            uptake = _weighted((1.1, tastes[category[s]]), (0.6, readiness), (0.5, own_uptake), level=level)
            shared = tastes[category[s]] if kind == "uptake" else effects[category[s]]
            variation = _weighted((0.6, shared), (0.5, response), (0.4, own_effect))
            pull = _bounded_pull(draw_surface(seen, rng, "tree"))
            drawn.append(
                {
                    "category": int(category[s]),
                    "scenario": int(scenario[s]),
                    "cost": float(cost[s]),
                    "popularity": float(popularity[s]),
                    "pull": pull,
                    "uptake": uptake,
                }
            )
            parts.append(_effect_parts(kind, float(strength[s]), variation, pilot, rng))
        return cls(tuple(drawn), tuple(parts))

    def services(self, variety: float) -> tuple[Service, ...]:
        made = []
        for drawn, (direct, direct_varies, through, through_varies) in zip(self.drawn, self.parts):
            made.append(
                Service(
                    **drawn,
                    direct=_weighted((variety, direct_varies), level=direct),
                    through=_weighted((variety, through_varies), level=through),
                )
            )
        return tuple(made)


def _effect_parts(
    kind: Kind, strength: float, variation: Surface, pilot: Floats, rng: np.random.Generator
) -> tuple[float, Surface, float, Surface]:
    if kind == "direct":
        return strength, variation, 0.0, _weighted()
    small = draw_surface(pilot, rng)
    return 0.1 * rng.normal(), _weighted((0.15, small)), 5 * strength, _weighted((3, variation))


def _draw_baseline(pilot: Floats, rng: np.random.Generator) -> Surface:
    main, side = draw_surface(pilot, rng), draw_surface(pilot, rng)
    level = float(np.log(1 / rng.uniform(0.15, 0.4) - 1))
    return _weighted((rng.uniform(0.5, 1.0), main), (0.5, side), level=-level)


def _draw_amount(pilot: Floats, rng: np.random.Generator) -> Surface:
    spread = draw_surface(pilot, rng)
    return lambda traits: np.exp(2.5 + 0.4 * np.clip(spread(traits), -3, 3))


def _draw_actions(policy: Floats, rng: np.random.Generator) -> NDArray[np.intp]:
    """(n,) service drawn from each row of the policy, −1 for nothing."""
    steps = np.cumsum(policy, axis=1)
    return (rng.random(len(policy))[:, None] * steps[:, -1:] >= steps).sum(axis=1) - 1


def _oracle_and_constant(world: World, traits: Floats) -> tuple[float, float]:
    uplift = world.uplift(traits)
    return float(np.maximum(uplift.max(axis=1), 0).mean()), float(max(uplift.mean(axis=0).max(), 1e-9))


def _solve(rising: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Where a rising function reaches the target, within the bounds, by halving."""
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2


def _weighted(*parts: tuple[float, Surface], level: float = 0.0) -> Surface:
    """level + Σ weight × surface."""

    def surface(traits: Floats) -> Floats:
        total = np.full(len(traits), level)
        for weight, part in parts:
            total += weight * part(traits)
        return total

    return surface


def _bounded_pull(surface: Surface) -> Surface:
    return lambda seen: np.clip(0.4 * surface(seen), -1.0, 1.0)


def _bounded(p: Floats) -> Floats:
    return np.clip(p, *_PROBABILITY_BOUNDS)


def _sigmoid(raw: Floats) -> Floats:
    return 1 / (1 + np.exp(-raw))
