"""Rules between rows: users and services are known, ids stand once, lists hold together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.contract.checking import Draft
from features.contract.columns import TIME, kind_of
from features.positions import positions_in
from features.text_hashes import Hashes, Texts

_NAT = np.iinfo(np.int64).min


def check_integrity(drafts: Mapping[str, Draft]) -> None:
    """Mark the rows of all tables that refer to nobody, come too early, stand twice or tear a list.

    Of rows with one id the first without another fault stays, in the order of the files.
    A row whose user or service is itself in quarantine refers to nobody.
    """
    known = Known.of(drafts["users"], drafts["services"])
    for name, draft in drafts.items():
        if name not in ("users", "services"):
            user = check_references(draft, known)
            check_repeated(draft)
            if name == "exposures":
                check_slates(draft, user)


@dataclass(frozen=True)
class Known:
    """Whom rows may refer to: the accepted users and services."""

    user_ids: pd.Series
    joined_us: NDArray[np.int64]
    service_ids: pd.Series

    @classmethod
    def of(cls, users: Draft, services: Draft) -> Self:
        """Those of these tables, whose repeated ids are marked first."""
        check_repeated(users)
        check_repeated(services)
        accepted = users.accepted()
        joined_us = accepted["joined_at"].to_numpy("datetime64[us]").astype(np.int64)
        return cls(accepted["user_id"], joined_us, services.accepted()["service_id"])


def check_references(draft: Draft, known: Known) -> NDArray[np.int32]:
    """Mark the rows that refer to nobody or come before their user.

    Returns where the user of each row stands among the known ones, -1 for nowhere.
    """
    user = positions_in(known.user_ids, draft.frame["user_id"])
    draft.mark("user_id", "known_user", user < 0)
    joined_us = np.append(known.joined_us, _NAT)[user]  # position -1: nobody, so no moment is too early
    at = _moment_column(draft)
    draft.mark(at, "not_before_joined", draft.frame[at].astype("int64").to_numpy() < joined_us)
    if "service_id" in draft.frame:
        named = draft.frame["service_id"]
        service = positions_in(known.service_ids, named)
        draft.mark("service_id", "known_service", (service < 0) & (named != "").to_numpy())
    return user


def check_repeated(draft: Draft) -> None:
    """Mark the rows whose id stands in an earlier good one; of a list by `check_slates`."""
    for key in draft.contract.keys:
        if len(key) == 1:
            Repeated(repeated_hashes([draft.frame[key[0]]])).check(draft)


class Repeated:
    """Which ids stand in an earlier good row, of a table that comes in pieces.

    Parameters
    ----------
    hashes : ndarray
        Of the ids that more than one row has, sorted. Ids are few among them, so each is compared itself.
    """

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = hashes
        self._kept: set[str] = set()

    def check(self, draft: Draft) -> None:
        """Mark the rows of the next piece."""
        ((column,),) = draft.contract.keys
        ids = draft.frame[column]
        if not len(self._hashes):
            return
        rows = np.flatnonzero(~draft.faulty & np.isin(Texts.of(ids).hashes(), self._hashes))
        again = ids.iloc[rows].duplicated().to_numpy() | ids.iloc[rows].isin(self._kept).to_numpy()
        self._kept.update(ids.iloc[rows[~again]])
        repeated = np.zeros(len(draft.faulty), dtype=bool)
        repeated[rows[again]] = True
        draft.mark(column, "unique", repeated)


def repeated_hashes(pieces: Iterable[pd.Series]) -> Hashes:
    """The hashes that more than one of these texts has, sorted; hardly ever those of different texts."""
    hashes = np.concatenate([np.empty(0, np.uint64), *(Texts.of(texts).hashes() for texts in pieces)])
    hashes.sort()
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def check_slates(exposures: Draft, user: NDArray[np.int32]) -> None:
    """Mark what stands twice in a list, and then whatever is no list that anybody was shown.

    That is one whose rows disagree, or of which a row is faulty.

    Parameters
    ----------
    user : ndarray of shape (n_rows,)
        What `check_references` gave.
    """
    frame = exposures.frame
    slate = _codes(frame["slate_id"])
    for _, column in exposures.contract.keys:
        good = np.flatnonzero(~exposures.faulty)
        pairs = pd.DataFrame({"slate": slate[good], column: _codes(frame[column])[good]})
        repeated = np.zeros(len(frame), dtype=bool)
        repeated[good[pairs.duplicated().to_numpy()]] = True
        exposures.mark(column, "unique", repeated)
    repeated = _rows_of(exposures, "unique")
    rows = np.flatnonzero(~exposures.faulty)
    first = rows[_first_of(slate[rows])]
    differs = np.zeros(len(frame), dtype=bool)
    for values in (user, frame["shown_at"].astype("int64").to_numpy()):
        differs[rows] |= values[rows] != values[first]
    alone = np.bincount(slate[rows], minlength=1)[slate[rows]] == 1
    differs[rows] |= (frame["service_id"] == "").to_numpy()[rows] & ~alone
    exposures.mark("slate_id", "one_slate", differs)
    torn = np.zeros(len(frame), dtype=bool)
    torn[slate[exposures.faulty & ~repeated]] = True
    exposures.mark("slate_id", "whole_slate", ~exposures.faulty & torn[slate])


def _rows_of(draft: Draft, rule: str) -> NDArray[np.bool_]:
    rows = np.zeros(len(draft.faulty), dtype=bool)
    for fault in draft.faults:
        if fault.rule == rule:
            rows[fault.rows] = True
    return rows


def _first_of(codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each element, the position of the first one equal to it."""
    first = np.zeros(codes.max(initial=-1) + 1, dtype=np.intp)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # of repeated positions the last assignment stays
    return first[codes]


def _codes(values: pd.Series) -> NDArray[np.intp]:
    """The same number for equal values; texts by their hashes, where no two different ones have the same."""
    if values.dtype != "str":
        return pd.factorize(values)[0]
    codes = pd.factorize(Texts.of(values).hashes())[0]
    texts = pa.array(values)
    if pc.all(pc.equal(texts, texts.take(pa.array(_first_of(codes))))).as_py() in (True, None):
        return codes
    return pd.factorize(values)[0]


def _moment_column(draft: Draft) -> str:
    """The table's one required time."""
    columns = draft.contract.schema.columns
    return next(name for name, column in columns.items() if column.required and kind_of(column) == TIME)
