"""Logged decisions as rows to learn from: the profile before, what was shown, what came after."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.asof import DAY_US, Ints, Log
from features.history import History
from features.pipeline import Layout, compute
from features.tables import Tables
from offers.catalog import Catalog
from offers.settings import WindowSettings
from offers.types import Progress
from training.lists import Lists
from training.propensity import full_propensities
from training.propensity_estimate import estimate_propensities

NOTHING = -1  # service code of a randomised nothing
SEVERAL = -2  # service code of a list of more than one service


@dataclass(frozen=True)
class Dataset:
    """One row for each logged slate whose outcome windows have closed, in order of time.

    Attributes
    ----------
    X : float32 array of shape (n, p)
        Profiles strictly before `shown_at_us`, in the order of `columns`.
    service : int16 array of shape (n,)
        Catalogue position, `NOTHING` or `SEVERAL`.
    slate_propensity : array of shape (n,)
        Logged probability of exactly the list that was shown. Where the log names none it is estimated; of
        a list of several then, that some such list was shown: an upper bound, which no weight uses.
    uptake : array of shape (n,)
        1 where the shown service was used within the window, else 0; 0 for nothing and for lists.
    repurchase : array of shape (n,)
        1 where the user ordered within the window, else 0.
    margin : array of shape (n,)
        Margin of the orders in the window, currency units, before the costs of the service.
    user : int array of shape (n,)
        Position of the user in the `users` table.
    shown_at_us : int64 array of shape (n,)
        Microseconds since 1970, UTC.
    estimated : float32 array of shape (n, n_services + 2), optional
        Estimated probabilities of nothing, each service and a list of several, on rows whose propensity the
        log does not name; NaN on the others. None where the log names all.
    trimmed : bool array of shape (n,), optional
        Rows on which an estimate was lifted to the least that counts.
    listed : int16 array of shape (n, longest), optional
        Services of a list of several in the order shown, padded with −1; −1 alone on other rows. None, as
        the two that follow, where no such list was logged.
    listed_propensity : float32 array of shape (n, longest), optional
        Logged probability that this service stood at this place; NaN where there is none.
    listed_uptake : float32 array of shape (n, longest), optional
        1 where the service at this place was used within the window, else 0.
    """

    X: NDArray[np.float32]
    service: NDArray[np.int16]
    slate_propensity: NDArray[np.float64]
    uptake: NDArray[np.float64]
    repurchase: NDArray[np.float64]
    margin: NDArray[np.float64]
    user: NDArray[np.int64]
    shown_at_us: NDArray[np.int64]
    columns: tuple[str, ...]
    categorical: tuple[int, ...]
    catalog: Catalog
    windows: WindowSettings
    estimated: NDArray[np.float32] | None = None
    trimmed: NDArray[np.bool_] | None = None
    listed: NDArray[np.int16] | None = None
    listed_propensity: NDArray[np.float32] | None = None
    listed_uptake: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.service)

    def take(self, rows: NDArray) -> "Dataset":
        """The rows of a mask or of positions."""
        arrays = {part.name: getattr(self, part.name) for part in fields(self)}
        return replace(
            self, **{name: value[rows] for name, value in arrays.items() if isinstance(value, np.ndarray)}
        )

    def single(self) -> "Dataset":
        """The rows on which one service or nothing was shown, with propensities conditional on that.

        The probability of a list of several is taken to be the share of such rows: lengths drawn at random.
        Where a policy chose the length, that can be too much: no offer becomes so likely that nothing would
        have been less likely than the log says. Where propensities are estimated, that probability is too.
        """
        alone = self.service != SEVERAL
        rows = replace(self.take(alone), listed=None, listed_propensity=None, listed_uptake=None)
        p_alone: float | NDArray = alone.mean()
        if rows.estimated is not None:
            p_alone = np.where(rows.is_estimated, 1 - rows.estimated[:, -1].astype(float), p_alone)
            conditional = rows.estimated / (1 - rows.estimated[:, -1:])
            conditional[:, -1] *= 0
            rows = replace(rows, estimated=conditional)
        nothing = rows.service == NOTHING
        most = 1 - np.where(nothing, _least(rows, ~nothing), _least(rows, nothing))
        given = rows.slate_propensity / p_alone
        is_sound = most > 0  # else the log's probabilities are more than one together, which checks will tell
        return replace(rows, slate_propensity=np.where(is_sound, np.minimum(given, most), given))

    def lists(self, outcome: NDArray[np.float64], choice_load: float) -> Lists | None:
        """The lists of several that models may learn from; None where there are none.

        Parameters
        ----------
        outcome : array of shape (n,)
            Of every row: margin or repurchase.
        choice_load : float
            Where uptake does not tell it.
        """
        rows = np.flatnonzero(self.is_teaching_list)
        if self.listed is None or self.listed_uptake is None or not len(rows):
            return None
        return Lists.of(
            self.X[rows],
            self.listed[rows],
            self.slate_propensity[rows],
            outcome[rows],
            self.listed_uptake[rows],
            choice_load,
        )

    @property
    def is_teaching_list(self) -> NDArray[np.bool_]:
        """Lists of several whose propensity is logged, shape (n,); an estimate is no list's weight."""
        return (self.service == SEVERAL) & ~self.is_estimated

    @property
    def is_estimated(self) -> NDArray[np.bool_]:
        """Rows whose propensity the log does not name, shape (n,)."""
        if self.estimated is None:
            return np.zeros(len(self), bool)
        return np.isfinite(self.estimated[:, 0])

    def net_margin(self) -> NDArray[np.float64]:
        """Margin less what the shown services cost, currency units, shape (n,)."""
        shown = self.service >= 0
        position = np.where(shown, self.service, 0)
        cost = self.uptake * self.catalog.unit_cost[position] + self.catalog.contact_cost[position]
        return self.margin - np.where(shown, cost, 0.0) - self._cost_of_lists()

    def _cost_of_lists(self) -> NDArray[np.float64]:
        if self.listed is None or self.listed_uptake is None:
            return np.zeros(len(self))
        position = np.maximum(self.listed, 0)
        cost = self.listed_uptake * self.catalog.unit_cost[position] + self.catalog.contact_cost[position]
        return np.where(self.listed >= 0, cost, 0.0).sum(axis=1)

    def capped(self, margin_cap: float) -> "Dataset":
        """The same rows with no margin above `margin_cap`."""
        return replace(self, margin=np.minimum(self.margin, margin_cap))

    def propensities(self, seed: int) -> NDArray[np.float64]:
        """Probability of nothing and of each service on single rows, shape (n, n_services + 1).

        The log knows only the probability of what it showed; the others are learned from the rows
        on which they were shown. Rows sum to 1: they are conditional on a list of at most one.
        """
        if (self.service == SEVERAL).any():
            raise ValueError("propensities are those of single offers; take `single()` first.")
        full = full_propensities(self.X, self.service, self.slate_propensity, len(self.catalog), seed)
        if self.estimated is None:
            return full
        alone = self.estimated[:, :-1].astype(np.float64)
        alone /= alone.sum(axis=1, keepdims=True)
        return np.where(self.is_estimated[:, None], alone, full)


