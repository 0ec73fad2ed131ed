"""The load of choice from logged lists: what users find hard is known, segment by segment."""

import numpy as np
import pytest

from offers.catalog import Catalog
from offers.choice import attraction, choice_effort, count_alike
from offers.policy import decide
from offers.settings import DecisionSettings
from offers.types import Estimates, Service
from training.choice_load import ListChoices, choice_loads, likeliest_load

TIERS = ("basic", "bronze", "silver", "gold", "platinum", "diamond")
SIMILARITY = 0.5
NO_LOAD = dict.fromkeys(TIERS, 0.0)


class Shop:
    """Services with an uptake that differs by user, and tiers that find choosing hard to a known degree."""

    def __init__(self, rng, loads, n_services=12):
        self.rng, self.loads = rng, loads
        self.catalog = Catalog.of(
            Service(f"s{position:02}", "", category=f"c{position % 8}") for position in range(n_services)
        )
        self.level = rng.normal(-2.2, 0.5, n_services)

    def users(self, n):
        tier = np.array(TIERS)[np.arange(n) % len(TIERS)]
        logit = self.level + self.rng.normal(0, 0.5, (n, 1))
        return tier, np.array([self.loads[name] for name in tier]), 1 / (1 + np.exp(-logit))

    def log(self, n_lists, longest=6):
        """Lists of a length and of services drawn uniformly, and what was taken of them: one or none."""
        tier, load, uptake = self.users(n_lists)
        length = self.rng.integers(2, longest + 1, n_lists)
        services = np.argsort(self.rng.random(uptake.shape), axis=1)[:, :longest]
        shown = np.arange(longest) < length[:, None]
        alone = np.take_along_axis(uptake, services, axis=1)
        odds = np.where(shown, attraction(alone), 0.0)
        alike = count_alike(np.where(shown, self.catalog.category[services], -1))
        effort = choice_effort(length, load, alike, SIMILARITY)
        p_take = odds / (effort + odds.sum(axis=1))[:, None]
        taken = np.cumsum(p_take, axis=1) > self.rng.random(n_lists)[:, None]
        taken &= np.cumsum(taken, axis=1) == 1
        return ListChoices.of(alone, shown, taken, alike, SIMILARITY), tier


def learn(shop, n_lists, longest=6):
    choices, tier = shop.log(n_lists, longest)
    return choice_loads(choices, tier, TIERS, 0.95)


def test_loads_of_segments_are_found_and_their_intervals_cover():
    loads = dict(zip(TIERS, (0.05, 0.1, 0.2, 0.4, 0.8, 1.2)))
    covered = []
    for seed in range(10):
        found = learn(Shop(np.random.default_rng(seed), loads), 12_000)
        covered += [found.segments[name].low <= loads[name] <= found.segments[name].high for name in TIERS]
        assert {load.n_lists for load in found.segments.values()} == {2_000}
    assert np.mean(covered) >= 0.85


def test_segments_with_few_lists_lean_on_the_others():
    """All tiers have one load; the last has 20 lists, whose own likelihood would say nearly anything."""
    shop = Shop(np.random.default_rng(1), dict.fromkeys(TIERS, 0.4))
    choices, tier = shop.log(6_000)
    keep = np.flatnonzero((tier != TIERS[-1]) | (np.arange(6_000) < 120))
    found = choice_loads(choices.take(keep), tier[keep], TIERS, 0.95)
    assert found.segments[TIERS[-1]].n_lists == 20
    assert found.segments[TIERS[-1]].value == pytest.approx(found.common.value, abs=0.1)
    assert found.common.value == pytest.approx(0.4, abs=0.1)


def test_without_a_load_none_is_found():
    found = [learn(Shop(np.random.default_rng(seed), NO_LOAD), 12_000).common for seed in range(10)]
    assert np.mean([load.value for load in found]) < 0.02
    assert np.mean([load.low == 0.0 for load in found]) >= 0.9


def test_lists_that_a_policy_preferred_count_as_if_drawn():
    """Two kinds of lists, one of them shown nine times as often; its uptake is not what the model thinks."""
    n = 40_000
    rng = np.random.default_rng(3)
    preferred = rng.random(n) < 0.9
    alone, shown = np.full((n, 2), 0.25), np.ones((n, 2), dtype=bool)
    taken = np.zeros((n, 2))
    taken[:, 0] = rng.random(n) < np.where(preferred, 0.2, 0.6)
    propensity = np.where(preferred, 0.9, 0.1)
    weighted = likeliest_load(ListChoices.of(alone, shown, taken, propensity=propensity))
    # drawn alike, 0.4 would be taken of: (2 / 3) / (1 + load + 2 / 3) = 0.4
    assert weighted == pytest.approx(0.0, abs=0.03)
    assert likeliest_load(ListChoices.of(alone, shown, taken)) > 0.8


