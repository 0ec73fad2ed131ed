"""All raw rows of one user, as plain arrays: what serving adds its live rows to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

COLUMNS = {  # of each table, as UserRows has them
    "orders": ("order_at_us", "order_amount_cents", "order_margin_cents"),
    "events": ("event_at_us", "event", "event_service", "event_value"),
    "exposures": ("exposure_at_us", "exposure_service"),
    "feedback": ("feedback_at_us", "feedback_nps", "feedback_service"),
}


def _no_integers() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


def _no_numbers() -> NDArray[np.float64]:
    return np.empty(0, np.float64)


def _no_texts() -> NDArray[np.object_]:
    return np.empty(0, object)


@dataclass(frozen=True)
class UserRows:
    """One user's rows, in any order. Times are microseconds since 1970; "" is no service.

    Raises
    ------
    ValueError
        Where the columns of one table differ in length.
    """

    joined_at_us: int
    attributes: Mapping[str, object] = field(default_factory=dict)
    order_at_us: NDArray[np.int64] = field(default_factory=_no_integers)
    order_amount_cents: NDArray[np.int64] = field(default_factory=_no_integers)
    order_margin_cents: NDArray[np.int64] = field(default_factory=_no_integers)
    event_at_us: NDArray[np.int64] = field(default_factory=_no_integers)
    event: NDArray[np.object_] = field(default_factory=_no_texts)  # names
    event_service: NDArray[np.object_] = field(default_factory=_no_texts)
    event_value: NDArray[np.float64] = field(default_factory=_no_numbers)
    exposure_at_us: NDArray[np.int64] = field(default_factory=_no_integers)
    exposure_service: NDArray[np.object_] = field(default_factory=_no_texts)
    feedback_at_us: NDArray[np.int64] = field(default_factory=_no_integers)
    feedback_nps: NDArray[np.int64] = field(default_factory=_no_integers)
    feedback_service: NDArray[np.object_] = field(default_factory=_no_texts)

    def __post_init__(self) -> None:
        for table, columns in COLUMNS.items():
            lengths = {name: len(getattr(self, name)) for name in columns}
            if len(set(lengths.values())) > 1:
                raise ValueError(f"The columns of {table} must have one length, got {lengths}.")

    @classmethod
    def unknown(cls, as_of_us: int) -> Self:
        """A user of whom nothing is known, as one who joins this moment."""
        return cls(joined_at_us=as_of_us)

    def plus(self, **columns: Sequence[Any]) -> Self:
        """These rows and more of them: the further values of each column of one table, or of several.

        Examples
        --------
        >>> rows = UserRows.unknown(as_of_us=5).plus(exposure_at_us=[3], exposure_service=["car-wash"])
        >>> rows.exposure_service.tolist()
        ['car-wash']
        """
        longer: dict[str, Any] = {name: self._longer(name, values) for name, values in columns.items()}
        return replace(self, **longer)

    def _longer(self, name: str, values: Sequence[Any]) -> NDArray:
        column = getattr(self, name)
        return np.concatenate([column, np.asarray(values, dtype=column.dtype)])
