"""Made randomised trials of one to four arms with a known truth: the shape that most uplift data have."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.uplift.people import People
from benchmarks.uplift.surfaces import Surface, draw_surface
from benchmarks.uplift.tasks import Task

Floats = NDArray[np.float64]

N_TEST = 20_000
FORMS = ("linear", "tree", "smooth", "product", "none")  # of how the effect differs between users
_PROBABILITY_BOUNDS = (0.0005, 0.999)


@dataclass(frozen=True)
class Trial:
    """Arms with an effect each, in proportion to the user's own baseline or the same for all."""

    people: People
    baseline: Surface  # log-odds of the outcome without an arm
    effects: tuple[Surface, ...]  # relative to the mean of the baseline
    in_proportion: bool
    propensity: Floats  # (S + 1,), nothing first: the same for everybody

    def p_baseline(self, traits: Floats) -> Floats:
        """(n,) P(outcome | nothing)."""
        return 1 / (1 + np.exp(-self.baseline(traits)))

    def uplift(self, traits: Floats) -> Floats:
        """(n, S) P(outcome | arm) − P(outcome | nothing)."""
        p = self.p_baseline(traits)
        unit = p if self.in_proportion else np.full(len(p), p.mean())
        change = np.column_stack([unit * effect(traits) for effect in self.effects])
        return np.clip(p[:, None] + change, *_PROBABILITY_BOUNDS) - p[:, None]


def make_trial(rng: np.random.Generator) -> Trial:
    """A trial of 1 to 4 arms; base rate 1 to 20 %, effects of up to half of it, and of any form or none."""
    people = People.draw(rng)
    pilot = people.traits(4_000, rng)
    n_arms = int(rng.integers(1, 5))
    form = FORMS[rng.integers(len(FORMS))]
    base = np.exp(rng.uniform(np.log(0.01), np.log(0.2)))
    main, side = draw_surface(pilot, rng), draw_surface(pilot, rng)
    level = np.log(base / (1 - base)) - 0.3  # the curve of the log-odds lifts the mean
    shares = rng.uniform(0.5, 2.0, n_arms + 1) if rng.random() < 0.5 else np.ones(n_arms + 1)
    common = draw_surface(pilot, rng, None if form == "none" else form)
    average = rng.uniform(-0.05, 0.4)
    effects = tuple(_draw_effect(form, average, common, pilot, rng) for _ in range(n_arms))
    return Trial(
        people=people,
        baseline=lambda traits: level + 0.8 * main(traits) + 0.4 * side(traits),
        effects=effects,
        in_proportion=bool(rng.random() < 0.5),
        propensity=shares / shares.sum(),
    )


def draw_trial_task(
    trial: Trial, name: str, seed: int, rng: np.random.Generator, n_test: int = N_TEST
) -> Task:
    """10 to 60 thousand users of the trial, and as many as told to be judged on."""
    n = int(np.exp(rng.uniform(np.log(10_000), np.log(60_000))))
    train, test = trial.people.traits(n, rng), trial.people.traits(n_test, rng)
    service = rng.choice(len(trial.propensity), n, p=trial.propensity) - 1
    return Task(
        name=name,
        seed=seed,
        X=trial.people.observe(train, rng).astype(np.float32),
        categorical=trial.people.categorical,
        service=service,
        propensity=np.tile(trial.propensity, (n, 1)),
        y=_draw_outcome(trial, train, service, rng),
        uptake=None,
        X_test=trial.people.observe(test, rng).astype(np.float32),
        uplift_test=trial.uplift(test),
    )


def _draw_effect(
    form: str, average: float, common: Surface, pilot: Floats, rng: np.random.Generator
) -> Surface:
    mean = average + 0.1 * rng.normal()
    if form == "none":
        return lambda traits: np.full(len(traits), mean)
    own = draw_surface(pilot, rng, form)
    spread = rng.uniform(0.1, 0.4)
    return lambda traits: mean + spread * (0.8 * common(traits) + 0.6 * own(traits))


def _draw_outcome(
    trial: Trial, traits: Floats, service: NDArray[np.intp], rng: np.random.Generator
) -> Floats:
    offered = np.column_stack([np.zeros(len(traits)), trial.uplift(traits)])
    p = trial.p_baseline(traits) + offered[np.arange(len(traits)), service + 1]
    return (rng.random(len(traits)) < p).astype(float)