def _least(rows: Dataset, which: NDArray[np.bool_]) -> float:
    """The smallest probability with which any of these was shown; 0 where there is none."""
    return float(rows.slate_propensity[which].min()) if which.any() else 0.0


def read_slates(tables: Tables, history: History) -> pd.DataFrame:
    """The log with one row a slate: user, shown_at_us, service and slate_propensity.

    Where there are lists of several, `service_1`, `propensity_1`, `service_2` and so on hold their places;
    −1 and NaN where there is none.

    Raises
    ------
    ValueError
        Where nothing was logged.
    """
    exposures = tables.exposures
    if exposures.empty:
        broken = sum(count.quarantined for count in tables.counts if count.table == "exposures")
        remedy = (
            f"All {broken:,} rows break the contract: quarantine/exposures.csv has each with its remedy."
            if broken
            else "Log what is shown (and, to some at random, not shown) first: the README has the table."
        )
        raise ValueError(f"exposures must hold at least one row to learn from, found none. {remedy}")
    return slates_of(exposures, history)


def slates_of(exposures: pd.DataFrame, history: History) -> pd.DataFrame:
    """What `read_slates` gives, of rows of the table exposures that are there."""
    position_of = {**history.encoding.position_of, "": NOTHING}
    rows = pd.DataFrame(
        {
            "slate_id": exposures["slate_id"],
            "user": exposures["user_id"].map(history.user_position),
            "shown_at_us": at_us(exposures["shown_at"]),
            "service": exposures["service_id"].map(position_of),
            "slate_propensity": exposures["slate_propensity"],
        }
    )
    first = ~rows["slate_id"].duplicated()
    alone = ~rows["slate_id"].duplicated(keep=False)
    slates = rows.assign(service=rows["service"].where(alone, SEVERAL))[first].drop(columns="slate_id")
    slates = slates.astype({"user": "int64", "service": "int16"})
    if alone.all():
        return slates
    slate = rows["slate_id"].factorize()[0]
    order = np.lexsort((exposures["position"], slate))
    order = order[~alone.to_numpy()[order]]
    services, propensities = _in_places(
        slate[order],
        rows["service"].to_numpy(np.int16)[order],
        exposures["propensity"].to_numpy(np.float32)[order],
        len(slates),
    )
    places = {f"service_{k}": column for k, column in enumerate(services.T, start=1)}
    places |= {f"propensity_{k}": column for k, column in enumerate(propensities.T, start=1)}
    return slates.assign(**places)


