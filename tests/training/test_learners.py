"""What holds for every effect learner, and what each is for."""

from dataclasses import replace

import numpy as np
import pytest

from training.boosting import Binned, LearnerSettings
from training.evidence import Evidence
from training.learners.per_service import LEAST_ROWS, PerServiceR, PerServiceX
from training.learners.pooled import PooledX
from training.learners.ridge import HierarchicalRidge
from training.learners.surrogate import UptakeUplift
from training.stacking import stack
from training.uplift import LEARNERS

SETTINGS = LearnerSettings(min_rows=20, l2=1.0)


def evidence_of(deviation, service, noise: float = 0.3, seed: int = 0) -> Evidence:
    """Pairs, half of them treated, in which treatment adds the deviation of columns x and uptake.

    The columns are x (uniform in ±1), uptake (uniform in 0 … 1) and the service.
    """
    rng = np.random.default_rng(seed)
    m = len(service)
    x, uptake, treated = rng.uniform(-1, 1, m), rng.random(m), rng.random(m) < 0.5
    y = treated * deviation(x, uptake, service) + noise * rng.normal(size=m)
    features = np.column_stack([x, uptake, service]).astype(np.float32)
    return Evidence(
        data=Binned.of(features, (2,), n_jobs=1),
        categorical=(2,),
        uptake_column=1,
        service=service,
        fold=np.arange(m) % 3,
        treated=treated,
        baseline_residual=y,
        outcome_residual=y - 0.5 * deviation(x, uptake, service),
        treatment_residual=treated - 0.5,
        average=np.zeros(m),
        weight=np.ones(m),
        n_services=int(service.max()) + 1,
    )


def learner_of(name: str):
    learner = LEARNERS[name]
    return learner() if name in ("ridge", "uptake") else learner(SETTINGS, n_jobs=1)


def grid(n_services: int = 2) -> np.ndarray:
    """(5, S, 3) features: users with x and uptake from low to high, beside every service."""
    x = np.linspace(-0.9, 0.9, 5)
    rows = [[[v, (v + 1) / 2, j] for j in range(n_services)] for v in x]
    return np.array(rows, dtype=np.float32)


SERVICE = np.arange(6000) % 2


@pytest.fixture(scope="module")
def plain() -> Evidence:
    """An effect that every learner can express: it rises with the uptake, for both services alike."""
    return evidence_of(lambda x, uptake, service: uptake - 0.5, SERVICE)


@pytest.mark.parametrize("name", LEARNERS)
def test_fit_returns_the_learner_and_finds_a_plain_effect(name, plain):
    learner = learner_of(name)
    assert learner.fit(plain) is learner
    found = learner.predict_uplift(grid())
    assert found == pytest.approx(grid()[:, :, 1] - 0.5, abs=0.25)
    assert np.corrcoef(learner.out_of_fold_, plain.data.features[:, 1])[0, 1] > 0.9


@pytest.mark.parametrize("name", LEARNERS)
def test_the_same_seed_gives_the_same_answer(name, plain):
    one, other = (learner_of(name).fit(plain).predict_uplift(grid()) for _ in range(2))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_restored_learner_answers_the_same(name, plain):
    learner, texts = learner_of(name).fit(plain), {}
    restored = LEARNERS[name].restore(learner.dump(texts), texts, 1)
    assert np.array_equal(restored.predict_uplift(grid()), learner.predict_uplift(grid()))


@pytest.mark.parametrize("name", LEARNERS)
def test_without_an_effect_deviations_are_small(name):
    evidence = evidence_of(lambda x, uptake, service: 0 * x, SERVICE)
    assert np.abs(learner_of(name).fit(evidence).out_of_fold_).mean() < 0.05


@pytest.mark.parametrize("learner", [PerServiceX, PerServiceR])
def test_a_service_shown_too_seldom_keeps_its_average(learner):
    service = (np.arange(4000) % 10 == 0).astype(int)
    evidence = evidence_of(lambda x, uptake, service: x, service)
    assert np.count_nonzero(evidence.treated & (service == 1)) < LEAST_ROWS
    found = learner(SETTINGS, n_jobs=1).fit(evidence).predict_uplift(grid())
    assert np.ptp(found[:, 0]) > 1
    assert (found[:, 1] == 0).all()


def test_the_pooled_learner_lends_to_a_service_shown_seldom():
    service = (np.arange(4000) % 10 == 0).astype(int)
    evidence = evidence_of(lambda x, uptake, service: x, service)
    found = PooledX(SETTINGS, n_jobs=1).fit(evidence).predict_uplift(grid())
    assert found[:, 1] == pytest.approx(grid()[:, 1, 0], abs=0.3)


def test_the_ridge_gives_each_service_its_own_slope():
    evidence = evidence_of(lambda x, uptake, service: np.where(service == 0, x, -x), SERVICE)
    found = HierarchicalRidge().fit(evidence).predict_uplift(grid())
    assert found == pytest.approx(grid()[:, :, 0] * [1, -1], abs=0.25)


def test_uptake_that_goes_against_the_uplift_is_not_turned_round():
    evidence = evidence_of(lambda x, uptake, service: 0.5 - uptake, SERVICE)
    assert UptakeUplift().fit(evidence).scale_ == 0


def test_the_stack_leaves_out_noise_and_keeps_what_is_true():
    evidence = evidence_of(lambda x, uptake, service: x, np.arange(6000) % 6)
    truth = evidence.data.features[:, 0].astype(float)
    weights = stack(evidence, np.column_stack([truth, -truth, np.zeros(6000)]))
    assert weights == pytest.approx([1, 0, 0], abs=0.05)


def test_where_services_are_few_equal_learners_share_the_weight():
    evidence = evidence_of(lambda x, uptake, service: x, SERVICE)
    truth = evidence.data.features[:, 0].astype(float)
    noisy = [truth + np.random.default_rng(seed).normal(size=6000) * 0.2 for seed in (1, 2)]
    weights = stack(evidence, np.column_stack(noisy))
    assert weights == pytest.approx([0.5, 0.5], abs=0.1)


def test_too_few_pairs_give_no_learner_a_weight():
    evidence = evidence_of(lambda x, uptake, service: x, np.arange(100) % 2)
    assert not stack(evidence, evidence.data.features[:, :1].astype(float)).any()


def test_the_uptake_learner_asks_for_uptake():
    evidence = replace(evidence_of(lambda x, uptake, service: x, SERVICE), uptake_column=None)
    with pytest.raises(ValueError, match="evidence must hold the uptake uplift, got none"):
        UptakeUplift().fit(evidence)


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
