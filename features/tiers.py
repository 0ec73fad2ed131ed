"""Value tiers: users in groups by what they spent, with stable names and cuts that were learned once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

TIER_COLUMN = "monetary_365d"  # the column of the profile that tiers are cut on


@dataclass(frozen=True)
class Tiers:
    """Names from low to high, and the amounts above which each but the lowest begins.

    Raises
    ------
    ValueError
        Where there is not one cut less than names, or the cuts do not rise.
    """

    names: tuple[str, ...]
    cuts: tuple[float, ...]  # currency units; a user stands above as many names as cuts are below the amount

    def __post_init__(self) -> None:
        if len(self.cuts) != len(self.names) - 1:
            raise ValueError(
                f"cuts must be one less than the {len(self.names)} names, got {len(self.cuts)}. "
                "Another number of tiers needs a new training."
            )
        if list(self.cuts) != sorted(self.cuts):
            raise ValueError(f"cuts must not fall, got {list(self.cuts)}.")

    @classmethod
    def learn(cls, monetary: ArrayLike, names: Sequence[str]) -> Self:
        """Tiers of equal size among those who spent; those who spent nothing join the lowest.

        Users who spent the same share a tier, so that with many ties tiers differ in size and some stay
        empty. Where nobody spent anything, every cut is 0.

        Parameters
        ----------
        monetary : array-like of shape (n_users,)
            What each user of the training population spent, currency units; `TIER_COLUMN` of the profile.
        names : sequence of str
            Low to high.

        Raises
        ------
        ValueError
            Where an amount is NaN or infinite.

        Examples
        --------
        >>> tiers = Tiers.learn([0, 0, 10, 20, 30, 40], ["basic", "gold"])
        >>> tiers.cuts, tiers.of([0, 20, 21]).tolist()
        ((20.0,), ['basic', 'basic', 'gold'])
        """
        amounts = _amounts(monetary)
        spent = amounts[amounts > 0]
        shares = np.arange(1, len(names)) / len(names)
        cuts = np.quantile(spent, shares, method="inverted_cdf") if len(spent) else np.zeros(len(shares))
        return cls(tuple(names), tuple(cuts.tolist()))

    def of(self, monetary: ArrayLike) -> NDArray[np.object_]:
        """The tier's name of each user, from amounts of shape (n_users,)."""
        return np.array(self.names, object)[np.searchsorted(self.cuts, _amounts(monetary), side="left")]

    def to_json(self) -> dict[str, Any]:
        """Plain lists, as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> Self:
        """What `to_json` wrote, also after a way through a JSON text."""
        return cls(tuple(parts["names"]), tuple(parts["cuts"]))


def _amounts(monetary: ArrayLike) -> NDArray[np.float64]:
    amounts = np.asarray(monetary, np.float64)
    if not np.isfinite(amounts).all():
        raise ValueError(
            f"monetary must hold finite amounts, got {np.count_nonzero(~np.isfinite(amounts))} that are not. "
            "Take the profile's column as it is: a user without orders has 0."
        )
    return amounts
