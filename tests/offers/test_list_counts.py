"""Counts of lists are compared with the lists themselves, written out."""

from collections import Counter
from itertools import combinations
from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offers.list_counts import FeasibleLists, check_countable
from offers.types import AtMost

GROUPS = st.lists(
    st.builds(
        AtMost,
        st.lists(st.integers(0, 8), unique=True, max_size=6).map(tuple),
        st.integers(0, 3),
    ),
    max_size=5,
)


def sets_of(lists, n):
    return [
        chosen
        for chosen in combinations(lists.eligible, n)
        if set(lists.required) <= set(chosen)
        and all(len(set(chosen) & set(group.services)) <= group.most for group in lists.groups)
    ]


@given(
    st.sets(st.integers(0, 8)),
    st.integers(1, 6),
    GROUPS,
    st.lists(st.integers(0, 8), unique=True, max_size=3),
)
def test_counts_are_those_of_the_lists_written_out(eligible, longest, groups, must_show):
    lists = FeasibleLists.of(eligible, longest, groups, must_show)
    for n in range(1, longest + 1):
        written = sets_of(lists, n)
        assert lists.n_sets(n) == len(written)
        assert lists.n_lists(n) == len(written) * factorial(n)
        for service in lists.eligible:
            assert lists.n_sets(n, [service]) == sum(service in chosen for chosen in written)
    assert lists.lengths == tuple(n for n in range(1, longest + 1) if sets_of(lists, n))


def test_groups_without_a_common_service_are_factors():
    lists = FeasibleLists.of(range(35), 10, [AtMost(tuple(range(10)), 1), AtMost(tuple(range(10, 20)), 2)])
    expected = sum(
        comb(10, first) * comb(10, second) * comb(15, 10 - first - second)
        for first in range(2)
        for second in range(3)
    )
    assert lists.n_sets(10) == expected


def test_a_group_that_does_not_bind_is_no_rule():
    assert FeasibleLists.of([1, 2], 3, [AtMost((1, 2, 5), 2)]).is_free


def test_what_must_be_shown_comes_as_far_as_length_and_groups_allow_the_first_first():
    group = AtMost((0, 1), 1)
    assert FeasibleLists.of(range(4), 2, [group], must_show=[1, 0, 7, 3, 2]).required == (1, 3)


def test_a_chain_of_overlapping_pairs_is_counted():
    pairs = [AtMost((service, service + 1), 1) for service in range(34)]
    assert FeasibleLists.of(range(35), 10, pairs).n_sets(10) == comb(26, 10)  # no two neighbours


def test_groups_that_overlap_too_much_are_refused():
    rng = np.random.default_rng(0)
    groups = [AtMost(tuple(rng.choice(35, 8, replace=False).tolist()), 3) for _ in range(30)]
    with pytest.raises(ValueError, match=r"overlap so little that .* Let fewer services stand in several"):
        check_countable(groups, 35, 10)
    check_countable(groups[:3], 35, 10)


@pytest.mark.parametrize("seed", range(3))
def test_a_list_is_drawn_uniformly_from_all_orders(seed):
    rng = np.random.default_rng(seed)
    lists = FeasibleLists.of(range(5), 3, [AtMost((0, 1), 1), AtMost((1, 2, 3), 1)], must_show=[3])
    drawn = Counter(lists.draw(3, rng) for _ in range(3_000))
    assert {tuple(sorted(one)) for one in drawn} == set(sets_of(lists, 3))
    expected = 3_000 / lists.n_lists(3)
    statistic = sum((n - expected) ** 2 / expected for n in drawn.values())
    freedom = lists.n_lists(3) - 1
    assert len(drawn) == freedom + 1 and statistic < freedom + 5 * np.sqrt(2 * freedom)
