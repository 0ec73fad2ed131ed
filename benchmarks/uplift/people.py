"""Made users: a few traits that decide what they do, and the many columns in which a shop sees them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_VIEWS = ("plain", "amount", "count", "code")
_SHARE_WITH_GAPS = 0.2  # of the columns that the logging policy does not look at


@dataclass(frozen=True)
class Column:
    """How one column shows one trait: `view` of the trait plus noise; trait −1 is noise alone."""

    trait: int
    view: str  # of _VIEWS
    noise: float  # standard deviation
    steepness: float
    codes: NDArray[np.intp]  # the code of each level, in an order that means nothing
    gaps: float  # share of NaN
    gaps_by_value: bool  # whether high values are missing more often


@dataclass(frozen=True)
class People:
    """A population: traits are correlated normals of unit variance, columns are drawn anew for each user."""

    mixing: Floats  # (k, k), traits = normals @ mixing
    columns: tuple[Column, ...]
    n_known: int  # the first columns show a trait each, without gaps

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "People":
        """8 to 12 traits in 24 to 56 columns, of which a third to a half is noise."""
        k = int(rng.integers(8, 13))
        loading = rng.normal(0, 0.5, (2, k))
        covariance = loading.T @ loading + np.eye(k)
        sd = np.sqrt(np.diag(covariance))
        mixing = np.linalg.cholesky(covariance / np.outer(sd, sd)).T
        n_columns = int(rng.integers(24, 57))
        n_noise = int(n_columns * rng.uniform(1 / 3, 1 / 2))
        traits = [*range(k), *rng.integers(0, k, max(0, n_columns - n_noise - k)), *[-1] * n_noise]
        columns = tuple(_draw_column(trait, place < k, rng) for place, trait in enumerate(traits))
        return cls(mixing, columns, k)

    def traits(self, n: int, rng: np.random.Generator) -> Floats:
        """(n, k) traits of n users."""
        return rng.normal(size=(n, len(self.mixing))) @ self.mixing

    def observe(self, traits: Floats, rng: np.random.Generator) -> Floats:
        """(n, p) columns; NaN where a value is unknown."""
        return np.column_stack([_observe(column, traits, rng) for column in self.columns])

    @property
    def categorical(self) -> tuple[int, ...]:
        return tuple(place for place, column in enumerate(self.columns) if column.view == "code")


def _draw_column(trait: int, known: bool, rng: np.random.Generator) -> Column:
    view = str(rng.choice(_VIEWS[:2])) if known else str(rng.choice(_VIEWS, p=(0.35, 0.2, 0.25, 0.2)))
    has_gaps = not known and rng.random() < _SHARE_WITH_GAPS
    return Column(
        trait=trait,
        view=view,
        noise=float(rng.uniform(0.1, 0.5) if known else rng.uniform(0.3, 1.0)),
        steepness=float(rng.uniform(0.5, 1.2)),
        codes=rng.permutation(int(rng.integers(4, 9))),
        gaps=float(rng.uniform(0.05, 0.3)) if has_gaps else 0.0,
        gaps_by_value=bool(rng.random() < 0.5),
    )


def _observe(column: Column, traits: Floats, rng: np.random.Generator) -> Floats:
    n = len(traits)
    trait = traits[:, column.trait] if column.trait >= 0 else rng.normal(size=n)
    seen = trait + column.noise * rng.normal(size=n)
    values = _SHOW[column.view](column, seen, rng)
    tendency = 1 / (1 + np.exp(-2 * seen)) if column.gaps_by_value else np.full(n, 0.5)
    return np.where(rng.random(n) < 2 * column.gaps * tendency, np.nan, values)


def _code(column: Column, seen: Floats, rng: np.random.Generator) -> Floats:
    levels = len(column.codes)
    cuts = 1.2 * np.linspace(-1.5, 1.5, levels - 1)
    return column.codes[np.searchsorted(cuts, seen)].astype(float)


_SHOW: dict[str, Callable[[Column, Floats, np.random.Generator], Floats]] = {
    "plain": lambda column, seen, rng: seen,
    "amount": lambda column, seen, rng: np.exp(column.steepness * seen),
    "count": lambda column, seen, rng: rng.poisson(np.exp(column.steepness * seen)).astype(float),
    "code": _code,
}
