"""Random functions of users' traits, of several forms, so that no learner's own form is favoured."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Surface = Callable[[Floats], Floats]  # traits of shape (n, k) to values of shape (n,)

FORMS = ("linear", "tree", "smooth", "product")
_DEPTH = 3


def draw_surface(traits: Floats, rng: np.random.Generator, form: str | None = None) -> Surface:
    """A function of two to four of the traits, with mean 0 and standard deviation 1 over these users.

    Parameters
    ----------
    traits : array of shape (n, k)
        Users to standardise on, about standard normal.
    form : str, optional
        One of FORMS; by default any of them.
    """
    form = form or FORMS[rng.integers(len(FORMS))]
    used = rng.permutation(traits.shape[1])[: rng.integers(2, 5)]
    raw = _DRAW[form](len(used), rng)
    values = raw(traits[:, used])
    mean, sd = values.mean(), max(values.std(), 1e-9)
    return lambda of: (raw(of[:, used]) - mean) / sd


def _linear(k: int, rng: np.random.Generator) -> Surface:
    slope = rng.normal(size=k)
    return lambda traits: traits @ slope


def _tree(k: int, rng: np.random.Generator) -> Surface:
    """Steps: a full tree whose every node asks one trait."""
    trait = rng.integers(0, k, 2**_DEPTH - 1)
    cut = rng.normal(0, 0.7, 2**_DEPTH - 1)
    leaf = rng.normal(size=2**_DEPTH)

    def surface(traits: Floats) -> Floats:
        rows, node = np.arange(len(traits)), np.zeros(len(traits), np.intp)
        for _ in range(_DEPTH):
            node = 2 * node + 1 + (traits[rows, trait[node]] > cut[node])
        return leaf[node - (2**_DEPTH - 1)]

    return surface


def _smooth(k: int, rng: np.random.Generator) -> Surface:
    """Three waves that cross."""
    direction, phase = rng.normal(0, 1.0, (k, 3)), rng.uniform(0, 2 * np.pi, 3)
    height = rng.normal(size=3)
    return lambda traits: np.sin(traits @ direction + phase) @ height


def _product(k: int, rng: np.random.Generator) -> Surface:
    """A slope and how two traits change each other's."""
    slope, cross = rng.normal(size=k), rng.normal()
    return lambda traits: traits @ slope + cross * np.maximum(traits[:, 0], -1) * traits[:, 1]


_DRAW = {"linear": _linear, "tree": _tree, "smooth": _smooth, "product": _product}
