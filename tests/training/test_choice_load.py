"""The load of choice from logged lists: what users find hard is known, segment by segment."""

import numpy as np
import pytest

from benchmarks.choice_load import LIMIT, NO_LOAD, TIERS, Shop, costly, follow, learn, planted
from training.choice_load import ListChoices, choice_loads, likeliest_load


def test_loads_of_segments_are_found_and_their_intervals_cover():
    loads = dict(zip(TIERS, (0.05, 0.1, 0.2, 0.4, 0.8, 1.2)))
    covered = []
    for seed in range(10):
        found = learn(Shop.of(np.random.default_rng(seed), loads), 12_000)
        covered += [found.segments[name].low <= loads[name] <= found.segments[name].high for name in TIERS]
        assert {load.n_lists for load in found.segments.values()} == {2_000}
    assert np.mean(covered) >= 0.85


def test_segments_with_few_lists_lean_on_the_others():
    """All tiers have one load; the last has 20 lists, whose own likelihood would say nearly anything."""
    shop = Shop.of(np.random.default_rng(1), dict.fromkeys(TIERS, 0.4))
    choices, tier = shop.log(6_000, longest=6)
    keep = np.flatnonzero((tier != TIERS[-1]) | (np.arange(6_000) < 120))
    found = choice_loads(choices.take(keep), tier[keep], TIERS, 0.95)
    assert found.segments[TIERS[-1]].n_lists == 20
    assert found.segments[TIERS[-1]].value == pytest.approx(found.common.value, abs=0.1)
    assert found.common.value == pytest.approx(0.4, abs=0.1)


def test_without_a_load_none_is_found():
    found = [learn(Shop.of(np.random.default_rng(seed), NO_LOAD), 12_000).common for seed in range(10)]
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


def test_services_that_are_hardly_used_do_not_look_like_a_load():
    """Lists of which next to nothing is expected are not taken of, and nobody found them hard."""
    rng = np.random.default_rng(4)
    alone, shown = np.tile([0.3, 0.001, 0.001, 0.001], (60_000, 1)), np.ones((60_000, 4), dtype=bool)
    odds = (alone / (1 - alone)).sum(axis=1)
    taken = np.zeros(alone.shape)
    taken[:, 0] = rng.random(60_000) < odds / (1 + odds)
    assert likeliest_load(ListChoices.of(alone, shown, taken)) < 0.003


@pytest.mark.parametrize("n_lists, taken", [(50, 1.0), (500, 0.0)])
def test_too_few_lists_or_uses_teach_nothing(n_lists, taken):
    shown = np.ones((n_lists, 2), dtype=bool)
    choices = ListChoices.of(np.full((n_lists, 2), 0.2), shown, np.full((n_lists, 2), taken))
    assert choice_loads(choices, ["basic"] * n_lists, TIERS, 0.95) is None


@pytest.mark.slow
def test_growing_from_12_to_35_services_loses_a_fifth_of_uses_and_the_learned_length_wins_them_back():
    """35 services in place of 12 make the effort 42 % greater and lose 19 % of uses, at the middle load."""
    worlds = [follow(planted(np.random.default_rng(seed)), 30_000, longest=6) for seed in range(40)]
    assert [world.effort_grew for world in worlds] == pytest.approx([0.42] * 40, abs=0.01)
    assert np.mean([world.use_grew for world in worlds]) == pytest.approx(-0.19, abs=0.02)
    assert np.mean([world.near_mean for world in worlds]) >= 0.9  # of the tiers of a world
    assert np.mean([world.near_mode for world in worlds]) >= 0.9
    won_back = [world.won_back for world in worlds]
    error = np.std(won_back, ddof=1) / len(won_back) ** 0.5
    assert np.mean(won_back) - 1.96 * error > 0.9  # of what 12 services were used more than 35


@pytest.mark.slow
def test_without_load_lists_are_not_shortened():
    """Contacts cost, so that the best lists are shorter than the limit though choosing is not hard."""
    shorter, by_habit = [], []
    for seed in range(20):
        shop = costly(np.random.default_rng(seed))
        found = learn(shop, 30_000)
        tier, _, uptake = shop.users(600)
        best = shop.decide(uptake, NO_LOAD, tier).length
        assert 2 < best.mean() < LIMIT - 2 and (best < LIMIT).mean() > 0.9
        learned = {name: found.segments[name].value for name in TIERS}
        shorter.append(best.mean() - shop.decide(uptake, learned, tier).length.mean())
        by_habit.append(best.mean() - shop.decide(uptake, dict.fromkeys(TIERS, 0.1), tier).length.mean())
    assert np.mean(by_habit) > 1  # what a load that is not there would cost
    assert np.mean(shorter) < 0.25
