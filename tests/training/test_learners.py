"""What holds for every effect learner, and what each is for."""

from dataclasses import replace

import numpy as np
import pytest

from training.boosting import Binned
from training.effect_features import Known
from training.evidence import Evidence, Holdout
from training.learners.baseline import BaselineProportion
from training.learners.proportion import UptakeProportion
from training.learners.ridge import MOST_COLUMNS, HierarchicalRidge
from training.learners.shared import SharedEffect
from training.learners.trees import LEAST_ROWS, ServiceTrees
from training.lockstep import LearnerSettings
from training.stacking import stack
from training.uplift import LEARNERS

SETTINGS = LearnerSettings(min_rows=20, l2=1.0)
BY_SETTINGS = (ServiceTrees.name,)  # learners that take settings


def evidence_of(
    deviation, service, noise: float = 0.3, seed: int = 0, average=None, binary: bool = False
) -> Evidence:
    """Pairs, half of them treated, in which treatment adds the deviation of columns x, baseline and uptake.

    The columns are x (uniform in ±1), the baseline and the uptake (both uniform in 0 … 1).
    """
    rng = np.random.default_rng(seed)
    m = len(service)
    x, baseline, uptake, treated = rng.uniform(-1, 1, m), rng.random(m), rng.random(m), rng.random(m) < 0.5
    multiplier = treated - 0.5
    target = multiplier * deviation(x, baseline, uptake, service) + noise * rng.normal(size=m)
    n_services = int(service.max()) + 1
    return Evidence(
        data=Binned.of(np.column_stack([x, baseline, uptake]).astype(np.float32), (), n_jobs=1),
        categorical=(),
        uptake_column=2,
        service=service,
        fold=rng.permutation(np.arange(m) % 3),
        target=target,
        multiplier=multiplier,
        weight=np.ones(m),
        average=np.full(n_services, 0.5) if average is None else np.asarray(average),
        binary=binary,
        n_shown=np.bincount(service[treated], minlength=n_services),
    )


def learner_of(name: str):
    return LEARNERS[name](SETTINGS, n_jobs=1) if name in BY_SETTINGS else LEARNERS[name]()


def users(n_services: int = 2) -> Known:
    """Five users with x, baseline and uptake from low to high, beside every service."""
    x = np.linspace(-0.9, 0.9, 5)
    share = (x + 1) / 2
    of_user = np.column_stack([x, share]).astype(np.float32)
    return Known(of_user, np.tile(share[:, None], (1, n_services)).astype(np.float32))


SERVICE = np.arange(6000) % 2
X_OF_USERS = users().of_user[:, :1].astype(float)


@pytest.fixture(scope="module")
def plain() -> Evidence:
    """An effect that every learner can express: it rises with uptake and baseline, for all services alike."""
    evidence = evidence_of(lambda x, baseline, uptake, service: 0 * x, SERVICE, noise=0.1)
    features = evidence.data.features.copy()
    features[:, 1] = features[:, 2]  # the baseline tells the uptake
    target = evidence.target + evidence.multiplier * (features[:, 2].astype(float) - 0.5)
    return replace(evidence, data=Binned.of(features, (), n_jobs=1), target=target)


@pytest.mark.parametrize("name", LEARNERS)
def test_fit_returns_the_learner_and_finds_a_plain_effect(name, plain):
    learner = learner_of(name)
    assert learner.fit(plain) is learner
    found = learner.predict_uplift(users())
    assert found == pytest.approx(np.tile(users().of_user[:, 1:].astype(float) - 0.5, (1, 2)), abs=0.25)
    assert np.corrcoef(learner.out_of_fold_, plain.data.features[:, 1])[0, 1] > 0.9


@pytest.mark.parametrize("name", LEARNERS)
def test_the_same_seed_gives_the_same_answer(name, plain):
    one, other = (learner_of(name).fit(plain).predict_uplift(users()) for _ in range(2))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_restored_learner_answers_the_same(name, plain):
    learner, texts = learner_of(name).fit(plain), {}
    restored = LEARNERS[name].restore(learner.dump(texts), texts, 1)
    assert np.array_equal(restored.predict_uplift(users()), learner.predict_uplift(users()))


@pytest.mark.parametrize("name", [name for name in LEARNERS if name != BaselineProportion.name])
def test_without_an_effect_deviations_are_small(name):
    evidence = evidence_of(lambda x, baseline, uptake, service: 0 * x, SERVICE, average=[0.0, 0.0])
    assert np.abs(learner_of(name).fit(evidence).out_of_fold_).mean() < 0.05


def test_a_service_shown_too_seldom_has_no_trees():
    service = (np.arange(4000) % 10 == 0).astype(int)
    evidence = evidence_of(lambda x, baseline, uptake, service: x, service)
    assert evidence.n_shown[1] < LEAST_ROWS
    found = ServiceTrees(SETTINGS, n_jobs=1).fit(evidence).predict_uplift(users())
    assert np.ptp(found[:, 0]) > 1
    assert (found[:, 1] == 0).all()


def test_trees_of_a_service_without_an_effect_are_hardly_trusted():
    def effect(x, baseline, uptake, service):
        return np.where(service < 4, np.sign(x), 0.0)

    trees = ServiceTrees(SETTINGS, n_jobs=1).fit(evidence_of(effect, np.arange(12_000) % 6))
    assert trees.strengths_[:4].min() > 0.8
    assert np.abs(trees.predict_uplift(users(6))[:, 4:]).max() < 0.25


