"""Every feature of a profile, one entry each, and the one function that computes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features import behaviour, feedback, response, rfm, usage
from features.encoding import Encoding
from features.history import History
from features.known import Known
from features.lifecycle import lifecycle_stage
from offers.types import Progress

_ROWS_AT_ONCE = 16_384  # what one step of `compute` works on stays in the processor's cache


@dataclass(frozen=True)
class Feature:
    """A name and what computes it; with `per`, a column for each service, category or attribute."""

    name: str
    function: Callable[..., NDArray]
    days: int | None = None  # passed on, where the function asks for a window
    per: Literal["service", "category", "attribute"] | None = None

    def of(self, known: Known) -> NDArray:
        """The values, shape (n,) or (n, n_columns)."""
        return self.function(known) if self.days is None else self.function(known, self.days)


# The calendar is left out on purpose: training sees earlier months than serving, and would learn the months.
FEATURES = (
    Feature("recency_days", rfm.recency_days),
    Feature("tenure_days", rfm.tenure_days),
    Feature("frequency_7d", rfm.frequency, 7),
    Feature("frequency_30d", rfm.frequency, 30),
    Feature("frequency_90d", rfm.frequency, 90),
    Feature("frequency_365d", rfm.frequency, 365),
    Feature("frequency_all", rfm.frequency),
    Feature("monetary_7d", rfm.monetary, 7),
    Feature("monetary_30d", rfm.monetary, 30),
    Feature("monetary_90d", rfm.monetary, 90),
    Feature("monetary_365d", rfm.monetary, 365),
    Feature("monetary_all", rfm.monetary),
    Feature("margin_90d", rfm.margin, 90),
    Feature("margin_365d", rfm.margin, 365),
    Feature("basket_90d", rfm.basket, 90),
    Feature("basket_all", rfm.basket),
    Feature("account_age_days", behaviour.account_age_days),
    Feature("gap_mean_days", behaviour.gap_mean_days),
    Feature("gap_std_days", behaviour.gap_std_days),
    Feature("gaps_overdue", behaviour.gaps_overdue),
    Feature("frequency_trend_90d", behaviour.frequency_trend, 90),
    Feature("monetary_trend_90d", behaviour.monetary_trend, 90),
    Feature("lifecycle_stage", lifecycle_stage),
    Feature("events_recency_days", usage.events_recency_days),
    Feature("viewed_30d", usage.viewed, 30),
    Feature("viewed_90d", usage.viewed, 90),
    Feature("clicked_30d", usage.clicked, 30),
    Feature("clicked_90d", usage.clicked, 90),
    Feature("other_events_30d", usage.other_events, 30),
    Feature("other_events_90d", usage.other_events, 90),
    Feature("used_7d", usage.used, 7),
    Feature("used_30d", usage.used, 30),
    Feature("used_90d", usage.used, 90),
    Feature("used_365d", usage.used, 365),
    Feature("used_all", usage.used),
    Feature("used_recency_days", usage.used_recency_days),
    Feature("used_trend_90d", usage.used_trend, 90),
    Feature("used_value_90d", usage.used_value, 90),
    Feature("services_used_90d", usage.services_used, 90),
    Feature("services_used_all", usage.services_used),
    Feature("share_of_uses_365d", usage.share_of_uses, 365, per="category"),
    Feature("uses_90d", usage.uses, 90, per="service"),
    Feature("uses_recency_days", usage.uses_recency_days, per="service"),
    Feature("offers_7d", response.offers_seen, 7),
    Feature("offers_30d", response.offers_seen, 30),
    Feature("offers_90d", response.offers_seen, 90),
    Feature("offers_all", response.offers_seen),
    Feature("offers_recency_days", response.offers_recency_days),
    Feature("taken_30d", response.offers_taken, 30),
    Feature("taken_90d", response.offers_taken, 90),
    Feature("taken_all", response.offers_taken),
    Feature("taken_recency_days", response.taken_recency_days),
    Feature("taken_per_offer", response.taken_per_offer),
    Feature("seen_90d", response.seen, 90, per="service"),
    Feature("taken_all", response.taken, per="service"),
    Feature("feedback_all", feedback.feedback_count),
    Feature("feedback_recency_days", feedback.feedback_recency_days),
    Feature("nps_last", feedback.nps_last),
    Feature("nps_mean_all", feedback.nps_mean),
    Feature("attribute", lambda known: known.attributes, per="attribute"),
)


@dataclass(frozen=True)
class Layout(Encoding):
    """What fixes the columns of a profile: learned from the training tables, kept in the bundle."""

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns in their order; ``uses_90d/car-wash`` is one service's."""
        return tuple(name for feature in FEATURES for name in self._names(feature))

    @cached_property
    def position_of_column(self) -> dict[str, int]:
        """The position of each column; of two of one name the first."""
        return {name: position for position, name in reversed(list(enumerate(self.columns)))}

    @cached_property
    def categorical(self) -> tuple[int, ...]:
        """Positions of the columns that hold codes of categories."""
        names = {f"attribute/{part.name}" for part in self.attributes if part.levels is not None}
        return tuple(position for position, name in enumerate(self.columns) if name in names)

    def _names(self, feature: Feature) -> Sequence[str]:
        if feature.per is None:
            return (feature.name,)
        each = {
            "service": self.service_ids,
            "category": self.categories,
            "attribute": tuple(attribute.name for attribute in self.attributes),
        }
        return [f"{feature.name}/{one}" for one in each[feature.per]]


def compute(
    history: History,
    layout: Layout,
    user: ArrayLike,
    as_of_us: ArrayLike,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """The profiles of users, each at a moment of its own, of which nothing later is known.

    Parameters
    ----------
    history : History
    layout : Layout
        The one the history was made with.
    user : array-like of shape (n,)
        Numbers of users in the history, in any order, as often as wanted.
    as_of_us : array-like of shape (n,)
        Microseconds since 1970; rows at this very time are not known.
    progress : callable, optional

    Returns
    -------
    ndarray of shape (n, n_columns)
        In the order of `layout.columns`. NaN is unknown: no order yet, no answer yet.

    Raises
    ------
    ValueError
        Where the history was made with another layout.
    """
    if history.encoding != layout:
        raise ValueError(
            "layout must be the one that the history was made with, got another. "
            "Make the history anew with this layout."
        )
    user, as_of_us = np.asarray(user, np.int64), np.asarray(as_of_us, np.int64)
    order = np.lexsort((as_of_us, user))  # neighbours in the logs are asked for together
    profiles = np.empty((len(user), len(layout.columns)), np.float32)
    for begin in range(0, len(order), _ROWS_AT_ONCE):
        rows = order[begin : begin + _ROWS_AT_ONCE]
        profiles[rows] = _profiles(history.known(user[rows], as_of_us[rows]), len(layout.columns))
        if progress:
            progress("profiles", min(begin + _ROWS_AT_ONCE, len(order)), len(order))
    return profiles


def _profiles(known: Known, n_columns: int) -> NDArray[np.float32]:
    profiles = np.empty((n_columns, len(known.as_of_us)), np.float32)  # a column at a time is written
    end = 0
    for feature in FEATURES:
        values = feature.of(known).T
        begin, end = end, end + (len(values) if values.ndim > 1 else 1)
        profiles[begin:end] = values
    return profiles.T
