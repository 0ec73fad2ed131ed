"""How much of an outcome a column explains, and how much two columns have in common."""

import numpy as np
from numpy.typing import NDArray

_MOST_VALUES = 20  # a column with more is cut at its quantiles
_N_BINS = 10
_LEAST_ROWS = 5  # smaller cells are taken together


def cells_of(values: NDArray, is_category: bool = False) -> NDArray[np.intp]:
    """A cell for each row: each value, or deciles where there are many; unknown is a cell of its own.

    Examples
    --------
    >>> cells_of(np.repeat([1.0, 2.0, np.nan], 5)).tolist()
    [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]
    """
    known = np.isfinite(values)
    distinct = np.unique(values[known])
    if is_category or len(distinct) <= _MOST_VALUES:
        cell = np.searchsorted(distinct, values)  # NaN stands after all
    else:
        edges = np.unique(np.quantile(values[known], np.linspace(0, 1, _N_BINS + 1)[1:-1]))
        cell = np.where(known, np.searchsorted(edges, values, side="right"), len(edges) + 1)
    return merge_small(cell)


def merge_small(cell: NDArray[np.intp]) -> NDArray[np.intp]:
    """Cells numbered from 0, those with fewer than 5 rows taken together."""
    _, number, n = np.unique(cell, return_inverse=True, return_counts=True)
    return np.unique(np.where(n[number] < _LEAST_ROWS, -1, number), return_inverse=True)[1]


def explained(y: NDArray[np.float64], cell: NDArray[np.intp]) -> float:
    """Share of the variance of `y` between cells, less what chance would explain; 0 where nothing varies.

    1 - (SS_within / (n - k)) / (SS / (n - 1)), the epsilon squared of Kelley (1935).

    Examples
    --------
    >>> explained(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 1]))
    1.0
    """
    n = np.bincount(cell)
    mean = np.bincount(cell, y) / n
    total, left = float(((y - y.mean()) ** 2).sum()), len(y) - len(n)
    if total <= 0 or left <= 0:
        return 0.0
    within = float(((y - mean[cell]) ** 2).sum())
    return 1 - (within / left) / (total / (len(y) - 1))


def correlation(a: NDArray, b: NDArray) -> float:
    """Pearson's correlation; 0 where one of the two does not vary."""
    a, b = np.asarray(a, np.float64) - np.mean(a), np.asarray(b, np.float64) - np.mean(b)
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread > 0 else 0.0


def association(
    a: NDArray[np.intp], b: NDArray[np.intp], weight: NDArray[np.float64], effective_n: float
) -> float:
    """Cramér's V of two columns of cells numbered from 0, from weighted rows, less what chance would show.

    References
    ----------
    Bergsma (2013), A bias-correction for Cramér's V and Tschuprow's T.

    Examples
    --------
    >>> a = np.tile([0, 1], 50)
    >>> association(a, a, np.ones(100), 100), association(a, np.repeat([0, 1], 50), np.ones(100), 100)
    (0.9949366763261821, 0.0)
    """
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), weight)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0] / table.sum()
    n_rows, n_columns = table.shape
    if min(n_rows, n_columns) < 2:
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0))
    phi2 = float(((table - expected) ** 2 / expected).sum())
    by_chance = (n_rows - 1) * (n_columns - 1) / max(effective_n - 1, 1)
    return float(np.sqrt(max(phi2 - by_chance, 0.0) / (min(n_rows, n_columns) - 1)))