@pytest.mark.parametrize("n_lists, taken", [(50, 1.0), (500, 0.0)])
def test_too_few_lists_or_uses_teach_nothing(n_lists, taken):
    shown = np.ones((n_lists, 2), dtype=bool)
    choices = ListChoices.of(np.full((n_lists, 2), 0.2), shown, np.full((n_lists, 2), taken))
    assert choice_loads(choices, ["basic"] * n_lists, TIERS, 0.95) is None


def use_rate(shop, load, uptake, services):
    """P(something is taken) of lists padded with −1, by the truth."""
    shown = services >= 0
    places = np.maximum(services, 0)
    odds = np.where(shown, attraction(np.take_along_axis(uptake, places, axis=1)), 0.0).sum(axis=1)
    alike = count_alike(np.where(shown, shop.catalog.category[places], -1))
    effort = choice_effort(shown.sum(axis=1), load, alike, SIMILARITY)
    return np.where(shown.any(axis=1), odds / (effort + odds), 0.0)


def decided(shop, uptake, loads, tier):
    """A use earns 1 and costs nothing: the best list is the one that is taken of most often."""
    load = np.array([loads[name] for name in tier])
    decision = DecisionSettings(similarity_load=SIMILARITY)
    estimates = Estimates(uptake, uptake, uptake)
    return decide(estimates, uptake > 0, shop.catalog, decision, 10, choice_load=load)


def planted(seed):
    """12 services that are used, then 23 near-empty ones; the mean load makes 35 of them 42 % harder."""
    rng = np.random.default_rng(seed)
    # A0(35) / A0(12) = 1.42 for a load of 0.0229 among distinct categories; tiers lie around it
    shop = Shop(rng, dict(zip(TIERS, 0.0229 * np.array([0.25, 0.5, 1.0, 2.0, 8.0, 16.0]))), n_services=35)
    shop.catalog = Catalog.of(Service(f"s{position:02}", "") for position in range(35))
    shop.level = np.where(np.arange(35) < 12, rng.normal(-3.3, 0.6, 35), -6.8)
    return shop


@pytest.mark.slow
def test_growing_from_12_to_35_services_loses_a_fifth_of_uses_and_the_learned_length_wins_them_back():
    near, won_back, grown_of = [], [], []
    for seed in range(10):
        shop = planted(seed)
        found = learn(shop, 60_000, longest=12)
        tier, load, uptake = shop.users(1_200)
        ours = decided(shop, uptake, {name: found.segments[name].value for name in TIERS}, tier)
        best = decided(shop, uptake, shop.loads, tier)
        lengths = [[slates.length[tier == name].mean() for name in TIERS] for slates in (ours, best)]
        near += (np.abs(np.subtract(*lengths)) <= 1).tolist()
        mean_load = np.full(len(load), 0.0229)
        every = np.tile(np.arange(35), (len(load), 1))
        grown = use_rate(shop, mean_load, uptake, every).mean()
        grown_of.append(grown / use_rate(shop, mean_load, uptake, every[:, :12]).mean())
        shown = use_rate(shop, load, uptake, every).mean()
        twelve = use_rate(shop, load, uptake, every[:, :12]).mean()
        won_back.append((use_rate(shop, load, uptake, ours.services).mean() - shown) / (twelve - shown))
    assert np.mean(grown_of) == pytest.approx(0.81, abs=0.02)
    assert np.mean(near) >= 0.9
    error = np.std(won_back, ddof=1) / len(won_back) ** 0.5
    assert np.mean(won_back) - 1.96 * error > 0.9  # of what 12 services were used more than 35


@pytest.mark.slow
def test_without_load_lists_are_not_shortened():
    shorter = []
    for seed in range(20):
        shop = Shop(np.random.default_rng(seed), NO_LOAD)
        found = learn(shop, 30_000)
        tier, _, uptake = shop.users(600)
        ours = decided(shop, uptake, {name: found.segments[name].value for name in TIERS}, tier)
        shorter.append(decided(shop, uptake, NO_LOAD, tier).length.mean() - ours.length.mean())
    assert np.mean(shorter) < 0.25
