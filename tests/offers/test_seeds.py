import threading

import numpy as np
import pytest

from offers.seeds import generator_of, new_seed


def test_a_seed_draws_the_same_again_whatever_was_drawn_between():
    for seed in (7, (3, 5), new_seed()):
        first = generator_of(seed).random(5).tolist()
        generator_of(new_seed()).integers(7, dtype=np.uint32)  # leaves half a number behind
        assert generator_of(seed).random(5).tolist() == first
        halves = generator_of(seed).integers(1 << 30, size=3, dtype=np.uint32).tolist()
        generator_of(new_seed()).integers(7, dtype=np.uint32)
        assert generator_of(seed).integers(1 << 30, size=3, dtype=np.uint32).tolist() == halves


def test_numbers_draw_what_numpy_draws():
    assert generator_of(7).random() == np.random.default_rng(7).random()
    assert generator_of((3, 5)).random() == np.random.default_rng((3, 5)).random()


def test_first_draws_of_new_seeds_are_uniform_and_their_own():
    draws = np.array([generator_of(new_seed()).random(2) for _ in range(20_000)])
    assert len(np.unique(draws)) == draws.size
    shares = np.histogram(draws[:, 0], bins=10, range=(0, 1))[0] / len(draws)
    assert np.abs(shares - 0.1).max() < 5 * np.sqrt(0.1 * 0.9 / len(draws))
    assert abs(np.corrcoef(draws.T)[0, 1]) < 5 / np.sqrt(len(draws))


def test_threads_do_not_disturb_each_other():
    seed, found = new_seed(), []
    expected = generator_of(seed).random(4).tolist()

    def draw_twice():
        rng = generator_of(seed)
        first = rng.random(2).tolist()
        other = threading.Thread(target=lambda: generator_of(new_seed()).random(100))
        other.start()
        other.join()
        found.append(first + rng.random(2).tolist())

    draw_twice()
    assert found == [expected]


@pytest.mark.parametrize("seed", ["", "1", "g" * 32, "0" * 33])
def test_a_text_of_another_form_is_refused(seed):
    with pytest.raises(ValueError, match=r"hexadecimal|base 16"):
        generator_of(seed)
