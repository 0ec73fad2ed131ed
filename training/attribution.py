"""What each column of a profile adds to a prediction, passed on through the models that stand behind it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LEAST_SHARE = 0.1  # of what columns add, signs aside, that must be left of it for all to be passed on
_NOTHING = 1e-150  # its square is still a number
_NO_CHANGE = 1e-9  # of what columns add, signs aside: less is the rounding of sums


class Attribution(NamedTuple):
    """A prediction taken apart: base + the sum of the contributions over the last axis is the prediction.

    The base is what would be predicted of the typical user, whose trees stand at their expected values.
    """

    base: Floats  # (…,)
    contributions: Floats  # (…, p)

    @classmethod
    def nothing(cls, shape: tuple[int, ...], n_columns: int) -> "Attribution":
        return cls(np.zeros(shape), np.zeros((*shape, n_columns)))

    @property
    def total(self) -> Floats:
        """(…,) the prediction."""
        return np.asarray(self.base + self.contributions.sum(axis=-1))

    def plus(self, other: "Attribution") -> "Attribution":
        """Of the sum of two predictions; shapes are broadcast."""
        return Attribution(self.base + other.base, self.contributions + other.contributions)

    def times(self, factor: Floats | float) -> "Attribution":
        """Of a multiple of the prediction; the factor is broadcast to the shape of the base."""
        return Attribution(self.base * factor, self.contributions * np.asarray(factor)[..., None])

    def through(self, link: Callable[[Floats], Floats]) -> "Attribution":
        """Of link(prediction): what it differs by from link(base), in proportion to the contributions.

        Nothing is passed on where the contributions cancel out; the link then hardly leaves its base, and
        what rounding leaves is counted to the base.

        References
        ----------
        Shrikumar, Greenside and Kundaje (2017), Learning important features through propagating activation
        differences: the rescale rule. Chen, Lundberg and Lee (2022), Explaining a series of models by
        propagating Shapley values.

        Examples
        --------
        >>> Attribution(np.array([1.0]), np.array([[2.0, -1.0]])).through(np.square)
        Attribution(base=array([1.]), contributions=array([[ 6., -3.]]))
        """
        reference, found = link(self.base), link(self.total)
        change, moved = found - reference, self.contributions.sum(axis=-1)
        moves = np.abs(moved) > _NO_CHANGE * np.abs(self.contributions).sum(axis=-1) + _NOTHING
        slope = np.where(moves, change / np.where(moves, moved, 1.0), 0.0)
        passed = slope[..., None] * np.broadcast_to(
            self.contributions, (*slope.shape, self.contributions.shape[-1])
        )
        return Attribution(np.where(moves, reference, found), passed)

    def share(self, amount: Floats) -> "Attribution":
        """An amount that was credited to this prediction, passed on to its columns in proportion.

        Trees may credit something to a prediction that is at its base; divided by what columns add to it,
        which is then next to nothing, that would give each column a huge share of either sign. So where the
        columns cancel out to less than a tenth of what they add signs aside, less is passed on, down to
        nothing, and the rest stays in the base.

        Examples
        --------
        >>> columns = np.array([[3.0, -1.0], [1.0, -1.0]])
        >>> Attribution(np.zeros(2), columns).share(np.array([4.0, 4.0]))
        Attribution(base=array([0., 4.]), contributions=array([[ 6., -2.],
               [ 0., -0.]]))
        """
        moved = self.contributions.sum(axis=-1)
        least = _LEAST_SHARE * np.abs(self.contributions).sum(axis=-1)
        bound = np.maximum(np.abs(moved), least)
        moves = bound > _NOTHING
        slope = amount * np.where(moves, moved / np.where(moves, bound, 1.0) ** 2, 0.0)
        return Attribution(amount - slope * moved, slope[..., None] * self.contributions)


def check_services(services: Sequence[int] | None, n_services: int) -> NDArray[np.intp]:
    """Positions of services, by default of all; refuses those outside 0 … n_services − 1."""
    if services is None:
        return np.arange(n_services)
    found = np.asarray(services, dtype=np.intp)
    if found.ndim != 1 or (len(found) and not 0 <= found.min() <= found.max() < n_services):
        raise ValueError(f"services must be positions from 0 to {n_services - 1}, got {list(services)}.")
    return found
