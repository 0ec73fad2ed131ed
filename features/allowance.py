"""What users may be shown, each at a moment, and by which policy: report, batch and trial ask this alike.

Rules and tracks are applied to moments of the past as they would have been then: by the profile of that
moment, by what the log had shown and what was used before it, and by what the log showed to all on that day.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from features.history import History
from features.pipeline import Layout
from features.rule_facts import facts_of, past_of, shown_today
from features.tiers import TIER_COLUMN, Tiers
from offers.catalog import Catalog
from offers.eligibility import Eligibility, eligible
from offers.policy import decide
from offers.ranking import is_known
from offers.restrictions import restrict
from offers.rules import RuleSet
from offers.settings import DecisionSettings, Settings, WindowSettings
from offers.tracks import Tracks, tracks_of
from offers.types import Estimates, ListRules, Slates

Floats = NDArray[np.float64]


class Frame(Protocol):
    """What stands around a bundle's models: its columns, tiers, services, windows and choice loads."""

    @property
    def layout(self) -> Layout: ...
    @property
    def tiers(self) -> Tiers: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def windows(self) -> WindowSettings: ...
    def choice_load(self, tiers: Sequence[str]) -> Floats | None: ...


@dataclass(frozen=True)
class Allowance:
    """What n users may be shown, and what lists of it must keep to."""

    eligibility: Eligibility  # by catalogue and rules, less the services of tracks that a user is not in
    tracks: Tracks
    choice_load: Floats | None  # (n,) of each user; None: that of the settings

    @property
    def mask(self) -> NDArray[np.bool_]:
        """What may be shown, shape (n, n_services)."""
        return self.eligibility.mask

    @property
    def tiers(self) -> tuple[str, ...]:
        """The value tier of each user."""
        return self.eligibility.tiers

    @property
    def list_rules(self) -> ListRules | None:
        """What lists must keep to; None where there are no rules."""
        return self.eligibility.list_rules

    def decide(
        self,
        estimates: Estimates,
        settings: DecisionSettings,
        max_services: int | None = None,
        users: NDArray[np.intp] | None = None,
    ) -> Slates:
        """The policy's list for each user, without holdout, exploration and budgets.

        Parameters
        ----------
        estimates : Estimates
            Of all users.
        max_services : int, optional
            The longest list, where the user's track does not ask for a shorter one.
        users : int array, optional
            Decide for these rows alone.
        """
        rows = slice(None) if users is None else users
        longest, rules = self.tracks.max_services[rows], self.list_rules
        known = estimates if users is None else estimates.take(users)
        return decide(
            known,
            self.mask[rows] & is_known(known),
            self.eligibility.catalog,
            settings,
            longest if max_services is None else np.minimum(longest, max_services),
            choice_load=None if self.choice_load is None else self.choice_load[rows],
            list_rules=None if rules is None else ListRules(rules.at_most, rules.must_show[rows]),
        )

    def differs(self, other: "Allowance") -> NDArray[np.bool_]:
        """Users of whom the two ask something else, shape (n,); the others' lists are the same."""
        found = (self.mask != other.mask).any(axis=1)
        found |= self.tracks.max_services != other.tracks.max_services
        ours, theirs = self.list_rules, other.list_rules
        if (ours.at_most if ours else ()) != (theirs.at_most if theirs else ()):
            found[:] = True
        for one in (ours, theirs):
            if one is not None:
                rest = theirs if one is ours else ours
                found |= (one.must_show != (rest.must_show if rest else False)).any(axis=1)
        return found


def allow(
    frame: Frame,
    history: History,
    settings: Settings,
    profiles: NDArray[np.float32],
    user: ArrayLike,
    at_us: ArrayLike,
    rules: RuleSet | None = None,
    channels: Sequence[str] | None = None,
) -> Allowance:
    """What each user, by number in the history, may be shown at that time.

    Parameters
    ----------
    frame : Frame
        A bundle.
    profiles : float32 array of shape (n, n_columns)
        Of these users strictly before these moments.
    at_us : int array of shape (n,)
        Microseconds since 1970.
    channels : sequence of n names, optional
        By default none is told, and what a rule keeps for a channel is shown to nobody.
    """
    rules = rules or RuleSet()
    tiers = frame.tiers.of(profiles[:, frame.layout.columns.index(TIER_COLUMN)]).tolist()
    past = replace(
        past_of(rules.needs, history, user, at_us, frame.windows.uptake_days),
        shown_today=shown_today(history, len(frame.catalog), at_us, rules.timezone),
    )
    facts = facts_of(
        rules.needs, frame.layout, frame.tiers.names, profiles, tiers, at_us, past, channels=channels
    )
    found = eligible(frame.catalog, tiers, at_us, rules=rules, facts=facts)
    tracks = tracks_of(tiers, frame.catalog, settings)
    return Allowance(restrict(found, tracks), tracks, frame.choice_load(tiers))


def logged_channels(
    exposures: pd.DataFrame, history: History, user: NDArray[np.int64], at_us: NDArray[np.int64]
) -> tuple[str, ...]:
    """By which channel the log asked for each user's list at that time; "" where it does not say."""
    logged = pd.DataFrame(
        {
            "user": pd.Index(history.user_ids).get_indexer(pd.Index(exposures["user_id"])),
            "at_us": exposures["shown_at"].to_numpy("datetime64[us]").astype(np.int64),
            "channel": exposures["channel"],
        }
    ).drop_duplicates(["user", "at_us"])
    asked = pd.DataFrame({"user": np.asarray(user, np.int64), "at_us": np.asarray(at_us, np.int64)})
    return tuple(asked.merge(logged, how="left")["channel"].fillna("").tolist())
