"""What a decision costs is measured on lists that are bound by what the kind says."""

import numpy as np
import pytest

from benchmarks.decision import N_SERVICES, cases_of, cost_of


def test_each_kind_is_bound_by_more_than_the_last():
    free, prices, rules = cases_of(50, np.random.default_rng(0)).values()
    assert free.prices is None and free.rules is None
    assert prices.prices is not None and prices.rules is None
    assert len(rules.rules.at_most) == 7 and rules.rules.must_show.shape == (50, N_SERVICES)


@pytest.mark.slow
def test_costs_are_positive_and_quick_lists_of_many_users_are_faster():
    case = cases_of(2_000, np.random.default_rng(0))["prices"]
    cost = cost_of("prices", case, n_alone=20)
    assert 0 < cost.alone_ms <= cost.alone_ms_p95
    assert cost.users_a_second_quick > cost.users_a_second > 0
