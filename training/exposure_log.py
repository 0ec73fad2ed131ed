"""What the models are fitted on: logged exposures, checked once and put in an order of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

N_FOLDS = 3
NOTHING = -1  # the service of a row where nothing was shown
_PROPENSITY_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Columns:
    """The columns a model was fitted on; `names` is empty when it was fitted on an array."""

    n_columns: int
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, X: ArrayLike | pd.DataFrame) -> "Columns":
        names = tuple(str(name) for name in X.columns) if isinstance(X, pd.DataFrame) else ()
        return cls(np.shape(X)[1] if np.ndim(X) == 2 else 0, names)

    def matrix(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float32]:
        """X as (n, n_columns) float32; the columns of a frame are found by name, whatever their order."""
        if isinstance(X, pd.DataFrame) and self.names:
            X = _by_name(X, self.names)
        try:
            with np.errstate(over="ignore"):
                matrix = np.ascontiguousarray(X, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"X must hold numbers only: {error}. Encode categories as codes first."
            ) from None
        if matrix.ndim != 2:
            raise ValueError(f"X must have the shape (n_rows, n_columns), got {matrix.shape}.")
        if matrix.shape[1] != self.n_columns:
            raise ValueError(f"X must have {self.n_columns} columns as in fit, got {matrix.shape[1]}.")
        if np.isinf(matrix).any():
            column = int(np.flatnonzero(np.isinf(matrix).any(axis=0))[0])
            raise ValueError(f"X must be finite or NaN (unknown), got an infinite value in column {column}.")
        return matrix


def _by_name(X: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    found = [str(name) for name in X.columns]
    missing = [name for name in names if name not in found]
    unexpected = [name for name in found if name not in names]
    if missing or unexpected or len(found) != len(names):
        raise ValueError(
            f"The columns of X must be those of fit: missing {missing}, unexpected {unexpected}, "
            f"got {len(found)} of {len(names)}."
        )
    return X.iloc[:, [found.index(name) for name in names]]


@dataclass(frozen=True)
class ExposureLog:
    """Checked exposures in content order, so that the order of the rows given does not matter."""

    X: NDArray[np.float32]  # (n, p); NaN is "unknown"
    service: NDArray[np.intp]  # (n,); NOTHING where nothing was shown
    propensity: NDArray[np.float64]  # (n, S + 1), nothing first
    y: NDArray[np.float64]  # (n,)
    uptake: NDArray[np.float64] | None  # (n,) 0 or 1
    fold: NDArray[np.intp]  # (n,) in 0 … N_FOLDS − 1
    precision: NDArray[np.float64]  # (n,) 1; less for a row that tells less of its service

    @classmethod
    def of(
        cls,
        X: NDArray[np.float32],
        service: ArrayLike,
        propensity: ArrayLike,
        y: ArrayLike,
        uptake: ArrayLike | None,
        seed: int,
    ) -> "ExposureLog":
        propensity = np.asarray(propensity, dtype=np.float64)
        if propensity.ndim != 2 or len(propensity) != len(X) or propensity.shape[1] < 2:
            raise ValueError(
                f"propensity must have the shape ({len(X)}, n_services + 1), nothing first, "
                f"got {propensity.shape}."
            )
        service = check_service(service, len(X), propensity.shape[1] - 1)
        check_propensity(propensity, service)
        y = check_labels("y", y, len(X))
        if np.ptp(y) == 0:
            raise ValueError(
                f"y must vary, got {y[0]:g} in all {len(y)} rows: nothing can be learned from it."
            )
        if uptake is not None:
            uptake = check_uptake(uptake, service)
        if not (service == NOTHING).any():
            raise ValueError(
                f"service must hold {NOTHING} for some rows (nothing shown). "
                "Without a holdout there is nothing to compare with: check the split."
            )
        order = content_order(seed, X, service, propensity, y, *([] if uptake is None else [uptake]))
        return cls(
            X=X[order],
            service=service[order],
            propensity=propensity[order],
            y=y[order],
            uptake=None if uptake is None else uptake[order],
            fold=deal_folds(service[order]),
            precision=np.ones(len(order)),
        )

    def take(self, rows: NDArray[np.bool_]) -> "ExposureLog":
        """The rows of a mask."""
        return ExposureLog(
            X=self.X[rows],
            service=self.service[rows],
            propensity=self.propensity[rows],
            y=self.y[rows],
            uptake=None if self.uptake is None else self.uptake[rows],
            fold=self.fold[rows],
            precision=self.precision[rows],
        )

    def with_rows(
        self,
        X: NDArray[np.float32],
        service: NDArray[np.intp],
        y: NDArray[np.float64],
        fold: NDArray[np.intp],
        precision: NDArray[np.float64],
    ) -> "ExposureLog":
        """The log with further shown rows at its end; of these propensity and uptake are unknown (NaN)."""
        unknown = np.full((len(y), self.propensity.shape[1]), np.nan)
        return ExposureLog(
            X=np.concatenate([self.X, X]),
            service=np.concatenate([self.service, service]),
            propensity=np.concatenate([self.propensity, unknown]),
            y=np.concatenate([self.y, y]),
            uptake=None if self.uptake is None else np.concatenate([self.uptake, np.full(len(y), np.nan)]),
            fold=np.concatenate([self.fold, fold]),
            precision=np.concatenate([self.precision, precision]),
        )

    @property
    def n_services(self) -> int:
        return self.propensity.shape[1] - 1

    @property
    def shown(self) -> NDArray[np.bool_]:
        return self.service != NOTHING


def deal_folds(service: NDArray[np.intp]) -> NDArray[np.intp]:
    """Folds dealt in turn within each service, so that every fold holds its share of each."""
    fold = np.empty(len(service), dtype=np.intp)
    for one in np.unique(service):
        rows = np.flatnonzero(service == one)
        fold[rows] = np.arange(len(rows)) % N_FOLDS
    return fold


def check_service(service: ArrayLike, n_rows: int, n_services: int) -> NDArray[np.intp]:
    """Service as integers; refuses positions outside −1 … n_services − 1, and logs of nothing alone."""
    found = np.asarray(service)
    if found.shape != (n_rows,):
        raise ValueError(f"service must have the shape ({n_rows},) as X has rows, got {found.shape}.")
    if not (np.issubdtype(found.dtype, np.number) and np.array_equal(found, np.floor(found))):
        raise ValueError(f"service must hold whole numbers, got {found.dtype}.")
    whole = found.astype(np.intp)
    if n_rows and (whole.min() < NOTHING or whole.max() >= n_services):
        raise ValueError(
            f"service must be {NOTHING} (nothing) to {n_services - 1}, got {whole.min()} to {whole.max()}."
        )
    if not (whole != NOTHING).any():
        raise ValueError("service must hold rows where a service was shown, got none.")
    return whole


def check_propensity(propensity: NDArray[np.float64], service: NDArray[np.intp]) -> None:
    """Refuse rows that are no distribution, and rows whose own or whose nothing's probability is 0."""
    if not np.isfinite(propensity).all() or propensity.min() < 0:
        raise ValueError("propensity must be between 0 and 1, got NaN, infinite or negative values.")
    if np.abs(propensity.sum(axis=1) - 1).max() > _PROPENSITY_SUM_TOLERANCE:
        worst = int(np.abs(propensity.sum(axis=1) - 1).argmax())
        raise ValueError(
            f"Each row of propensity must sum to 1, got {propensity[worst].sum():.6g} in row {worst}."
        )
    of_shown = propensity[np.arange(len(service)), service + 1]
    if (of_shown <= 0).any():
        row = int(np.flatnonzero(of_shown <= 0)[0])
        raise ValueError(
            f"propensity must be above 0 for what was shown, got {of_shown[row]:g} in row {row} "
            f"(service {service[row]}): what happened cannot have been impossible."
        )
    if (propensity[:, 0] <= 0).any():
        row = int(np.flatnonzero(propensity[:, 0] <= 0)[0])
        raise ValueError(
            f"propensity of nothing must be above 0, got {propensity[row, 0]:g} in row {row}. "
            "Rows that could never have been in the holdout have nothing to compare with: leave them out."
        )


