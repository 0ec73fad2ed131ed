"""Who is decided together: requests of one turn have the same moment, so turns can be counted in the log."""

import asyncio
from collections import Counter
from itertools import count

import pytest
import sqlalchemy as sa

from serving.application import Application
from serving.database import Database
from serving.schemas import RecommendRequest
from serving.tables import decisions


@pytest.fixture
def ticking(tables, bundle, settings, clock, tmp_path):
    """An application whose clock goes on by a microsecond whenever it is asked."""
    database, ticks = Database(tmp_path / "state.db"), count(clock())
    yield Application(tables, bundle, database, settings, lambda: next(ticks))
    database.close()


@pytest.fixture
def users(tables):
    return tables.users["user_id"].astype(str).tolist()


def ask(application, user_ids, n_times):
    """Each user asks so often, again as soon as he is answered; how many were decided in each turn."""

    async def one(user_id):
        for _ in range(n_times):
            await application.recommend(RecommendRequest(user_id=user_id))

    async def all_of_them():
        await asyncio.gather(*(one(user_id) for user_id in user_ids))

    asyncio.run(all_of_them())
    rows = application.database.run_now(
        lambda connection: connection.execute(sa.select(decisions.c.decided_at_us)).scalars().all()
    )
    by_moment = Counter(rows)
    return [by_moment[moment] for moment in sorted(by_moment)]


def test_those_who_ask_again_at_once_are_decided_together(ticking, users):
    assert ask(ticking, users[:12], 6) == [12] * 6


def test_one_alone_waits_for_nobody(ticking, users):
    assert ask(ticking, users[:1], 4) == [1] * 4


def test_no_more_are_decided_together_than_let_others_have_their_turn(ticking, users):
    turns = ask(ticking, users[:1] * 80, 3)
    assert sum(turns) == 240
    assert max(turns) == 32


def test_after_many_one_alone_is_answered_too(ticking, users):
    ask(ticking, users[:12], 1)
    assert ask(ticking, users[:1], 3)[-3:] == [1, 1, 1]
