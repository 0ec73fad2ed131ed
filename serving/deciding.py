"""Requests for lists: those that came together are decided together, and kept in one commit.

A decision costs much the same work for one user as for a dozen, so whatever waits is decided at once, and
what comes while that is written to disk waits for its turn. Each decision depends on its own request alone,
to the last bit.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any, Self

import sqlalchemy as sa

from offers.refusal_counts import refusal_counts
from offers.rules import RuleSet
from offers.seeds import new_seed
from offers.tracks import tracks_of
from serving import answers, decision_log, kept
from serving.database import Database
from serving.decision_log import RequestConflict
from serving.deletion import DeletedUsers
from serving.engines import Unavailable
from serving.following import Following
from serving.kept import Names
from serving.ladder import Known, Ladder, estimates_of
from serving.live_budgets import LiveBudgets
from serving.live_rules import LiveRules
from serving.metrics import metrics
from serving.recommender import Asked, Decision, recommend, without_exploration
from serving.records import Basis, Record, is_replayable, record_of
from serving.schemas import RecommendAnswer, RecommendRequest
from serving.state import State
from serving.turns import Turns

_AT_ONCE = 32  # decided together; in between, other requests have their turn
_GATHERED_S = 0.001  # a tenth of what a dozen decisions take

Answer = dict[str, Any]


class Deciding:
    """Decides and keeps; all of it belongs to the thread of the event loop.

    Parameters
    ----------
    now_us : callable
        The clock: microseconds since 1970.
    """

    def __init__(
        self,
        basis: Basis,
        state: State,
        rules: LiveRules,
        budgets: LiveBudgets,
        database: Database,
        deleted: DeletedUsers,
        following: Following,
        now_us: Callable[[], int],
    ) -> None:
        self._following = following
        self._turns = Turns(database.shared, following, self._is_scarce_now)
        self._rules, self._budgets = rules, budgets
        self._database, self._deleted, self._now_us = database, deleted, now_us
        self._stand_on(basis, state)

    def with_basis(self, basis: Basis, state: State) -> Self:
        """The same by another bundle of the same services; rules and budgets stay common to both."""
        other = copy(self)
        other._stand_on(basis, state)
        other._turns = self._turns.asking(other._is_scarce_now)
        return other

    def _stand_on(self, basis: Basis, state: State) -> None:
        self._basis, self._state = basis, state
        bundle, settings = basis.bundle, basis.settings
        names = bundle.tiers.names
        longest = tracks_of(names, bundle.catalog, settings).max_services.tolist()
        loads = bundle.choice_load(names)
        self._longest: dict[str, int] = dict(zip(names, longest))  # list, by tier
        self._load = {} if loads is None else dict(zip(names, loads.tolist()))  # of choice, by tier
        self.ladder = Ladder(basis, state)
        self._waiting: list[tuple[RecommendRequest, asyncio.Future[Answer]]] = []
        self._at_work: asyncio.Task[None] | None = None
        self._begins: asyncio.TimerHandle | None = None
        self._n_expected = 0  # that wait soon, if all who were answered last ask again

    async def answer(self, request: RecommendRequest) -> Answer:
        """The list of one user; the decision is in the log when it is answered.

        Raises
        ------
        RequestConflict
            Where the request_id was used for another request.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((request, future))
        self._come_to_it(loop)
        return await future

    async def answers(self, requests: Sequence[RecommendRequest]) -> list[Answer | Exception]:
        """The same for several, in their order; an error in the place of each that has no answer."""
        found: list[Answer | Exception] = []
        for start in range(0, len(requests), _AT_ONCE):
            found += await self._decide_and_keep(requests[start : start + _AT_ONCE])
        _count_answers(found)
        return found

    def decide(self, requests: Sequence[RecommendRequest], now_us: int) -> list[Decision]:
        """Decisions on the rules of this moment; one after the other where something is nearly used up."""
        rules = self._rules.in_force.rules
        if self._budgets:
            self._budgets.advance(now_us)
        if len(requests) > 1 and self._is_scarce(rules, len(requests), now_us):
            return self._decide_in_turn(requests, now_us)
        if not requests:
            return []
        known = self.ladder.known([request.user_id for request in requests], now_us)
        asked = [self._asked(request, one, rules, now_us) for request, one in zip(requests, known)]
        estimates = estimates_of(known)
        if self._budgets:
            asked = self._budgets.priced(asked, estimates, now_us)
        decisions = recommend(self._basis.bundle, self._basis.settings, asked, now_us, rules, estimates)
        metrics().refused_services(refusal_counts(decisions[0].made))
        for decision in decisions:
            self._count(decision)
        return decisions

    def _decide_in_turn(self, requests: Sequence[RecommendRequest], now_us: int) -> list[Decision]:
        """Each on what those before it left; where one fails, none of them has spent anything."""
        decisions: list[Decision] = []
        try:
            for one in requests:
                decisions += self.decide([one], now_us)
        except Exception:
            self._take_all_back(decisions)
            raise
        return decisions

    def _come_to_it(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin at once where all wait who are expected; else wait a moment for the others."""
        if self._at_work is not None:
            return
        if len(self._waiting) >= self._n_expected:
            self._begin(loop)
        elif self._begins is None:
            self._begins = loop.call_later(_GATHERED_S, self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """After all that is ready: who comes in this turn of the loop is decided with those that wait."""
        if self._begins is not None:
            self._begins.cancel()
            self._begins = None
        self._at_work = loop.create_task(self._settle())

    async def _settle(self) -> None:
        """Give each that waits his answer, or what kept him from one; who comes meanwhile is next."""
        some, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
        try:
            found: Sequence[Answer | Exception] = await self._decide_and_keep([one for one, _ in some])
        except Exception as error:  # after the decisions were kept: to try again would keep them twice
            found = [error] * len(some)
        _count_answers(found)
        for (_, future), answer in zip(some, found, strict=True):
            if future.done():  # nobody waits for it any more
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        self._at_work = None
        self._n_expected = min(len(self._waiting) + len(some), _AT_ONCE)
        if self._waiting:
            self._come_to_it(asyncio.get_running_loop())

    async def _decide_and_keep(self, requests: Sequence[RecommendRequest]) -> list[Answer | Exception]:
        """An answer for each once the decisions are in the log; that of an earlier try, where there was one.

        Where one request brings all to fall before anything is kept, each is tried alone. Deleted users are
        answered like users never seen, and the log does not learn their ids.
        """
        decisions: list[Decision] = []
        try:
            async with self._turns.taken(len(requests)):
                decisions = self.decide(requests, self._now_us())
                entries = [self._entry(request, decision) for request, decision in zip(requests, decisions)]
                keep = partial(self._keep, entries=entries, n_deletions=self._following.n_deletions)
                kept_before = await self._database.run(keep)
        except Unavailable:
            decisions = decisions or self.decide(requests, self._now_us())
            return [self._unlogged(decision) for decision in decisions]
        except Exception as error:
            self._take_all_back(decisions)
            if len(requests) == 1:
                return [error]
            return [answer for one in requests for answer in await self._decide_and_keep([one])]
        found: list[Answer | Exception] = []
        for decision, entry, before in zip(decisions, entries, kept_before, strict=True):
            user_id = decision.asked.user_id
            if before is None:
                self._show(user_id, entry)
                found.append(answers.decision_answer(entry.record, self._basis.names, user_id))
                continue
            self._take_back(decision)
            if isinstance(before, RequestConflict):
                found.append(before)
            else:
                found.append(await self._database.run(partial(_answer, record=before, user_id=user_id)))
        return found

    def _keep(
        self, connection: sa.Connection, entries: Sequence[decision_log.Entry], n_deletions: int
    ) -> list[Record | RequestConflict | None]:
        """Write decisions; the log learns no id of a user whom another worker deleted meanwhile."""
        gone = self._following.deleted_since(connection, n_deletions, [one.user_id for one in entries])
        return decision_log.keep_all(connection, [one.without(gone) for one in entries])

    def _entry(self, request: RecommendRequest, decision: Decision) -> decision_log.Entry:
        is_deleted = request.user_id in self._deleted
        record = record_of(
            decision_log.new_decision_id(decision.decided_at_us),
            "" if is_deleted else request.user_id,
            decision,
            self._basis,
        )
        rows = [] if is_deleted else answers.exposure_rows(record, self._basis.names)
        return decision_log.Entry(record, rows, request.request_id, _hash(request))

    def _show(self, user_id: str, entry: decision_log.Entry) -> None:
        """What was shown is part of the user's next profile."""
        if user_id not in self._deleted:
            for row in entry.rows:
                if row["service_id"]:
                    self._state.add_exposure(user_id, row["shown_at_us"], row["service_id"])

    def _unlogged(self, decision: Decision) -> Answer:
        """The answer where the database cannot keep a decision: nobody is left without a list for that."""
        user_id = decision.asked.user_id
        shown = without_exploration(self._basis.bundle, self._basis.settings, decision)
        self._take_back(decision)
        self._count(shown)
        record = record_of("", user_id, shown, self._basis)
        return answers.unlogged_answer(record, self._basis.names, user_id)

    def _asked(self, request: RecommendRequest, known: Known, rules: RuleSet, now_us: int) -> Asked:
        profile = known.profile
        longest = self._longest[profile.tier]
        return Asked(
            user_id=request.user_id,
            profile=profile.features,
            tier=profile.tier,
            as_of_us=profile.as_of_us,
            seed=new_seed(),
            max_services=longest if request.n is None else min(request.n, longest),
            scenario=request.scenario,
            channel=request.channel,
            past=self._state.past(request.user_id, profile, rules.needs, now_us),
            explain=request.explain,
            choice_load=self._load.get(profile.tier),
            rung=known.rung,
        )

    def _is_scarce_now(self, n_requests: int) -> bool:
        now_us = self._now_us()
        if self._budgets:
            self._budgets.advance(now_us)
        return self._is_scarce(self._rules.in_force.rules, n_requests, now_us)

    def _is_scarce(self, rules: RuleSet, n_requests: int, now_us: int) -> bool:
        """Could these requests together exceed a budget or a capacity?"""
        if self._budgets and self._budgets.is_scarce(max(self._longest.values()), n_requests, now_us):
            return True
        shown = self._state.shown_today(rules.timezone, now_us)
        left = self._basis.bundle.catalog.capacity_per_day - shown
        if (left < n_requests).any():
            return True
        by_rules = [
            rule.limits.provider_capacity_per_day or rule.limits.capacity_per_day for rule in rules.rules
        ]
        return any(capacity is not None for capacity in by_rules)

    def _count(self, decision: Decision) -> None:
        """What is shown uses capacities and budgets from the decision on."""
        self._count_showings(decision)
        self._budgets.count(decision, self._known(decision.asked.user_id))

    def _take_back(self, decision: Decision) -> None:
        """Undo this, where the decision is not kept."""
        self._count_showings(decision, times=-1)
        self._budgets.take_back(decision, self._known(decision.asked.user_id))

    def _take_all_back(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            self._take_back(decision)

    def _known(self, user_id: str) -> str:
        """The id, or "" for a user who was deleted."""
        return "" if user_id in self._deleted else user_id

    def _count_showings(self, decision: Decision, times: int = 1) -> None:
        for one in decision.offered:
            service_id = self._basis.bundle.catalog.ids[one.position]
            self._state.count_showing(decision.decided_at_us, service_id, times)


def _count_answers(found: Sequence[Answer | Exception]) -> None:
    metrics().decided([one for one in found if not isinstance(one, Exception)])


def names_of(connection: sa.Connection, record: Record) -> Names:
    """What the services of a record are called."""
    return Names.from_kept(kept.read(connection, record["names"]))


def _answer(connection: sa.Connection, record: Record, user_id: str) -> Answer:
    """What was answered when this was decided."""
    if is_replayable(record):
        return answers.decision_answer(record, names_of(connection, record), user_id)
    answer = {key: record[key] for key in RecommendAnswer.model_fields if key in record}
    return {**answer, "user_id": user_id}


def _hash(request: RecommendRequest) -> str:
    """Of the body, for those that may come again."""
    if request.request_id is None:
        return ""
    return hashlib.sha256(request.model_dump_json().encode()).hexdigest()
