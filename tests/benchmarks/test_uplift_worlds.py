"""The made worlds keep to the truth that they tell."""

import numpy as np
import pytest

from benchmarks.uplift.families import make_task
from benchmarks.uplift.shop import task_of_world
from benchmarks.uplift.surfaces import FORMS, draw_surface
from benchmarks.uplift.tasks import share_of_oracle
from benchmarks.uplift.trials import draw_trial_task, make_trial
from benchmarks.uplift.worlds import draw_task, make_world
from features.world import make_world as make_shop


@pytest.mark.parametrize("kind", ["uptake", "direct"])
@pytest.mark.parametrize("outcome", ["repurchase", "margin"])
def test_what_happens_to_the_offered_is_the_uplift_told(kind, outcome):
    rng = np.random.default_rng(1)
    world = make_world(kind, 4, outcome, rng)
    traits = world.people.traits(100_000, rng)
    uplift, uptake = world.uplift(traits), world.uptake(traits)
    nothing, _ = world.answer(traits, np.full((len(traits), 1), -1), rng)
    for service in range(4):
        offered, taken = world.answer(traits, np.full((len(traits), 1), service), rng)
        gap = (offered - nothing).mean() - uplift[:, service].mean()
        se = np.hypot(offered.std(), nothing.std()) / np.sqrt(len(traits))
        assert abs(gap) < 4 * se
        assert taken.mean() == pytest.approx(uptake[:, service].mean(), abs=0.005)


def test_propensities_are_those_by_which_services_were_drawn():
    rng = np.random.default_rng(2)
    task = draw_task(make_world("uptake", 12, "repurchase", rng), "uptake-12", 2, rng)
    expected = task.propensity.mean(axis=0)
    share = np.bincount(task.service + 1, minlength=13) / len(task.service)
    assert task.propensity.sum(axis=1) == pytest.approx(1)
    assert np.abs(share - expected).max() < 4 * np.sqrt(0.25 / len(task.service))
    assert 0.10 <= expected[0] <= 0.25


def test_a_list_of_several_works_in_proportion_to_what_is_taken():
    rng = np.random.default_rng(3)
    world = make_world("direct", 4, "repurchase", rng)
    traits = world.people.traits(200_000, rng)
    slates = np.tile([0, 1, -1], (len(traits), 1))
    y, taken = world.answer(traits, slates, rng)
    alone = world.uptake(traits)[:, :2]
    odds = alone / (1 - alone)
    in_list = odds / (1.35 + odds.sum(axis=1, keepdims=True))  # two services: A0 = 1 + 0.35
    expected = (in_list / alone * world.uplift(traits)[:, :2]).sum(axis=1)
    assert taken[:, :2].mean(axis=0) == pytest.approx(in_list.mean(axis=0), abs=0.005)
    assert y.mean() - world.p_baseline(traits).mean() == pytest.approx(expected.mean(), abs=0.006)


def test_the_same_seed_gives_the_same_rows_and_another_others():
    one, same, other = (make_task("few", seed) for seed in (0, 0, 1))
    assert np.array_equal(one.X, same.X, equal_nan=True)
    assert np.array_equal(one.uplift_test, same.uplift_test)
    assert one.X.shape != other.X.shape


def test_arms_of_a_trial_do_what_is_told():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        task = draw_trial_task(make_trial(rng), "few", seed, rng)
        holdout = task.y[task.service == -1]
        for arm in range(task.n_services):
            offered = task.y[task.service == arm]
            se = np.hypot(offered.std() / np.sqrt(len(offered)), holdout.std() / np.sqrt(len(holdout)))
            assert abs(offered.mean() - holdout.mean() - task.uplift_test[:, arm].mean()) < 4 * se + 0.002


def test_the_shop_gives_profiles_before_and_the_truth_at_the_same_moment():
    world = make_shop(400, 4, 150, np.random.default_rng(0))
    task = task_of_world(world, "repurchase", "shop-4", 0)
    assert task.X.shape[1] == task.X_test.shape[1]
    assert task.uplift_test.shape == (400, 4)
    assert len(task.y) == len(task.service) == len(task.propensity)
    length = (task.lists.slates >= 0).sum(axis=1)
    assert length.min() >= 2
    assert (task.lists.uptake.sum(axis=1) <= 1).all()


@pytest.mark.parametrize("form", FORMS)
def test_surfaces_are_standardised(form):
    rng = np.random.default_rng(0)
    traits = rng.normal(size=(5_000, 8))
    values = draw_surface(traits, rng, form)(traits)
    assert values.mean() == pytest.approx(0)
    assert values.std() == pytest.approx(1)


def test_the_truth_itself_reaches_all_and_nothing_reaches_nothing():
    uplift = np.random.default_rng(0).normal(size=(100, 3))
    assert share_of_oracle(uplift, uplift) == pytest.approx(1)
    assert share_of_oracle(np.full((100, 3), -1.0), uplift) == 0


def test_an_unknown_family_is_refused():
    with pytest.raises(LookupError, match=r"family must be one of uptake-12, .* got 'uptake-13'"):
        make_task("uptake-13", 0)
