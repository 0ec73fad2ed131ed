"""Which columns of a profile move the value of offers, by how much, and which way."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.attribution import Attribution

Floats = NDArray[np.float64]

MOST_ROWS = 2_000  # that a service is explained for
MOST_PAIRS = (
    5_000  # rows times services, of all together: explaining costs a hundred times what predicting does
)
TOP = 15  # columns that are told of all services together
TOP_OF_SERVICE = 5
_CLEAR = 0.3  # rank correlation from which on a column has one direction


@dataclass(frozen=True)
class Importances:
    """The mean size of what each column adds to the value of offering a service alone, currency units."""

    columns: tuple[str, ...]
    n_pairs: int  # a held-out contact beside a service
    overall: Floats  # (p,) mean |contribution| over services, each counted alike
    by_service: Floats  # (S, p)
    direction: Floats  # (p,) rank correlation of a column with what it adds; NaN: a category, or no effect

    def top(self, n: int = TOP) -> list[int]:
        """The columns that move most, strongest first; none that moves nothing."""
        return _strongest(self.overall, n)

    def top_of(self, service: int, n: int = TOP_OF_SERVICE) -> list[int]:
        """The same of one service."""
        return _strongest(self.by_service[service], n)

    def way(self, column: int) -> str:
        """Which way a column moves the value, in words."""
        if np.isnan(self.direction[column]):
            return "by category"
        if abs(self.direction[column]) < _CLEAR:
            return "higher or lower"
        return "the more, the higher" if self.direction[column] > 0 else "the more, the lower"

    def to_json(self, service_ids: Sequence[str]) -> dict[str, Any]:
        return {
            "n_pairs": self.n_pairs,
            "columns": [
                {
                    "column": self.columns[column],
                    "effect": float(self.overall[column]),
                    "direction": None if np.isnan(self.direction[column]) else float(self.direction[column]),
                }
                for column in self.top()
            ],
            "services": {
                service_id: [
                    {"column": self.columns[column], "effect": float(self.by_service[position, column])}
                    for column in self.top_of(position)
                ]
                for position, service_id in enumerate(service_ids)
            },
        }


def importances(
    explain: Callable[[NDArray[np.float32], Sequence[int]], Attribution],
    X: NDArray[np.float32],
    eligible: NDArray[np.bool_],
    columns: Sequence[str],
    categorical: Sequence[int],
    rng: np.random.Generator,
) -> Importances:
    """Importances over a sample of rows for each service, of those to whom it may be offered.

    Parameters
    ----------
    explain : callable
        What each column adds to the value of these services, for rows of X.
    X : float32 array of shape (n, p)
    eligible : bool array of shape (n, S)
    columns : sequence of str
        Names of X's columns.
    categorical : sequence of int
        Columns that hold codes: these have no direction.
    """
    n_services = eligible.shape[1]
    values, added = [], []
    by_service = np.zeros((n_services, X.shape[1]))
    for service, rows in enumerate(_samples(eligible, rng)):
        if len(rows):
            contributions = explain(X[rows], [service]).contributions[:, 0]
            by_service[service] = np.abs(contributions).mean(axis=0)
            values.append(X[rows])
            added.append(contributions)
    direction = np.full(X.shape[1], np.nan)
    if values:
        every_value, every_effect = np.concatenate(values), np.concatenate(added)
        for column in np.setdiff1d(np.arange(X.shape[1]), categorical):
            direction[column] = _rank_correlation(every_value[:, column], every_effect[:, column])
    return Importances(
        columns=tuple(columns),
        n_pairs=sum(map(len, values)),
        overall=by_service.mean(axis=0),
        by_service=by_service,
        direction=direction,
    )


def _samples(eligible: NDArray[np.bool_], rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """For each service the rows on which it is explained."""
    most = min(MOST_ROWS, max(1, MOST_PAIRS // eligible.shape[1]))
    for may in eligible.T:
        rows = np.flatnonzero(may)
        yield np.sort(rng.choice(rows, min(most, len(rows)), replace=False))


def _rank_correlation(values: NDArray[np.float32], effects: Floats) -> float:
    """Spearman's, of the rows where the value is known; NaN where either does not vary."""
    known = ~np.isnan(values)
    if known.sum() < 2 or np.ptp(values[known]) == 0 or np.ptp(effects[known]) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(values[known]), rankdata(effects[known]))[0, 1])


def _strongest(effect: Floats, n: int) -> list[int]:
    return [int(column) for column in np.argsort(-effect, kind="stable")[:n] if effect[column] > 0]