def check_labels(name: str, values: ArrayLike, n_rows: int) -> NDArray[np.float64]:
    """Labels as float64; refuses another length and what is not finite."""
    labels = np.asarray(values, dtype=np.float64)
    if labels.shape != (n_rows,):
        raise ValueError(f"{name} must have the shape ({n_rows},) as X has rows, got {labels.shape}.")
    if not np.isfinite(labels).all():
        row = int(np.flatnonzero(~np.isfinite(labels))[0])
        raise ValueError(f"{name} must be finite, got {labels[row]} in row {row}: leave out what is unknown.")
    return labels


def check_uptake(values: ArrayLike, service: NDArray[np.intp]) -> NDArray[np.float64]:
    """Uptake as 0 and 1; refuses a log in which every shown service, or none, was taken up."""
    uptake = check_labels("uptake", values, len(service))
    if not np.isin(uptake, (0, 1)).all():
        raise ValueError(f"uptake must be 0 or 1, got {np.setdiff1d(uptake, (0, 1))[0]:g}.")
    when_shown = uptake[service != NOTHING]
    if np.ptp(when_shown) == 0:
        raise ValueError(
            f"uptake must hold both 0 and 1 where a service was shown, got {when_shown[0]:g} "
            f"in all {len(when_shown)} rows: check the uptake window."
        )
    return uptake


def check_categorical(categorical: Sequence[int], n_columns: int) -> tuple[int, ...]:
    """Positions of the categorical columns; refuses what is no column of X."""
    outside = [position for position in categorical if not 0 <= position < n_columns]
    if outside:
        raise ValueError(f"categorical must be columns of X, 0 to {n_columns - 1}, got {outside}.")
    return tuple(int(position) for position in categorical)


def check_attributes(attributes: ArrayLike | None, n_services: int) -> NDArray[np.float64]:
    """(n_services, k) finite numbers; k is 0 where nothing is known of the services."""
    if attributes is None:
        return np.zeros((n_services, 0))
    found = np.asarray(attributes, dtype=np.float64)
    if found.ndim != 2 or len(found) != n_services:
        raise ValueError(f"attributes must have the shape ({n_services}, k), got {found.shape}.")
    if not np.isfinite(found).all():
        raise ValueError("attributes must be finite, got NaN or infinite values: encode what is unknown.")
    return found


def content_order(seed: int, *columns: NDArray) -> NDArray[np.intp]:
    """A shuffle of the rows that depends on their content and the seed, not on the order given.

    Rows are sorted by a 64-bit hash of their bytes; only equal rows can tie, and those are interchangeable.

    Examples
    --------
    >>> X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> backwards = X[::-1]
    >>> np.array_equal(X[content_order(0, X)], backwards[content_order(0, backwards)])
    True
    """
    hashes = np.full(len(columns[0]), seed, dtype=np.uint64)
    for block in columns:
        # adding 0.0 makes one zero of -0.0 and 0.0, which are equal but differ in their bytes
        bits = (block.reshape(len(block), -1).astype(np.float64) + 0.0).view(np.uint64)
        for column in bits.T:
            hashes = _mix(hashes ^ column)
    return np.argsort(hashes, kind="stable")


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One round of splitmix64 (Steele, Lea and Flood, 2014), which spreads each bit over all."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