def test_the_ridge_lends_to_a_service_shown_seldom():
    service = (np.arange(4000) % 40 == 0).astype(int)
    evidence = evidence_of(lambda x, baseline, uptake, service: x, service)
    found = HierarchicalRidge().fit(evidence).predict_uplift(users())
    assert found[:, 1] == pytest.approx(X_OF_USERS[:, 0], abs=0.35)


def test_the_ridge_gives_each_service_its_own_slope():
    def opposed(x, baseline, uptake, service):
        return np.where(service == 0, x, -x)

    found = HierarchicalRidge().fit(evidence_of(opposed, SERVICE)).predict_uplift(users())
    assert found == pytest.approx(X_OF_USERS * [1, -1], abs=0.25)


def test_the_ridge_finds_the_one_column_among_many_that_matters():
    evidence = evidence_of(lambda x, baseline, uptake, service: x, np.arange(9000) % 6)
    noise = np.random.default_rng(1).normal(size=(9000, MOST_COLUMNS + 20)).astype(np.float32)
    wide = replace(evidence, data=Binned.of(np.column_stack([noise, evidence.data.features]), (), 1))
    ridge = HierarchicalRidge().fit(replace(wide, uptake_column=noise.shape[1] + 2))
    telling = [scale.column == noise.shape[1] for scale in ridge.basis_.scales]
    assert len(ridge.basis_.scales) <= 3 * MOST_COLUMNS
    assert np.abs(ridge.slopes_[:, telling]).min() > 10 * np.abs(ridge.slopes_[:, ~np.array(telling)]).mean()


def test_the_ridge_knows_less_of_users_far_from_the_mean():
    ridge = HierarchicalRidge().fit(evidence_of(lambda x, baseline, uptake, service: x, SERVICE))
    variance = ridge.predict_variance(users())
    assert (variance > 0).all()
    assert variance[0, 0] > variance[2, 0] < variance[4, 0]


def test_gains_by_use_follow_the_averages_where_services_were_hardly_shown():
    service = np.concatenate([np.zeros(5000, int), np.ones(5000, int), np.full(10, 2)])
    gains = np.array([1.0, 2.0, 3.0])
    evidence = evidence_of(
        lambda x, baseline, uptake, service: gains[service] * (uptake - 0.5), service, average=gains / 2
    )
    found = UptakeProportion().fit(evidence).gain_per_use_
    assert found == pytest.approx(gains, rel=0.35)


def test_a_gain_by_use_that_goes_against_the_averages_is_found_by_its_own_evidence():
    evidence = evidence_of(lambda x, baseline, uptake, service: 0.5 - uptake, SERVICE)
    assert UptakeProportion().fit(evidence).gain_per_use_ == pytest.approx([-1, -1], abs=0.3)


def test_one_factor_on_the_odds_gives_the_average_uplift_back():
    evidence = evidence_of(
        lambda x, baseline, uptake, service: 0 * x, SERVICE, average=[0.1, -0.05], binary=True
    )
    learner = BaselineProportion().fit(evidence)
    middle = learner.predict_uplift(users())[2]
    assert (learner.centre_ == pytest.approx([0.1, -0.05], abs=1e-6)) and middle[0] > 0 > middle[1]


def test_the_shared_effect_is_what_the_holdout_falls_short_by():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 3000)
    features = np.column_stack([x, rng.random(3000)]).astype(np.float32)
    target = -0.5 * np.sign(x) + 0.3 * rng.normal(size=3000)
    holdout = Holdout(Binned.of(features, (), 1), np.arange(3000) % 3, target, np.ones(3000))
    learner = SharedEffect(SETTINGS, n_jobs=1).fit(holdout)
    assert learner.predict_uplift(users()) == pytest.approx(0.5 * np.sign(X_OF_USERS[:, 0]), abs=0.6)
    texts: dict[str, str] = {}
    restored = SharedEffect.restore(learner.dump(texts), texts, 1)
    assert np.array_equal(restored.predict_uplift(users()), learner.predict_uplift(users()))


def test_the_stack_leaves_out_noise_and_keeps_what_is_true():
    evidence = evidence_of(lambda x, baseline, uptake, service: x, np.arange(6000) % 6)
    truth = evidence.data.features[:, 0].astype(float)
    weights = stack(evidence, np.column_stack([truth, -truth, np.zeros(6000)]))
    assert weights == pytest.approx([1, 0, 0], abs=0.05)


def test_where_services_are_few_equal_learners_share_the_weight():
    evidence = evidence_of(lambda x, baseline, uptake, service: x, SERVICE)
    truth = evidence.data.features[:, 0].astype(float)
    noisy = [truth + np.random.default_rng(seed).normal(size=6000) * 0.2 for seed in (1, 2)]
    weights = stack(evidence, np.column_stack(noisy))
    assert weights == pytest.approx([0.5, 0.5], abs=0.1)


def test_too_few_pairs_give_no_learner_a_weight():
    evidence = evidence_of(lambda x, baseline, uptake, service: x, np.arange(100) % 2)
    assert not stack(evidence, evidence.data.features[:, :1].astype(float)).any()


def test_the_uptake_learner_asks_for_uptake():
    evidence = evidence_of(lambda x, baseline, uptake, service: x, SERVICE)
    with pytest.raises(ValueError, match="evidence must hold the uptake uplift, got none"):
        UptakeProportion().fit(replace(evidence, uptake_column=None))


@pytest.mark.parametrize(
    "faulty, message",
    [
        ({"leaves": 1}, "leaves must be at least 2, got 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 and at most 1, got 0.0"),
        ({"min_rows": 0}, "min_rows must be at least 1, got 0"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"l2": -1.0}, "l2 must not be negative, got -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(faulty, message):
    with pytest.raises(ValueError, match=message):
        LearnerSettings(**faulty)
