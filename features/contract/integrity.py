"""Rules between rows: users and services are known, ids stand once, lists hold together."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.contract.checking import Draft
from features.contract.columns import TIME, kind_of

_NAT = np.iinfo(np.int64).min


def check_integrity(drafts: Mapping[str, Draft]) -> None:
    """Mark the rows of all tables that refer to nobody, come too early, stand twice or tear a list.

    Of rows with one id the first without another fault stays, in the order of the files.
    A row whose user or service is itself in quarantine refers to nobody.
    """
    users, services = drafts["users"], drafts["services"]
    _mark_repeated(users)
    _mark_repeated(services)
    for name, draft in drafts.items():
        if name in ("users", "services"):
            continue
        _mark_unknown_users(draft, users)
        if "service_id" in draft.frame:
            _mark_unknown_services(draft, services)
        _mark_repeated(draft)
    _mark_torn_slates(drafts["exposures"])


def _mark_repeated(draft: Draft) -> None:
    names = dict.fromkeys(name for key in draft.contract.keys for name in key)
    codes = pd.DataFrame({name: _codes(draft.frame[name]) for name in names})
    for key in draft.contract.keys:
        good = ~draft.faulty
        repeated = np.zeros(len(good), dtype=bool)
        repeated[good] = codes.loc[good, list(key)].duplicated().to_numpy()
        draft.mark(key[-1], "unique", repeated)


def _mark_unknown_users(draft: Draft, users: Draft) -> None:
    known = users.accepted()
    position = _position_in(known["user_id"], draft.frame["user_id"])
    draft.mark("user_id", "known_user", position < 0)
    joined_us = known["joined_at"].astype("int64").to_numpy()
    joined_us = np.append(joined_us, _NAT)[position]  # position -1: nobody, so no moment is too early
    at = _moment_column(draft)
    at_us = draft.frame[at].astype("int64").to_numpy()
    draft.mark(at, "not_before_joined", at_us < joined_us)


def _mark_unknown_services(draft: Draft, services: Draft) -> None:
    named = draft.frame["service_id"]
    position = _position_in(services.accepted()["service_id"], named)
    draft.mark("service_id", "known_service", (position < 0) & (named != "").to_numpy())


def _mark_torn_slates(exposures: Draft) -> None:
    """A list whose rows disagree, or of which a row is faulty, is no list that anybody was shown."""
    frame = exposures.frame
    slate = _codes(frame["slate_id"])
    repeated = _rows_of(exposures, "unique")
    rows = np.flatnonzero(~exposures.faulty)
    first = _first_of(slate[rows])
    differs = np.zeros(len(frame), dtype=bool)
    for column in ("user_id", "shown_at"):
        values = _codes(frame[column])[rows]
        differs[rows] |= values != values[first]
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


def _position_in(known: pd.Series, values: pd.Series) -> NDArray[np.intp]:
    """Where each value stands among the known ones, -1 for nowhere; much faster than a pandas index."""
    found = pc.index_in(pa.array(values), value_set=pa.array(known))
    return pc.fill_null(found, -1).to_numpy().astype(np.intp)


def _codes(values: pd.Series) -> NDArray[np.intp]:
    return pd.factorize(values)[0]


def _moment_column(draft: Draft) -> str:
    """The table's one required time."""
    columns = draft.contract.schema.columns
    return next(name for name, column in columns.items() if column.required and kind_of(column) == TIME)
