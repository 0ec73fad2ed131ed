"""The service without HTTP: each request as a method that answers once its effect is on disk."""

import asyncio
import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from pydantic import ValidationError

from features.rule_facts import vocabulary_of
from features.tables import Tables
from offers.calendar import DAY_US
from offers.rules import RuleSet
from offers.settings import Settings
from offers.tracks import check_services, tracks_of
from serving import answers, decision_log, intake, kept, quarantine
from serving.database import Database, events, exposures, feedback
from serving.deletion import DeletedUsers, Receipt
from serving.engines import Unavailable
from serving.kept import RULES, Kept, Names, settings_of
from serving.live_budgets import LiveBudgets
from serving.live_rules import LiveRules, RulesInForce
from serving.recommender import Asked, Decision, estimates_of, recommend, without_exploration
from serving.records import Record, is_replayable, keep_basis, record_of
from serving.schemas import FeedbackRequest, RecommendAnswer, RecommendRequest, faults
from serving.spending import keep_spent, read_shifts, spending_of, start_of_periods
from serving.state import State
from training.bundle import Bundle

_DECIDED_AT_ONCE = 32  # of a batch; in between, other requests have their turn


class Refused(Exception):
    """A request that cannot be served, with HTTP's number for it; the message says what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Application:
    """Users, models, settings and database behind the HTTP interface.

    Parameters
    ----------
    now_us : callable
        The clock: microseconds since 1970.
    rule_files : sequence of paths
        Where the benefit rules may stand; the first that is there is read.
    audit : Path, optional
        Where shifts of demand are declared, one a line.

    Raises
    ------
    ValueError
        Where the rules have faults, or settings name services that are not in the catalogue.
    """

    def __init__(
        self,
        tables: Tables,
        bundle: Bundle,
        database: Database,
        settings: Settings,
        now_us: Callable[[], int],
        rule_files: Sequence[Path] = (),
        audit: Path | None = None,
    ) -> None:
        check_services(settings, bundle.catalog)
        self.bundle, self.database, self.settings = bundle, database, settings
        self.now_us = now_us
        self._deleted = DeletedUsers.load(database)
        self.state = State(tables, bundle.layout, bundle.tiers, bundle.windows.uptake_days, self._deleted)
        self.state.load(*(database.run_now(partial(_all, table)) for table in (events, feedback, exposures)))
        self._basis = database.run_now(partial(keep_basis, bundle=bundle, settings=settings))
        channels = tables.exposures["channel"].unique().tolist()
        vocabulary = vocabulary_of(bundle.layout, bundle.tiers.names, bundle.catalog, settings, channels)
        self.rules = LiveRules(rule_files, vocabulary, settings.decision.max_services, now_us)
        self._keep_rules(self.rules.in_force)
        shifts = [] if audit is None else read_shifts(audit)
        spending, _ = database.run_now(
            partial(
                spending_of,
                tables=tables,
                settings=settings,
                shifts=shifts,
                now_us=now_us(),
                catalog=bundle.catalog,
            )
        )
        self.budgets = LiveBudgets(settings, bundle.catalog, spending, audit)
        longest = tracks_of(bundle.tiers.names, bundle.catalog, settings).max_services.tolist()
        self._longest: dict[str, int] = dict(zip(bundle.tiers.names, longest))  # list, by tier
        self._intake = intake.Intake(
            self.state, bundle.catalog, database, self._deleted, now_us, self.budgets.use
        )

    async def recommend(self, request: RecommendRequest) -> dict[str, Any]:
        """The list of one user; the decision is in the log when it is answered."""
        now_us = self.now_us()
        return await self._keep(request, self._decide([request], now_us)[0])

    async def recommend_batch(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """An answer, or an error with its status, for each row in their order."""
        self._check_size("requests", rows)
        answered: list[dict[str, Any]] = []
        for start in range(0, len(rows), _DECIDED_AT_ONCE):
            answered += await self._recommend_some(rows[start : start + _DECIDED_AT_ONCE])
        return answered

    async def events(self, rows: Sequence[Any]) -> dict[str, Any]:
        """A verdict for each row, and how many there are of each."""
        self._check_size("events", rows)
        verdicts = await self._intake.events(rows)
        counts = Counter(verdict.verdict for verdict in verdicts)
        kinds = (intake.ACCEPTED, intake.DUPLICATE, intake.CONFLICT, intake.REJECTED)
        return {**{kind: counts[kind] for kind in kinds}, "verdicts": [vars(one) for one in verdicts]}

    async def feedback(self, row: FeedbackRequest) -> dict[str, Any]:
        """Keep one answer of a user."""
        found = await self._intake.feedback(row)
        if found.reason is not None:
            raise Refused(409 if found.verdict == intake.CONFLICT else 400, found.reason)
        return {"verdict": found.verdict}

    async def decision(self, decision_id: str) -> dict[str, Any]:
        """A decision as it stands in the log."""
        found = await self.database.run(lambda connection: _in_full(connection, decision_id))
        if found is None:
            raise Refused(404, "there is no decision of this id")
        return found

    async def profile(self, user_id: str) -> dict[str, Any]:
        """What is known of a user now."""
        self._check_known(user_id)
        profile = self.state.profile(user_id, self.now_us())
        return answers.profile_answer(user_id, profile, self.bundle.layout.columns)

    async def services(self) -> dict[str, Any]:
        """The catalogue that decisions are made from."""
        in_force = self.rules.in_force.rules
        return {
            **answers.services_answer(self.bundle),
            "rules": {
                "hash": in_force.digest,
                "names": [rule.name for rule in in_force.rules],
                "faults": list(self.rules.faults),
            },
            "budgets": self.budgets.answer(self.now_us()),
        }

    def poll(self) -> None:
        """Let changed rules be in force, and declared shifts; called now and then by a thread of its own."""
        self.budgets.poll()
        found = self.rules.poll()
        if found is not None:
            self._keep_rules(found)  # before a decision can name them
            self.rules.take(found)

    def _keep_rules(self, found: RulesInForce) -> None:
        if found.rules.digest:
            self.database.run_now(Kept.of(RULES, found.content).write)

    async def delete_user(self, user_id: str) -> dict[str, Any]:
        """Remove a user; what comes in about them later is refused."""
        if user_id not in self._deleted:
            self._check_known(user_id)
        self._deleted.add(user_id)  # first of all, so that no row can come in between
        self.state.forget(user_id)
        self.budgets.forget(user_id)
        since_us, window_us = start_of_periods(self.now_us()), self.settings.windows.uptake_days * DAY_US

        def remove(connection: sa.Connection) -> Receipt:
            self._deleted.write(connection, user_id)
            keep_spent(connection, user_id, since_us, window_us)
            n_events, n_feedback = intake.forget(connection, user_id)
            n_decisions = decision_log.forget(connection, user_id)
            quarantine.forget(connection, user_id)
            counts = {"events": n_events, "feedback": n_feedback, "decisions": n_decisions}
            receipt = Receipt.of(answers.iso(self.now_us()), counts)
            receipt.write(connection)
            return receipt

        return {"user_id": user_id, **asdict(await self.database.run(remove))}

    async def _recommend_some(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        now_us = self.now_us()
        read = [_read(row) for row in rows]
        decisions = iter(self._decide([row for row in read if isinstance(row, RecommendRequest)], now_us))
        tasks = [
            self._keep(row, next(decisions)) if isinstance(row, RecommendRequest) else _raise(row)
            for row in read
        ]
        answered = await asyncio.gather(*tasks, return_exceptions=True)
        return [_answer_or_error(one) for one in answered]

    def _decide(self, requests: Sequence[RecommendRequest], now_us: int) -> list[Decision]:
        """Decisions on the rules of this moment; one after the other where something is nearly used up."""
        rules = self.rules.in_force.rules
        if self.budgets:
            self.budgets.advance(now_us)
        if len(requests) > 1 and self._is_scarce(rules, len(requests), now_us):
            return [decision for one in requests for decision in self._decide([one], now_us)]
        asked = [self._asked(request, rules, now_us) for request in requests]
        estimates = None
        if self.budgets and asked:
            estimates = estimates_of(self.bundle, asked)
            asked = self.budgets.priced(asked, estimates, now_us)
        decisions = recommend(self.bundle, self.settings, asked, now_us, rules, estimates)
        for decision in decisions:
            self._count(decision)
        return decisions

    def _is_scarce(self, rules: RuleSet, n_requests: int, now_us: int) -> bool:
        if self.budgets and self.budgets.is_scarce(max(self._longest.values()), n_requests, now_us):
            return True
        shown = self.state.shown_today(rules.timezone, now_us)
        left = self.bundle.catalog.capacity_per_day - shown
        if (left < n_requests).any():
            return True
        by_rules = [
            rule.limits.provider_capacity_per_day or rule.limits.capacity_per_day for rule in rules.rules
        ]
        return any(capacity is not None for capacity in by_rules)

    def _count(self, decision: Decision) -> None:
        """What is shown uses capacities and budgets from the decision on."""
        self._count_showings(decision)
        self.budgets.count(decision, self._known(decision.asked.user_id))

    def _take_back(self, decision: Decision) -> None:
        """Undo this, where the decision is not kept."""
        self._count_showings(decision, times=-1)
        self.budgets.take_back(decision, self._known(decision.asked.user_id))

    def _known(self, user_id: str) -> str:
        """The id, or "" for a user who was deleted."""
        return "" if user_id in self._deleted else user_id

    def _count_showings(self, decision: Decision, times: int = 1) -> None:
        for one in decision.offered:
            service_id = self.bundle.catalog.ids[one.position]
            self.state.count_showing(decision.decided_at_us, service_id, times)

    def _asked(self, request: RecommendRequest, rules: RuleSet, now_us: int) -> Asked:
        profile = self.state.profile(request.user_id, now_us)
        longest = self._longest[profile.tier]
        load = self.bundle.choice_load([profile.tier])
        return Asked(
            user_id=request.user_id,
            profile=profile.features,
            tier=profile.tier,
            as_of_us=profile.as_of_us,
            seed=secrets.randbits(53),  # every JSON reader takes so many bits
            max_services=longest if request.n is None else min(request.n, longest),
            scenario=request.scenario,
            channel=request.channel,
            past=self.state.past(profile, rules.needs, now_us),
            explain=request.explain,
            choice_load=None if load is None else float(load[0]),
        )

    async def _keep(self, request: RecommendRequest, decision: Decision) -> dict[str, Any]:
        """The answer, once the decision is in the log; that of an earlier try, where there was one.

        A deleted user is answered like one never seen, and the log does not learn the id.
        """
        decision_id = uuid4().hex
        is_deleted = request.user_id in self._deleted
        user_id = "" if is_deleted else request.user_id
        record = record_of(decision_id, user_id, decision, self._basis)
        rows = [] if is_deleted else answers.exposure_rows(record, self._basis.names)
        keep = partial(
            decision_log.keep,
            record=record,
            rows=rows,
            request_id=request.request_id,
            request_hash=_hash(request),
        )
        try:
            earlier = await self.database.run(keep)
        except decision_log.RequestConflict as conflict:
            self._take_back(decision)
            raise Refused(409, str(conflict)) from conflict
        except Unavailable:
            return self._unlogged(request.user_id, decision)
        if earlier is not None:
            self._take_back(decision)
            return await self.database.run(partial(_answer, record=earlier, user_id=request.user_id))
        if request.user_id not in self._deleted:
            for row in rows:
                if row["service_id"]:
                    self.state.add_exposure(request.user_id, row["shown_at_us"], row["service_id"])
        return answers.decision_answer(record, self._basis.names, request.user_id)

    def _unlogged(self, user_id: str, decision: Decision) -> dict[str, Any]:
        """The answer where the database cannot keep a decision: nobody is left without a list for that."""
        shown = without_exploration(self.bundle, self.settings, decision)
        self._take_back(decision)
        self._count(shown)
        return answers.unlogged_answer(record_of("", user_id, shown, self._basis), self._basis.names, user_id)

    def _check_known(self, user_id: str) -> None:
        if not self.state.knows(user_id):
            raise Refused(404, "nothing is known of a user of this id")

    def _check_size(self, name: str, rows: Sequence[Any]) -> None:
        most = self.settings.serving.max_batch
        if len(rows) > most:
            raise Refused(
                413, f"{name} must hold at most {most} rows, got {len(rows)}: send several requests"
            )


def _all(table: sa.Table, connection: sa.Connection) -> Sequence[sa.Row[Any]]:
    return connection.execute(sa.select(table)).all()


def _read(row: Any) -> RecommendRequest | Refused:
    try:
        return RecommendRequest.model_validate(row)
    except ValidationError as error:
        return Refused(400, faults(error))


async def _raise(refused: Refused) -> dict[str, Any]:
    raise refused


def _answer_or_error(answered: dict[str, Any] | BaseException) -> dict[str, Any]:
    if isinstance(answered, Refused):
        return {"error": str(answered), "status": answered.status}
    if isinstance(answered, BaseException):
        raise answered
    return answered


def _in_full(connection: sa.Connection, decision_id: str) -> dict[str, Any] | None:
    """A decision as the log has it, its positions and hashes resolved; None where there is none."""
    record = decision_log.find(connection, decision_id)
    if record is None or not is_replayable(record):
        return record  # the first format is what it says
    settings = settings_of(kept.read(connection, record["settings"]))
    return answers.decision_in_full(record, _names_of(connection, record), settings)


def _answer(connection: sa.Connection, record: Record, user_id: str) -> dict[str, Any]:
    """What was answered when this was decided."""
    if is_replayable(record):
        return answers.decision_answer(record, _names_of(connection, record), user_id)
    answer = {key: record[key] for key in RecommendAnswer.model_fields if key in record}
    return {**answer, "user_id": user_id}


def _names_of(connection: sa.Connection, record: Record) -> Names:
    return Names.from_kept(kept.read(connection, record["names"]))


def _hash(request: RecommendRequest) -> str:
    return hashlib.sha256(request.model_dump_json().encode()).hexdigest()
