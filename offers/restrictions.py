"""What tracks, holdouts and budgets take from what a user may be offered, and in which words.

Batch, service and replay restrict by this one function, so that they refuse the same for the same reason.
Whatever catalogue and rules refused before keeps the reason it had; then tracks come before holdouts, and
holdouts before budgets.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from offers.eligibility import BUDGET, HOLDOUT, TRACK, Eligibility
from offers.holdouts import Memberships
from offers.tracks import Tracks

Closed = Mapping[str, Sequence[int]]  # by the reason, the catalogue positions that no budget has room for


def restrict(
    allowed: Eligibility,
    tracks: Tracks,
    held: Memberships | None = None,
    closed: Sequence[Closed | None] = (),
) -> Eligibility:
    """The same, less services of other tracks, those a holdout keeps from a user, and those closed to him.

    Parameters
    ----------
    held : Memberships, optional
        Without it no holdout takes anything, as the policy is valued.
    closed : sequence of n_users mappings, optional
        What budgets close to each user, by the reason.

    Examples
    --------
    >>> from offers.catalog import Catalog
    >>> from offers.eligibility import eligible
    >>> from offers.holdouts import memberships
    >>> from offers.settings import parse_settings
    >>> from offers.tracks import tracks_of
    >>> from offers.types import Service
    >>> catalog = Catalog.of([Service("gift", "Gift"), Service("lounge", "Lounge")])
    >>> settings = parse_settings({"tracks": [{"name": "high", "tiers": ["gold"], "services": ["lounge"]}]})
    >>> tracks = tracks_of(["basic"], catalog, settings)
    >>> held = memberships(["u1"], settings.exploration, (), catalog, tracks.services, 0)
    >>> restrict(eligible(catalog, ["basic"], 0), tracks, held).refusals(0)
    {1: 'of the track high; the user is in none'}
    """
    if tracks.names:
        allowed = allowed.without(
            tracks.excluded,
            lambda user, place: (
                f"of the track {tracks.names[tracks.of_service[place]]}; the user is in {tracks.name(user)}"
            ),
            TRACK,
        )
    if held is not None and held.names:
        allowed = allowed.without(
            held.refused >= 0,
            lambda user, place: (
                f"the user is in the holdout {held.names[held.refused[user, place]]!r} of this service"
            ),
            HOLDOUT,
        )
    return _without_closed(allowed, closed) if any(closed) else allowed


def _without_closed(allowed: Eligibility, closed: Sequence[Closed | None]) -> Eligibility:
    refused = np.full(allowed.mask.shape, -1, dtype=np.intp)
    reasons = [tuple(one or ()) for one in closed]
    for user, one in enumerate(closed):
        for number, places in reversed(list(enumerate((one or {}).values()))):
            refused[user, list(places)] = number
    return allowed.without(refused >= 0, lambda user, place: reasons[user][refused[user, place]], BUDGET)
