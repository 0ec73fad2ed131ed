"""How ids, categories and attributes become numbers: learned once, then kept with the models."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.asof import DAY_US, Floats
from features.positions import positions_in
from features.tables import Tables

_MOST_LEVELS = 255  # of an attribute; the rarer ones count as unknown
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Attribute:
    """A further column of `users`: a number, or a category as its position among `levels`.

    A number that float32 cannot hold, such as infinity, counts as unknown.
    """

    name: str
    levels: tuple[str, ...] | None = None  # None: a number

    @classmethod
    def of(cls, column: pd.Series) -> Self:
        """The encoding of a column; of more than 255 categories the most frequent are kept."""
        name = str(column.name)
        if _is_number(column):
            return cls(name)
        counts = column.dropna().astype(str).value_counts().rename_axis("level").reset_index(name="n")
        most = counts.sort_values(["n", "level"], ascending=[False, True])["level"].head(_MOST_LEVELS)
        return cls(name, tuple(sorted(most)))

    def encode(self, column: pd.Series) -> Floats:
        """Numbers, or codes of categories; NaN where empty or, for a category, not among the levels."""
        if self.levels is None:
            return _numbers(column)
        codes = positions_in(self.levels, column.astype("str"))
        return np.where(codes < 0, np.nan, codes)

    def encode_one(self, value: Any) -> float:
        """The same of one value."""
        if value is None:
            return np.nan
        if self.levels is not None:
            return self._code_of.get(str(value), np.nan)
        return float(value) if abs(float(value)) <= _LARGEST else np.nan

    def decode(self, code: float) -> object:
        """The value that `encode` made into `code`; None where it is unknown."""
        if np.isnan(code):
            return None
        return float(code) if self.levels is None else self.levels[int(code)]

    @cached_property
    def _code_of(self) -> dict[str, float]:
        return {level: float(code) for code, level in enumerate(self.levels or ())}


@dataclass(frozen=True)
class Encoding:
    """Services in the order of their ids, their categories, and attributes in the order of their names."""

    service_ids: tuple[str, ...]
    service_categories: tuple[str, ...]  # of each service; "": none
    attributes: tuple[Attribute, ...]

    @classmethod
    def of(cls, tables: Tables) -> Self:
        """The encoding of these tables, whatever the order of their rows and columns."""
        services = tables.services.sort_values("service_id")
        names = sorted(set(tables.users.columns) - {"user_id", "joined_at"})
        return cls(
            service_ids=tuple(services["service_id"]),
            service_categories=tuple(services["category"]),
            attributes=tuple(Attribute.of(tables.users[name]) for name in names),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists and texts, as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> Self:
        """What `to_json` wrote, also after a way through a JSON text."""
        return cls(
            service_ids=tuple(parts["service_ids"]),
            service_categories=tuple(parts["service_categories"]),
            attributes=tuple(
                Attribute(part["name"], None if part["levels"] is None else tuple(part["levels"]))
                for part in parts["attributes"]
            ),
        )

    @property
    def n_services(self) -> int:
        return len(self.service_ids)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The different categories of services, sorted."""
        return tuple(sorted(set(self.service_categories) - {""}))

    @cached_property
    def category_of(self) -> Floats:
        """1 where a service is of a category, shape (n_services, n_categories)."""
        return np.array(
            [[float(of == category) for category in self.categories] for of in self.service_categories]
        ).reshape(self.n_services, len(self.categories))

    @cached_property
    def position_of(self) -> dict[str, int]:
        """The position of each service_id."""
        return {service_id: position for position, service_id in enumerate(self.service_ids)}

    def encode_services(self, service_ids: pd.Series) -> NDArray[np.int16]:
        """Positions of services; -1 for "" and for a service that is not known."""
        return positions_in(self.service_ids, service_ids).astype(np.int16)

    def encode_users(self, users: pd.DataFrame) -> Floats:
        """The attributes of users as numbers, shape (n_users, n_attributes)."""
        columns = [attribute.encode(users[attribute.name]) for attribute in self.attributes]
        return np.array(columns).reshape(len(self.attributes), len(users)).T


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column)


def _numbers(column: pd.Series) -> Floats:
    if not pd.api.types.is_datetime64_any_dtype(column):
        numbers = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
        return np.where(np.abs(numbers) <= _LARGEST, numbers, np.nan)
    days = column.to_numpy("datetime64[us]").astype(np.int64) / DAY_US  # since 1970
    return np.where(column.isna(), np.nan, days)
