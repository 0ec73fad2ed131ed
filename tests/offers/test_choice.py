import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from offers.choice import attraction, choice_effort, take_probabilities


@given(st.floats(0, 0.999))
def test_a_service_alone_is_taken_with_its_own_uptake(uptake):
    taken = take_probabilities([attraction(uptake)], choice_load=0.7)
    np.testing.assert_allclose(taken, [uptake], atol=1e-12)


def test_a_certain_uptake_has_a_finite_attraction():
    assert np.isfinite(attraction(1.0))


def test_the_effort_of_choosing_grows_with_the_list():
    assert [choice_effort(n, 0.5) for n in (1, 2, 4)] == [1.0, 1.5, 2.5]


@given(st.lists(st.floats(0, 50), max_size=6), st.floats(0, 3))
def test_probabilities_of_a_list_sum_to_less_than_one_and_fall_with_the_load(attractions, load):
    taken = take_probabilities(attractions, load)
    assert taken.sum() < 1
    assert (take_probabilities(attractions, load + 1) <= taken).all()