def _in_places(
    slate: Ints, service: NDArray[np.int16], propensity: NDArray[np.float32], n_slates: int
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Rows sorted by slate and position as arrays with a row a slate and a column a place, padded.

    >>> rows = np.array([0, 0, 2]), np.array([7, 5, 6], np.int16), np.array([0.1, 0.2, 0.3], np.float32)
    >>> _in_places(*rows, n_slates=3)[0].tolist()
    [[7, 5], [-1, -1], [6, -1]]
    """
    place = np.arange(len(slate)) - np.searchsorted(slate, slate)
    services = np.full((n_slates, place.max() + 1), NOTHING, dtype=np.int16)
    propensities = np.full(services.shape, np.nan, dtype=np.float32)
    services[slate, place], propensities[slate, place] = service, propensity
    return services, propensities


def build_dataset(
    slates: pd.DataFrame,
    history: History,
    layout: Layout,
    catalog: Catalog,
    windows: WindowSettings,
    until_us: int,
    progress: Progress | None = None,
) -> Dataset:
    """Every slate with closed windows, joined to the profile before it and the outcome after it.

    Parameters
    ----------
    slates : frame
        As `read_slates` gives it.
    until_us : int
        The tables are complete up to this time (`complete_until_us`).

    Raises
    ------
    ValueError
        Where no window has closed.
    """
    longest_us = max(windows.uptake_days, windows.repurchase_days) * DAY_US
    closed = slates["shown_at_us"].to_numpy() + longest_us <= until_us
    if not closed.any():
        raise ValueError(
            f"exposures must have outcome windows that closed before {_iso(until_us)}, found none: "
            f"the windows are {windows.uptake_days} and {windows.repurchase_days} days long and the first "
            f"exposure was on {_iso(slates['shown_at_us'].min())}. "
            "Shorten [windows] or set windows.complete_until."
        )
    slates = slates[closed].sort_values(["shown_at_us", "user"], kind="stable")
    user, service = slates["user"].to_numpy(), slates["service"].to_numpy()
    shown_at_us = slates["shown_at_us"].to_numpy()
    n_orders, margin_cents = _orders_after(history, user, shown_at_us, windows.repurchase_days)
    n_uses = _uses_after(history, user, service, shown_at_us, windows.uptake_days)
    listed, listed_propensity = _places(slates)
    X = compute(history, layout, user, shown_at_us, progress)
    propensity, estimated, trimmed = _complete_propensities(
        slates["slate_propensity"].to_numpy(np.float64), X, service, user, shown_at_us, layout
    )
    return Dataset(
        X=X,
        service=service,
        slate_propensity=propensity,
        uptake=(n_uses > 0).astype(np.float64),
        repurchase=(n_orders > 0).astype(np.float64),
        margin=margin_cents / 100,
        user=user,
        shown_at_us=shown_at_us,
        columns=layout.columns,
        categorical=layout.categorical,
        catalog=catalog,
        windows=windows,
        estimated=estimated,
        trimmed=trimmed,
        listed=listed,
        listed_propensity=listed_propensity,
        listed_uptake=_listed_uptake(history, user, listed, shown_at_us, windows.uptake_days),
    )


def complete_until_us(tables: Tables, windows: WindowSettings) -> int:
    """The time up to which the tables tell everything, microseconds since 1970.

    Raises
    ------
    ValueError
        Where `windows.complete_until` is not a time with its zone.
    """
    if windows.complete_until:
        return _us_of("windows.complete_until", windows.complete_until)
    times = [
        tables.orders["ordered_at"],
        tables.events["at"],
        tables.exposures["shown_at"],
        tables.feedback["at"],
    ]
    return int(max(at_us(column).max() for column in times if len(column)))


def at_us(times: pd.Series) -> NDArray[np.int64]:
    """Microseconds since 1970 of a column of UTC times."""
    return times.to_numpy("datetime64[us]").astype(np.int64)


def _orders_after(history: History, user: Ints, shown_at_us: Ints, days: int) -> tuple[Ints, Ints]:
    """How many orders fall into the window that opens with the exposure, and their margin in cents."""
    begin = history.orders.rows_before(user, shown_at_us)
    end = history.orders.rows_before(user, shown_at_us + days * DAY_US)
    margin = history.orders.total("margin_cents")
    return end - begin, margin[end] - margin[begin]


def _uses_after(history: History, user: Ints, service: NDArray, shown_at_us: Ints, days: int) -> Ints:
    """Uses of the shown service within the window that opens with the exposure; 0 for other rows."""
    n_services = history.encoding.n_services
    uses = history.uses.only(history.uses.columns["service"] >= 0)
    pairs = Log(  # of a user and a service, so that one search counts the uses of that service alone
        uses.user.astype(np.int64) * n_services + uses.columns["service"],
        uses.at_us,
        history.orders.n_users * n_services,
    )
    alone = service >= 0
    pair = np.where(alone, user * n_services + service, 0)
    n_uses = pairs.rows_before(pair, shown_at_us + days * DAY_US) - pairs.rows_before(pair, shown_at_us)
    return np.where(alone, n_uses, 0)


def _places(slates: pd.DataFrame) -> tuple[NDArray[np.int16] | None, NDArray[np.float32] | None]:
    """Services and propensities of each place, as `read_slates` left them; None without any list."""
    n_places = sum(name.startswith("service_") for name in slates.columns)
    if not n_places:
        return None, None
    places = range(1, n_places + 1)
    services = slates[[f"service_{k}" for k in places]].to_numpy(np.int16)
    return services, slates[[f"propensity_{k}" for k in places]].to_numpy(np.float32)


def _listed_uptake(
    history: History, user: Ints, listed: NDArray[np.int16] | None, shown_at_us: Ints, days: int
) -> NDArray[np.float32] | None:
    if listed is None:
        return None
    uptake = np.zeros(listed.shape, dtype=np.float32)
    row, place = np.nonzero(listed >= 0)
    uptake[row, place] = _uses_after(history, user[row], listed[row, place], shown_at_us[row], days) > 0
    return uptake


def _complete_propensities(
    logged: NDArray[np.float64],
    X: NDArray[np.float32],
    service: NDArray,
    user: Ints,
    shown_at_us: Ints,
    layout: Layout,
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None, NDArray[np.bool_] | None]:
    """Propensities with no gap; where there were some, the estimates there and which of them were trimmed.

    All rows teach the estimate: were it those with a gap alone, a log that names the propensity of offers
    and not that of nothing would teach that nothing was certain.
    """
    missing = np.isnan(logged)
    if not missing.any():
        return logged, None, None
    found = estimate_propensities(X, service, user, shown_at_us, len(layout.service_ids), layout.categorical)
    estimated = np.where(missing[:, None], found.probability, np.nan).astype(np.float32)
    return np.where(missing, found.of_shown(service), logged), estimated, missing & found.trimmed


def _us_of(setting: str, text: str) -> int:
    try:
        moment = pd.Timestamp(text)
    except ValueError:
        moment = None
    if moment is None or moment.tz is None:
        raise ValueError(
            f"{setting} must be a time with its zone, such as 2026-06-30T00:00:00Z, got {text!r}."
        )
    return int(moment.tz_convert(None).to_datetime64().astype("datetime64[us]").astype(np.int64))


def _iso(us: int) -> str:
    return pd.Timestamp(us, unit="us", tz="UTC").isoformat(timespec="minutes")
