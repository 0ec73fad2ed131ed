"""Tracks: services kept for the users of some tiers, with lists of their own length.

The two tracks that most shops have are a high-value exclusive one and a long-tail one of scenarios. A user
is in the track of his tier, or in none; a service is of one track, or for everybody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.settings import Settings


@dataclass(frozen=True)
class Tracks:
    """Which track each user is in, and what that allows."""

    names: tuple[str, ...]
    of_user: NDArray[np.intp]  # (n_users,) −1: none
    of_service: NDArray[np.intp]  # (n_services,) −1: for everybody
    max_services: NDArray[np.intp]  # (n_users,) the longest list

    @property
    def excluded(self) -> NDArray[np.bool_]:
        """Shape (n_users, n_services): the service is of a track that the user is not in."""
        return (self.of_service >= 0) & (self.of_service != self.of_user[:, None])

    def name(self, user: int) -> str:
        """Of the track this user is in; none where he is in none."""
        return self.names[self.of_user[user]] if self.of_user[user] >= 0 else "none"

    @property
    def services(self) -> dict[str, NDArray[np.bool_]]:
        """By the name of a track, which services are of it."""
        return {name: self.of_service == place for place, name in enumerate(self.names)}


def tracks_of(tiers: Sequence[str], catalog: Catalog, settings: Settings) -> Tracks:
    """The track of each user, by value tier, and of each service.

    Examples
    --------
    >>> from offers.settings import parse_settings
    >>> from offers.types import Service
    >>> catalog = Catalog.of([Service("gift", "Gift"), Service("lounge", "Lounge")])
    >>> high = {"name": "high", "tiers": ["gold"], "services": ["lounge"], "max_services": 2}
    >>> found = tracks_of(["basic", "gold"], catalog, parse_settings({"tracks": [high]}))
    >>> found.excluded.tolist(), found.max_services.tolist()
    ([[False, True], [False, False]], [5, 2])
    """
    track_of_tier = {tier: place for place, track in enumerate(settings.tracks) for tier in track.tiers}
    of_user = np.array([track_of_tier.get(tier, -1) for tier in tiers], dtype=np.intp)
    of_service = np.full(len(catalog), -1, dtype=np.intp)
    for place, track in enumerate(settings.tracks):
        of_service[[catalog.position_of[service_id] for service_id in track.services]] = place
    longest = settings.decision.max_services
    own = np.array([track.max_services or longest for track in settings.tracks] + [longest], dtype=np.intp)
    return Tracks(tuple(track.name for track in settings.tracks), of_user, of_service, own[of_user])


def check_services(settings: Settings, catalog: Catalog) -> None:
    """Are the services that holdouts, tracks and budgets name in the catalogue?

    Raises
    ------
    ValueError
        One error that lists every unknown service, with the nearest name.
    """
    named = [
        *((f"holdouts.{one.name}.service", one.service) for one in settings.holdouts if one.service),
        *((f"budgets.{one.name}.service", one.service) for one in settings.budgets if one.service),
        *((f"tracks.{one.name}.services", service) for one in settings.tracks for service in one.services),
    ]
    faults = []
    for where, service_id in named:
        if service_id not in catalog.position_of:
            close = get_close_matches(service_id, catalog.ids, n=1)
            hint = f"did you mean {close[0]!r}" if close else f"known are {', '.join(catalog.ids)}"
            faults.append(f"- {where} must be in the catalogue, got {service_id!r}; {hint}.")
    if faults:
        raise ValueError("The settings have faults:\n" + "\n".join(faults))
