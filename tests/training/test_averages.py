"""Average uplifts by empirical Bayes, beside what simple arithmetic says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.averages import average_uplift


def log_of(means, counts, seed=0, noise=1.0):
    """Residuals of each service (and of a holdout of 2,000 rows) around its mean."""
    service = np.repeat(np.arange(-1, len(means)), [2000, *counts])
    residual = np.array([*means, 0.0])[service] + noise * np.random.default_rng(seed).normal(
        size=len(service)
    )
    propensity = np.full((len(service), len(means) + 1), 1 / (len(means) + 1))
    return residual, service, propensity


def test_services_shown_often_keep_their_own_mean():
    averages = average_uplift(*log_of([-1.0, 0.0, 1.0, 2.0], [4000] * 4))
    assert averages.uplift == pytest.approx([-1, 0, 1, 2], abs=0.1)
    assert averages.se == pytest.approx(np.sqrt(1 / 4000 + 1 / 2000), rel=0.1)


def test_services_that_differ_by_chance_alone_are_drawn_together():
    averages = average_uplift(*log_of([0.5] * 8, [100] * 8))
    assert np.ptp(averages.uplift) < 0.1
    assert averages.uplift.mean() == pytest.approx(0.5, abs=0.1)


def test_a_service_shown_five_times_without_a_purchase_is_not_believed():
    residual, service, propensity = log_of([0.3, 0.3, 0.4, 0.2, 0.0], [2000, 2000, 2000, 2000, 5])
    residual[service == 4] = -0.2
    averages = average_uplift(residual, service, propensity)
    assert averages.uplift[4] == pytest.approx(0.3, abs=0.1)
    assert averages.se[4] > 2 * averages.se[0]


def test_unequal_propensities_are_weighted_away():
    # Users with x = 1 gain 1 and were shown the service three times as often as those who gain 0.
    service = np.repeat([0, 0, -1], [300, 100, 400])
    residual = np.repeat([1.0, 0.0, 0.0], [300, 100, 400])
    propensity = np.where(np.arange(800)[:, None] < 300, [0.25, 0.75], [0.75, 0.25])
    assert average_uplift(residual, service, propensity).uplift == pytest.approx([0.5])


def test_a_service_never_shown_gets_the_mean_of_all_and_the_widest_interval():
    residual, service, propensity = log_of([1.0, 2.0, 3.0, 0.0], [3000, 3000, 3000, 0])
    averages = average_uplift(residual, service, propensity)
    assert averages.uplift[3] == pytest.approx(2.0, abs=0.1)
    assert averages.se[3] > 0.8


@given(
    means=st.lists(st.floats(-1, 1), min_size=1, max_size=6),
    counts=st.lists(st.integers(0, 30), min_size=6, max_size=6),
    seed=st.integers(0, 1000),
)
def test_every_average_is_finite_and_lies_within_the_services_own_means(means, counts, seed):
    counts = [max(counts[0], 1), *counts[1:]][: len(means)]
    residual, service, propensity = log_of(means, counts, seed)
    averages = average_uplift(residual, service, propensity)
    own = [residual[service == j].mean() for j in range(len(means)) if counts[j]]
    holdout = residual[service == -1].mean()
    assert np.isfinite(averages.uplift).all()
    assert (averages.se > 0).all()
    assert averages.uplift.min() >= min(own) - holdout - 1e-9
    assert averages.uplift.max() <= max(own) - holdout + 1e-9
