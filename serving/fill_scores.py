"""Scores of all users for ``serving.kept_scores``, made by a process of its own beside the service."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from features.pipeline import compute
from features.tiers import TIER_COLUMN
from serving.child import end_with_parent
from serving.config import ServeConfig
from serving.database import reading
from serving.deletion import DeletedUsers
from serving.kept_scores import FORMAT, MANIFEST, NEVER, ROWS, check_of, key_of, row_type, scores_beside
from serving.prepared import Recipe, prepared, prepared_beside
from serving.state import State
from serving.tables import events, exposures, feedback
from training.bundle import Bundle, read_bundle
from training.bundle_files import sync

_AT_ONCE = 4096  # users
_NICENESS = 10

Averages = dict[str, list[list[float]]]  # by tier: uptake and uplift in margin of each service


def fill(root: Path, key: str, state: State, bundle: Bundle, now_us: int) -> Path | None:
    """Score all users of the data folder, and let the file appear; older ones of other keys go.

    Returns
    -------
    Path or None
        The new folder; None where another process is at it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root / ".lock") as is_alone:
        if not is_alone:
            return None
        folder, beside = root / f"{key}-{now_us:020d}", root / ".new"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        averages = _write_rows(beside / ROWS, state, bundle, now_us)
        facts = {"format": FORMAT, "bundle": bundle.hash, "as_of_us": now_us, "averages": averages}
        (beside / MANIFEST).write_text(json.dumps(facts))
        for file in (beside / ROWS, beside / MANIFEST, beside):
            sync(file)
        beside.rename(folder)
        sync(root)
        for old in root.glob("*-*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)  # who has it mapped keeps it
        return folder


def _write_rows(file: Path, state: State, bundle: Bundle, now_us: int) -> Averages:
    history, n_users = state.history, len(state.history.user_ids)
    rows = np.lib.format.open_memmap(file, mode="w+", dtype=row_type(bundle), shape=(n_users,))
    settled = _settled(state, now_us)
    for start in range(0, n_users, _AT_ONCE):
        users = np.arange(start, min(start + _AT_ONCE, n_users))
        own = history.users(start, len(users))  # what is counted of all at once would take gigabytes
        features = compute(own, state.layout, users - start, np.full(len(users), now_us))
        _fill_rows(rows, users, features, np.full(len(users), now_us), state, bundle)
        rows["n_live_rows"][users[~settled[users]]] = NEVER
        _sign(rows, users)
    _write_live(rows, state, bundle, now_us)
    for number, user_id in enumerate(history.user_ids):
        if state.user_number(user_id) is None:  # deleted: nothing is kept
            rows[number] = np.zeros((), rows.dtype)
    rows.flush()
    return _averages(rows, bundle.tiers.names)


def _averages(rows: NDArray[Any], tiers: Sequence[str]) -> Averages:
    """Of the users of each tier that has some."""
    members = {
        tier: np.flatnonzero((rows["tier"] == place) & (rows["check"] != 0))
        for place, tier in enumerate(tiers)
    }
    return {
        tier: [rows[name][users].mean(axis=0).tolist() for name in ("uptake", "uplift_margin")]
        for tier, users in members.items()
        if len(users)
    }


def _write_live(rows: NDArray[Any], state: State, bundle: Bundle, now_us: int) -> None:
    """Those of whom rows came in beside the data folder."""
    live = [(user_id, number) for user_id, number in _numbered(state) if number is not None]
    for start in range(0, len(live), _AT_ONCE):
        some = live[start : start + _AT_ONCE]
        profiles = [state.profile(user_id, now_us) for user_id, _ in some]
        users = np.array([number for _, number in some])
        features = np.stack([profile.features for profile in profiles])
        as_of_us = np.array([profile.as_of_us for profile in profiles])
        is_settled = rows["n_live_rows"][users] != NEVER
        _fill_rows(rows, users, features, as_of_us, state, bundle)
        counts = np.array([state.n_live_rows(user_id) for user_id, _ in some])
        rows["n_live_rows"][users] = np.where(is_settled, counts, NEVER)
        _sign(rows, users)


def _numbered(state: State) -> Iterator[tuple[str, int | None]]:
    for user_id in state.live_users():
        yield user_id, state.user_number(user_id)


def _fill_rows(
    rows: NDArray[Any],
    users: NDArray[np.intp],
    features: NDArray[np.float32],
    as_of_us: NDArray[np.int64],
    state: State,
    bundle: Bundle,
) -> None:
    estimates = bundle.estimates(features, repurchase=False)
    spent = features[:, state.layout.position_of_column[TIER_COLUMN]]
    place_of = {name: place for place, name in enumerate(bundle.tiers.names)}
    rows["features"][users] = features
    rows["uptake"][users] = estimates.uptake
    rows["uplift_margin"][users] = estimates.uplift_margin
    rows["tier"][users] = [place_of[str(name)] for name in bundle.tiers.of(spent)]
    rows["as_of_us"][users] = as_of_us
    rows["n_live_rows"][users] = 0


def _settled(state: State, now_us: int) -> NDArray[np.bool_]:
    """Users of whom the data folder holds nothing that has yet to happen."""
    history = state.history
    settled = np.ones(len(history.user_ids), dtype=bool)
    for log in (history.orders, history.events, history.offers, history.feedback):
        settled[log.user[log.at_us >= now_us]] = False
    return settled


def _sign(rows: NDArray[Any], users: Sequence[int] | NDArray[np.intp]) -> None:
    for number in users:
        rows["check"][number] = check_of(rows[number].tobytes())


@contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """Is this the only process that fills?"""
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def main() -> None:
    """Fill by the environment of the service, giving way to it."""
    end_with_parent()
    os.nice(_NICENESS)
    config = ServeConfig.from_environment(os.environ)
    bundle = read_bundle(config.bundle)
    recipe = Recipe(config.data, bundle.layout, bundle.windows.uptake_days, config.settings.money)
    filed = prepared(recipe, prepared_beside(config.state))
    with reading(config.settings.serving.database or config.state) as connection:
        deleted = DeletedUsers.read(connection)
        state = State(filed, bundle.layout, bundle.tiers, bundle.windows.uptake_days, deleted)
        rows = [connection.execute(sa.select(table)).all() for table in (events, feedback, exposures)]
    state.load(*rows)
    fill(scores_beside(config.state), key_of(config.data, bundle), state, bundle, time.time_ns() // 1000)
    os._exit(0)  # a thread sits in a read that an orderly end would wait for


if __name__ == "__main__":
    main()
