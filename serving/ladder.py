"""What is known of each user, by the highest rung of the ladder that bears: nobody is left without a list.

    live           the profile of this moment, or one kept from which nothing has changed, and its scores
    last_profile   what was kept of the user before, where the present cannot be computed
    tier_list      the average scores of the user's tier, where the models give none
    constant_list  the average scores of typical customers, where not even a profile can be had

Each rung ends in the same decision: what may not be shown is not, and every draw has its exact probability.
Where the database cannot keep a decision, that is another matter (``serving.deciding``).
"""

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offers.calendar import HOUR_US
from offers.types import Estimates
from serving.kept_scores import KeptScores
from serving.records import Basis
from serving.state import Profile, State

logger = logging.getLogger("perkwise")

LIVE, LAST_PROFILE, TIER_LIST, CONSTANT_LIST = "", "last_profile", "tier_list", "constant_list"

_TELL_EVERY_S = 60.0


class Known(NamedTuple):
    """What is known of one user."""

    rung: str
    profile: Profile
    uptake: NDArray[np.float64]  # (n_services,)
    uplift_margin: NDArray[np.float64]  # (n_services,)


class Ladder:
    """Profiles and scores of users; all of it belongs to the thread that decides.

    Attributes
    ----------
    scores : KeptScores or None
        Made beforehand; another thread may set it.
    """

    def __init__(self, basis: Basis, state: State) -> None:
        self.scores: KeptScores | None = None
        self._bundle, self._state = basis.bundle, state
        self._max_age_us = basis.settings.serving.score_max_age_hours * HOUR_US
        self._told_at_s = -_TELL_EVERY_S
        golden = basis.bundle.manifest["golden"]
        self._typical = tuple(np.mean(golden[name], axis=0) for name in ("uptake", "uplift_margin"))

    def known(self, user_ids: Sequence[str], now_us: int) -> list[Known]:
        """What is known of each of these users."""
        found = {place: row for place, user_id in enumerate(user_ids) if (row := self._kept(user_id, now_us))}
        rest = [place for place in range(len(user_ids)) if place not in found]
        profiles = {place: self._profile(user_ids[place], now_us) for place in rest}
        live = {place: profile for place, profile in profiles.items() if profile is not None}
        found.update(self._scored(live))
        for place in rest:
            if place not in found:
                found[place] = self._lower(user_ids[place], profiles[place], now_us)
        return [found[place] for place in range(len(user_ids))]

    def _kept(self, user_id: str, now_us: int) -> Known | None:
        """What was made beforehand, where it is what would be made now."""
        scores = self.scores
        if scores is None or now_us - scores.as_of_us > self._max_age_us:
            return None
        number = self._state.user_number(user_id)
        row = None if number is None else scores.row(number, self._state.n_live_rows(user_id))
        return None if row is None else Known(LIVE, row.profile, row.uptake, row.uplift_margin)

    def _profile(self, user_id: str, now_us: int) -> Profile | None:
        try:
            return self._state.profile(user_id, now_us)
        except Exception as error:  # whatever is wrong with a user's rows, there are lower rungs
            self._tell("A profile", error)
            return None

    def _scored(self, profiles: dict[int, Profile]) -> dict[int, Known]:
        """All together; where that fails each alone, and who cannot be scored is left out."""
        if not profiles:
            return {}
        try:
            found = self._bundle.estimates(
                np.stack([profile.features for profile in profiles.values()]), repurchase=False
            )
        except Exception as error:
            self._tell("A score", error)
            if len(profiles) == 1:
                return {}
            return {
                place: known
                for place, profile in profiles.items()
                for known in self._scored({place: profile}).values()
            }
        return {
            place: Known(LIVE, profile, uptake, uplift)
            for (place, profile), uptake, uplift in zip(profiles.items(), found.uptake, found.uplift_margin)
        }

    def _lower(self, user_id: str, profile: Profile | None, now_us: int) -> Known:
        """The rungs below the first."""
        number = self._state.user_number(user_id)
        row = None if self.scores is None or number is None else self.scores.last_row(number)
        if row is not None:
            return Known(LAST_PROFILE, row.profile, row.uptake, row.uplift_margin)
        if profile is not None and self.scores is not None:
            averages = self.scores.averages.get(profile.tier)
            if averages is not None:
                return Known(TIER_LIST, profile, *averages)
        if profile is None:  # of the lowest tier, for less is offered to it
            nothing = np.full(len(self._bundle.layout.columns), np.nan, dtype=np.float32)
            profile = Profile(nothing, self._bundle.tiers.names[0], now_us)
        return Known(CONSTANT_LIST, profile, *self._typical)

    def _tell(self, what: str, error: Exception) -> None:
        """A line a minute: who is affected and how much is told by the metrics."""
        if time.monotonic() >= self._told_at_s + _TELL_EVERY_S:
            self._told_at_s = time.monotonic()
            logger.error("%s could not be computed (%s): answers are degraded.", what, type(error).__name__)


def estimates_of(known: Sequence[Known]) -> Estimates:
    """The scores of these users as arrays."""
    uptake = np.array([one.uptake for one in known])
    return Estimates(uptake, np.full(uptake.shape, np.nan), np.array([one.uplift_margin for one in known]))
