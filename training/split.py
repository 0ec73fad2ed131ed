"""Which exposures teach the models and which are kept from them for the report."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from features.asof import DAY_US
from training.dataset import Dataset


@dataclass(frozen=True)
class Split:
    """By time: what was shown from a moment on is held out. By user: some users' rows are, at all times."""

    by: Literal["time", "user"]
    test_share: float
    test_from_us: int = 0  # microseconds since 1970; by time only

    @classmethod
    def of(cls, dataset: Dataset, test_share: float) -> "Split":
        """By time, so that the latest `test_share` of the exposures is held out.

        A log of one campaign has no earlier exposures whose windows closed before the later ones; then it
        is by user.
        """
        latest = len(dataset) - round(test_share * len(dataset))
        test_from_us = int(dataset.shown_at_us[min(latest, len(dataset) - 1)])
        by_time = cls("time", test_share, test_from_us)
        if by_time._closed_before(dataset).any():
            return by_time
        return cls("user", test_share)

    def apply(self, dataset: Dataset, user_ids: Sequence[str]) -> tuple[Dataset, Dataset]:
        """Rows to learn from, whose windows closed before the first held-out exposure, and held-out rows.

        Parameters
        ----------
        user_ids : sequence of str
            The id of each user that `dataset.user` numbers.

        Raises
        ------
        ValueError
            Where one of the two is empty.
        """
        test = self.is_held_out(dataset.user, dataset.shown_at_us, user_ids)
        train = self._closed_before(dataset) if self.by == "time" else ~test
        if not test.any() and self.by == "user":
            raise ValueError(
                f"held-out exposures must be there, found none: of {len(dataset):,} exposures the "
                f"{self.test_share:.0%} of the users that are kept for the report have none. Log more users."
            )
        if not test.any():
            raise ValueError(
                f"held-out exposures must be there from {np.datetime64(self.test_from_us, 'us')} on, found "
                "none: the data end before what the bundle was trained on does. Take a later log."
            )
        return dataset.take(train), dataset.take(test)

    def is_held_out(
        self, user: NDArray[np.integer], shown_at_us: NDArray[np.int64], user_ids: Sequence[str]
    ) -> NDArray[np.bool_]:
        """Exposures, by user's number and time, that are kept from the models."""
        if self.by == "time":
            return shown_at_us >= self.test_from_us
        return _draw(user_ids)[user] < self.test_share

    def _closed_before(self, dataset: Dataset) -> NDArray[np.bool_]:
        longest = max(dataset.windows.uptake_days, dataset.windows.repurchase_days)
        return dataset.shown_at_us + longest * DAY_US <= self.test_from_us


def _draw(user_ids: Sequence[str]) -> NDArray[np.float64]:
    """A number in [0, 1) for each id, the same whatever the order of the users."""
    return np.array([zlib.crc32(user_id.encode()) / 2**32 for user_id in user_ids])
