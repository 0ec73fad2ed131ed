"""Value tiers: stable names, ties together, those who spent nothing at the bottom."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.pipeline import FEATURES
from features.tiers import TIER_COLUMN, Tiers
from offers.settings import TierSettings

NAMES = TierSettings().names
AMOUNTS = st.lists(st.floats(0, 1e9, width=32), max_size=50)


def test_spenders_are_cut_into_tiers_of_one_size():
    tiers = Tiers.learn(np.arange(1, 601), NAMES)
    names, counts = np.unique(tiers.of(np.arange(1, 601)), return_counts=True)
    assert set(names) == set(NAMES) and set(counts) == {100}
    assert tiers.of([1, 600]).tolist() == ["basic", "diamond"]


def test_those_who_spent_nothing_stand_lowest_and_move_no_cut():
    without = Tiers.learn(np.arange(1, 601), NAMES)
    with_them = Tiers.learn(np.concatenate([np.zeros(5000), np.arange(1, 601)]), NAMES)
    assert with_them == without
    assert with_them.of([0]).tolist() == ["basic"]


def test_equal_spenders_share_one_tier():
    assert set(Tiers.learn([50.0] * 10, NAMES).of([50.0] * 10)) == {"basic"}


@pytest.mark.parametrize("nobody_spent", [[], [0.0, 0.0]])
def test_where_nobody_spent_the_first_to_spend_stands_highest(nobody_spent):
    tiers = Tiers.learn(nobody_spent, NAMES)
    assert tiers.of([0, 1]).tolist() == ["basic", "diamond"]


@given(AMOUNTS, AMOUNTS)
def test_who_spends_more_never_stands_lower(population, amounts):
    tiers = Tiers.learn(population, NAMES)
    ranks = [NAMES.index(name) for name in tiers.of(np.sort(np.array(amounts)))]
    assert ranks == sorted(ranks)


@given(AMOUNTS)
def test_tiers_survive_json(population):
    tiers = Tiers.learn(population, NAMES)
    assert Tiers.from_json(json.loads(json.dumps(tiers.to_json()))) == tiers


def test_the_tier_column_is_a_feature():
    assert TIER_COLUMN in {feature.name for feature in FEATURES}


def test_an_unknown_amount_is_refused():
    with pytest.raises(ValueError, match="monetary must hold finite amounts, got 1 that are not"):
        Tiers.learn([1.0, np.nan], NAMES)


def test_another_number_of_names_is_refused():
    with pytest.raises(ValueError, match="cuts must be one less than the 2 names, got 5"):
        Tiers(("low", "high"), Tiers.learn([1.0], NAMES).cuts)


def test_falling_cuts_are_refused():
    with pytest.raises(ValueError, match="cuts must not fall"):
        Tiers(("low", "middle", "high"), (2.0, 1.0))
