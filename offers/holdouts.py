"""Holdouts: users who, by a salted hash of their id, are shown nothing, not a service, or none of a track.

A holdout holds those users whose point in [0, 1) is below its share. The point is fixed by the user's id
and by the holdout's salt and name: a greater share keeps those who are in, other users keep their places
in other holdouts, and several holdouts are independent of each other. Outside its period a holdout
holds nobody.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offers.catalog import Catalog, time_us
from offers.settings import ExplorationSettings, HoldoutSettings

_ODD, _MIX_1, _MIX_2 = (
    np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


@dataclass(frozen=True)
class Memberships:
    """Which holdouts hold each user now."""

    nothing: NDArray[np.bool_]  # (n_users,) shown nothing at all
    share: float | NDArray[np.float64]  # of users that are shown nothing at all; of the moment of each
    refused: NDArray[np.intp]  # (n_users, n_services): the first holdout that refuses it, −1: none does
    names: tuple[str, ...]  # of the holdouts, as ``refused`` counts them


def in_holdout(user_id: str, settings: ExplorationSettings) -> bool:
    """Is this user in the holdout of ``[exploration]``? The same answer for ever, until the salt changes.

    A greater share keeps those who are in already; user ids may be any text.

    >>> in_holdout("u1", ExplorationSettings(holdout=0.0))
    False
    """
    return _digest(f"{settings.salt}\0{user_id}") / 2**64 < settings.holdout


def memberships(
    user_ids: Sequence[str],
    exploration: ExplorationSettings,
    holdouts: Sequence[HoldoutSettings],
    catalog: Catalog,
    track_services: dict[str, NDArray[np.bool_]],
    now_us: ArrayLike,
) -> Memberships:
    """Who is shown nothing now, and who is not shown which services.

    Parameters
    ----------
    track_services : dict
        By the name of a track, which of the catalogue's services are of it.
    now_us : int or array-like of shape (n_users,)
        The moment, of all users or of each, microseconds since 1970 UTC.
    """
    moments = np.asarray(now_us, dtype=np.int64)
    if moments.ndim and holdouts:
        return _at_each(user_ids, exploration, holdouts, catalog, track_services, moments)
    nothing = np.zeros(len(user_ids), dtype=bool)
    if exploration.holdout:
        nothing[:] = [in_holdout(user_id, exploration) for user_id in user_ids]
    refused = np.full((len(user_ids), len(catalog)), -1, dtype=np.intp)
    shares = [exploration.holdout]
    open_now = (
        [(place, one) for place, one in enumerate(holdouts) if _is_open(one, int(moments))]
        if holdouts
        else []
    )
    keys = user_keys(user_ids) if open_now else np.empty(0, dtype=np.uint64)
    for place, one in reversed(open_now):
        held = points(keys, one.salt or exploration.salt, one.name) < one.share
        if one.service:
            refused[held, catalog.position_of[one.service]] = place
        elif one.track:
            refused[np.ix_(held, track_services[one.track])] = place
        else:
            nothing |= held
            shares.append(one.share)
    return Memberships(
        nothing=nothing,
        share=1 - prod(1 - share for share in shares) if len(shares) > 1 else exploration.holdout,
        refused=refused,
        names=tuple(one.name for one in holdouts),
    )


def _at_each(
    user_ids: Sequence[str],
    exploration: ExplorationSettings,
    holdouts: Sequence[HoldoutSettings],
    catalog: Catalog,
    track_services: dict[str, NDArray[np.bool_]],
    moments: NDArray[np.int64],
) -> Memberships:
    """Of users who are asked for at different moments: those of one moment together."""
    nothing = np.zeros(len(user_ids), dtype=bool)
    share = np.zeros(len(user_ids))
    refused = np.full((len(user_ids), len(catalog)), -1, dtype=np.intp)
    times: list[int] = np.unique(moments).tolist()
    for moment in times:
        rows = np.flatnonzero(moments == moment)
        some = [user_ids[int(row)] for row in rows]
        found = memberships(some, exploration, holdouts, catalog, track_services, moment)
        nothing[rows], share[rows], refused[rows] = found.nothing, found.share, found.refused
    return Memberships(nothing, share, refused, tuple(one.name for one in holdouts))


def user_keys(user_ids: Sequence[str]) -> NDArray[np.uint64]:
    """64 bits of each id, hashed once for all holdouts."""
    return np.fromiter(map(_digest, user_ids), dtype=np.uint64, count=len(user_ids))


def points(keys: NDArray[np.uint64], salt: str, name: str) -> NDArray[np.float64]:
    """Where each user stands in a holdout, uniform on [0, 1); ``keys`` are those of ``user_keys``.

    >>> points(user_keys(["u1", "u2"]), "salt", "no lounge").round(4).tolist()
    [0.7642, 0.8907]
    """
    first, second = (np.uint64(_digest(f"{part}\0{len(salt)}\0{salt}\0{name}")) for part in "ab")
    mixed = _mix(_mix(keys + first) ^ second)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit depends on every other."""
    bits = bits + _ODD
    bits = (bits ^ (bits >> np.uint64(30))) * _MIX_1
    bits = (bits ^ (bits >> np.uint64(27))) * _MIX_2
    return bits ^ (bits >> np.uint64(31))


def _digest(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _is_open(one: HoldoutSettings, now_us: int) -> bool:
    after = not one.active_from or time_us(one.active_from) <= now_us
    return after and (not one.active_until or now_us < time_us(one.active_until))
