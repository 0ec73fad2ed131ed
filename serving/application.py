"""The service without HTTP: each request as a method that answers once its effect is on disk."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from pydantic import ValidationError

from features.rule_facts import vocabulary_of
from features.tables import Tables
from offers.calendar import DAY_US
from offers.settings import Settings
from offers.tracks import check_services
from serving import answers, decision_log, intake, kept, prepared, quarantine
from serving.database import Database
from serving.deciding import Deciding, names_of
from serving.decision_log import RequestConflict
from serving.deletion import DeletedUsers, Receipt, hashes_in
from serving.filed import Filed
from serving.following import Following
from serving.kept import RULES, Kept, settings_of
from serving.kept_scores import KeptScores
from serving.live_budgets import LiveBudgets
from serving.live_rules import LiveRules, RulesInForce
from serving.records import is_replayable, keep_basis
from serving.schemas import FeedbackRequest, RecommendRequest, faults
from serving.spending import keep_spent, read_shifts, spending_of, start_of_periods
from serving.state import State
from serving.tables import events, exposures, feedback
from training.bundle import Bundle


class Refused(Exception):
    """A request that cannot be served, with HTTP's number for it; the message says what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Application:
    """Users, models, settings and database behind the HTTP interface.

    Parameters
    ----------
    tables : Tables or Filed
        The data folder as it was when the service started.
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
        tables: Tables | Filed,
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
        self.following = Following(database, self._deleted)
        shifts = [] if audit is None else read_shifts(audit)
        with self.following.start() as connection:
            self._deleted.add_hashes(hashes_in(connection))
            self.state.load(*(_all(table, connection) for table in (events, feedback, exposures)))
            spending, _ = spending_of(
                connection, self.state.filed.sales, settings, shifts, now_us(), bundle.catalog
            )
        self.budgets = LiveBudgets(settings, bundle.catalog, spending, audit)
        self.following.begin(self.state, self.budgets)
        self._basis = database.run_now(partial(keep_basis, bundle=bundle, settings=settings))
        filed = self.state.filed
        vocabulary = vocabulary_of(
            bundle.layout, bundle.tiers.names, bundle.catalog, settings, filed.channels
        )
        self.rules = LiveRules(rule_files, vocabulary, settings.decision.max_services, now_us)
        self._keep_rules(self.rules.in_force)
        self.deciding = Deciding(
            self._basis, self.state, self.rules, self.budgets, database, self._deleted, self.following, now_us
        )
        self.bundle_faults: tuple[str, ...] = ()  # what keeps another bundle from being served
        self._forgotten: list[int] = []  # numbers of users who were deleted since the start
        self._intake = intake.Intake(
            self.state, bundle.catalog, database, self._deleted, self.following, now_us, self.budgets.use
        )

    async def recommend(self, request: RecommendRequest) -> dict[str, Any]:
        """The list of one user; the decision is in the log when it is answered."""
        try:
            return await self.deciding.answer(request)
        except RequestConflict as conflict:
            raise Refused(409, str(conflict)) from conflict

    async def recommend_batch(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """An answer, or an error with its status, for each row in their order."""
        self._check_size("requests", rows)
        read = [_read(row) for row in rows]
        found = iter(await self.deciding.answers([one for one in read if isinstance(one, RecommendRequest)]))
        return [_answer_or_error(next(found) if isinstance(one, RecommendRequest) else one) for one in read]

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
        self.following.follow()
        self._check_known(user_id)
        profile = self.state.profile(user_id, self.now_us())
        return answers.profile_answer(user_id, profile, self.bundle.layout.columns)

    async def services(self) -> dict[str, Any]:
        """The catalogue that decisions are made from."""
        self.following.follow()
        in_force = self.rules.in_force.rules
        return {
            **answers.services_answer(self.bundle),
            "rules": {
                "hash": in_force.digest,
                "names": [rule.name for rule in in_force.rules],
                "faults": list(self.rules.faults),
            },
            "budgets": self.budgets.answer(self.now_us()),
            "bundle_faults": list(self.bundle_faults),
        }

    def fits(self, bundle: Bundle) -> bool:
        """Is this bundle of the same services, columns and tiers, so that all but the models can stay?"""
        own = self.bundle
        return (
            bundle.layout == own.layout
            and bundle.catalog == own.catalog
            and bundle.tiers.names == own.tiers.names
            and bundle.windows.uptake_days == own.windows.uptake_days
        )

    def with_bundle(self, bundle: Bundle) -> Self:
        """The same service by another bundle that ``fits``, safe to be made in another thread.

        Users, rules, budgets and what comes in are common to both: what is begun with the one may be
        finished there while the other is asked already.
        """
        other = copy(self)
        other.bundle, other.bundle_faults = bundle, ()
        other.state = self.state.with_tiers(bundle.tiers)
        other._basis = self.database.run_now(partial(keep_basis, bundle=bundle, settings=self.settings))
        other.deciding = self.deciding.with_basis(other._basis, other.state)
        return other

    def poll(self) -> None:
        """Let changed rules be in force, and declared shifts; called now and then by a thread of its own."""
        self.following.sweep()
        self.budgets.poll()
        found = self.rules.poll()
        if found is not None:
            self._keep_rules(found)  # before a decision can name them
            self.rules.take(found)

    def take_scores(self, scores: KeptScores) -> None:
        """Let scores that were made beforehand be used; safe from another thread."""
        self.deciding.ladder.scores = scores
        for number in self._forgotten:
            scores.forget(number)

    def _keep_rules(self, found: RulesInForce) -> None:
        if found.rules.digest:
            self.database.run_now(Kept.of(RULES, found.content).write)

    async def delete_user(self, user_id: str) -> dict[str, Any]:
        """Remove a user; what comes in about them later is refused."""
        self.following.follow()
        if user_id not in self._deleted:
            self._check_known(user_id)
        number, scores = self.state.user_number(user_id), self.deciding.ladder.scores
        if number is not None:
            self._forgotten.append(number)  # also where scores of before are mapped later
            if scores is not None:
                scores.forget(number)
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

        receipt = await self.database.run(remove)
        filed_number = self.state.filed.user_ids.number_of(user_id)
        if filed_number is not None:  # after the commit: what tells of the user is there until it holds
            await asyncio.to_thread(prepared.forget, self.state.filed, filed_number)
        return {"user_id": user_id, **asdict(receipt)}

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


def _answer_or_error(answered: dict[str, Any] | Exception) -> dict[str, Any]:
    if isinstance(answered, RequestConflict):
        return {"error": str(answered), "status": 409}
    if isinstance(answered, Refused):
        return {"error": str(answered), "status": answered.status}
    if isinstance(answered, Exception):
        raise answered
    return answered


def _in_full(connection: sa.Connection, decision_id: str) -> dict[str, Any] | None:
    """A decision as the log has it, its positions and hashes resolved; None where there is none."""
    record = decision_log.find(connection, decision_id)
    if record is None or not is_replayable(record):
        return record  # the first format is what it says
    settings = settings_of(kept.read(connection, record["settings"]))
    return answers.decision_in_full(record, names_of(connection, record), settings)
