"""One loop: what it knows, what it decides, and what it makes of the answers; it never sees the truth."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.decision import Decisions as Made
from offers.decision import make_decisions
from offers.eligibility import eligible
from offers.settings import Settings
from offers.types import Estimates
from training.dataset import Dataset
from training.drift import Departure, drifted, still_true
from training.gate import PairedGain, judge
from training.loop.market import Market, joined, lists_of, taken_of
from training.loop.recipes import Models, Recipe, learn
from training.loop.trial import Shown, Week, list_gain, predicts_better, side_by_side
from training.loop.worth import Places, list_worth, places_of

Floats = NDArray[np.float64]
Lists = NDArray[np.intp]
Rival = Literal["champion", "best_constant"]

TRIAL_SHARE = 0.5  # of the decisions are the challenger's
DRIFT_TRIAL_SHARE = 0.8  # the same while the champion is known to be out of date
_FIRST_SOUND = 3  # weeks of rows until a departure is one of the world, not of models that know too little
_CALM_WEEKS = 2  # in which a service that drifted is not found to drift again


@dataclass(frozen=True)
class Rules:
    """What makes one loop another than the next."""

    name: str
    recipe: Recipe
    explores: bool = True  # after the first week
    is_gated: bool = True  # else the newest models decide at once


LOOPS = (
    Rules("perkwise", "uplift"),
    Rules("no_exploration", "uplift", explores=False),
    Rules("uptake_only", "uptake", is_gated=False),
    Rules("best_constant", "constant", is_gated=False),
)


@dataclass(frozen=True)
class Notes:
    """What a reader wants to know of one loop's week."""

    promoted: bool  # a new champion decides from this week on
    reason: str
    champion_week: int  # since when the champion decides, 0: there is none
    drifted: tuple[str, ...]  # services found drifted in the week before
    rows: int  # that the newest models learned from
    explore: float  # share of the decisions


@dataclass(frozen=True)
class Plan:
    """What is shown this week, and what the policies alone would show."""

    shown: Shown
    policies: tuple[tuple[float, Lists], ...]  # share of the decisions and lists of each; empty: none yet
    notes: Notes


@dataclass(frozen=True)
class _Pending:
    """What was decided last week, for the gate and the drift check to compare with what came of it."""

    newest: Models
    estimates: Estimates  # of the newest models
    baseline: Floats | None
    shown: Shown
    ours: Lists
    theirs: Lists | None  # None: nothing was on trial
    rival: Rival
    champion: tuple[Estimates, Floats] | None  # its estimates and its baseline


@dataclass
class Loop:
    """A loop at the beginning of a week: `plan` decides it, `hear` takes in what the world answers."""

    rules: Rules
    settings: Settings
    market: Market
    held_out: NDArray[np.bool_]  # (n_users,) who is shown nothing
    seed: int
    week: int = 1
    rows: list[Dataset] = field(default_factory=list)  # one entry a week: all users, in their order
    champion: Models | None = None
    _pending: _Pending | None = None
    _evidence: list[PairedGain] = field(default_factory=list)  # of the weeks since the champion came
    _sound: Departure | None = None
    _drifted_in: NDArray[np.intp] | None = None
    _drift_found: int = 0  # the week in which a drift was last found

    def plan(self, X: NDArray[np.float32]) -> Plan:
        """This week's decisions on users of these profiles."""
        if not self.rows:
            return self._first_week(X)
        found = self._find_drift()
        promoted, reason = self._ask_gate()
        rows = self._still_true()
        newest = learn(
            self.rules.recipe, rows, self._margin_cap(), self.week, self.seed, self.settings.decision
        )
        shown, policies = self._decide(newest, X)
        if not self.rules.is_gated:
            promoted, reason, self.champion = True, "the newest models decide at once", newest
        since = self.champion.week if self.champion else 0
        return Plan(shown, policies, Notes(promoted, reason, since, found, len(rows), self._explore()))

    def hear(self, market: Market, last_week: Dataset) -> None:
        """The world a week later, and the log's new rows."""
        self.market, self.week = market, self.week + 1
        self.rows.append(last_week)

    def fork(self, rules: Rules) -> "Loop":
        """Another loop that has seen the same so far."""
        return replace(self, rules=rules, rows=list(self.rows), _evidence=list(self._evidence))

    def _first_week(self, X: NDArray[np.float32]) -> Plan:
        """Nothing is known: every decision is drawn by chance, but for the holdout."""
        nobody_knows = np.zeros((len(X), len(self.market.catalog)))
        estimates = Estimates(nobody_knows, nobody_knows, nobody_knows)
        made = self._make(estimates, self.market.catalog, self.settings.decision.choice_load, self._explore())
        shown = Shown(made.services, made.arms, made.slate_propensity, made.propensities)
        return Plan(shown, (), Notes(False, "nothing is known yet: all is drawn by chance", 0, (), 0, 1.0))

    def _decide(
        self, newest: Models, X: NDArray[np.float32]
    ) -> tuple[Shown, tuple[tuple[float, Lists], ...]]:
        estimates = newest.estimates(X)
        ours = self._make(estimates, newest.priced(), newest.choice_load, self._explore())
        if not self.rules.is_gated:
            shown = Shown(ours.services, ours.arms, ours.slate_propensity, ours.propensities)
            self._pending = _Pending(
                newest, estimates, None, shown, ours.slates.services, None, "champion", None
            )
            return shown, ((1.0, ours.slates.services),)
        rival = self.champion or newest.as_constant()
        rival_estimates = rival.estimates(X)
        theirs = self._make(rival_estimates, rival.priced(), rival.choice_load, self._explore())
        share = DRIFT_TRIAL_SHARE if self._is_unsettled() else TRIAL_SHARE
        by_lot = self._rng(1).random(len(X)) < share
        exploration_settings = replace(self.settings.exploration, explore=self._explore())
        shown = side_by_side(ours, theirs, by_lot, share, exploration_settings)
        self._pending = _Pending(
            newest,
            estimates,
            newest.baseline(X),
            shown,
            ours.slates.services,
            theirs.slates.services,
            "champion" if self.champion else "best_constant",
            (rival_estimates, rival.baseline(X)) if self.champion else None,
        )
        return shown, ((share, ours.slates.services), (1 - share, theirs.slates.services))

    def _make(self, estimates: Estimates, catalog: Catalog, choice_load: float, explore: float) -> Made:
        """By the function that the service decides with."""
        n_users = len(estimates.uptake)
        settings = replace(
            self.settings,
            decision=replace(self.settings.decision, choice_load=choice_load),
            exploration=replace(self.settings.exploration, explore=explore),
        )
        allowed = eligible(catalog, [""] * n_users, self.market.now_us)
        seeds = [(self.seed, self.week, user) for user in range(n_users)]
        return make_decisions(estimates, allowed, settings, self.held_out, seeds)

    def _explore(self) -> float:
        """Share of this week's decisions that are drawn by chance: the less is known, the more.

        Everything in the first week, then one in as many as there have been weeks, and never less than the
        setting. A drift sets the clock back: half of the decisions when it is found, then a third.
        """
        if self.week > 1 and not self.rules.explores:
            return 0.0
        age = self.week - self._drift_found + 2 if self._drift_found else self.week
        return max(self.settings.exploration.explore, 1 / age)

    def _is_unsettled(self) -> bool:
        """Did the champion begin before a drift that was found this week or the last?"""
        return 0 < self._drift_found >= self.week - 1

    def _margin_cap(self) -> float:
        margins = np.concatenate([part.margin for part in self.rows])
        return float(np.quantile(margins, self.settings.money.margin_cap_quantile))

    def _ask_gate(self) -> tuple[bool, str]:
        """May last week's challenger be the champion? Judged by the weeks since the last promotion."""
        pending = self._pending
        if pending is None or pending.theirs is None:
            return False, "nothing was on trial yet"
        cap = self._margin_cap()
        week = self._last_week(cap)
        assert pending.baseline is not None
        worth = [
            pending.baseline
            + list_worth(lists, pending.estimates, self.market.catalog, pending.newest.choice_load)
            for lists in (pending.ours, pending.theirs, pending.shown.lists)
        ]
        most_cost = self.settings.decision.max_services * float(
            (self.market.catalog.unit_cost + self.market.catalog.contact_cost).max()
        )
        gain = list_gain(week, pending.ours, pending.theirs, (worth[0], worth[1], worth[2]), cap, most_cost)
        self._evidence.append(gain)
        pooled = PairedGain.joined(self._evidence)
        users = np.tile(np.arange(len(week.margin)), len(self._evidence))
        verdict = judge(
            {pending.rival: pooled},
            users,
            self.settings.money.currency,
            self.settings.training.interval_level,
        )
        promote, reason = verdict.promote, verdict.reason
        if not promote and pending.champion is not None:
            comparison = verdict.comparisons[0]
            promote = (comparison.high is None or comparison.high > 0) and self._predicts_better(week)
            if promote:
                reason = f"refresh: on more rows it foresaw the last week better, and {comparison.finding}."
        if promote:
            self.champion, self._evidence = pending.newest, []
        return promote, reason

    def _predicts_better(self, week: Week) -> bool:
        """Did the challenger foresee last week's margins better than the champion? Neither had seen them."""
        pending = self._pending
        assert pending is not None and pending.champion is not None and pending.baseline is not None
        ours = pending.baseline + self._places(pending.estimates).uplift.sum(axis=1)
        estimates, baseline = pending.champion
        theirs = baseline + self._places(estimates).uplift.sum(axis=1)
        return predicts_better(week.margin, ours, theirs)

    def _places(self, estimates: Estimates) -> Places:
        assert self._pending is not None
        return places_of(self._pending.shown.lists, estimates, self._pending.newest.choice_load)

    def _last_week(self, margin_cap: float) -> Week:
        assert self._pending is not None
        rows, shown, catalog = self.rows[-1], self._pending.shown, self.market.catalog
        is_shown, service = shown.lists >= 0, np.maximum(shown.lists, 0)
        cost = taken_of(rows) * catalog.unit_cost[service] + is_shown * catalog.contact_cost[service]
        return Week(
            shown=shown.lists,
            slate_propensity=shown.slate_propensity,
            margin=np.minimum(rows.margin, margin_cap),
            cost=cost.sum(axis=1),
        )

    def _find_drift(self) -> tuple[str, ...]:
        """Services whose answers last week were not those predicted; their older rows are left out."""
        pending, n_services = self._pending, len(self.market.catalog)
        if self._drifted_in is None:
            self._drifted_in = np.zeros(n_services, np.intp)
        if pending is None or self.rules.recipe == "constant":
            return ()
        week, places = self._last_week(self._margin_cap()), self._places(pending.estimates)
        residual = np.zeros(len(week.margin))
        unsure = np.zeros(n_services)
        if pending.baseline is not None and pending.newest.uplift is not None:
            residual = week.margin - pending.baseline - places.uplift.sum(axis=1)
            unsure = pending.newest.uplift.average_se_
        now = Departure.of(
            pending.shown.lists, places.p_take, taken_of(self.rows[-1]), places.scale, residual, n_services
        ).less_sure(unsure)
        last = self.week - 1
        if self._sound is None:  # the first models are of few rows: what they miss is no drift
            self._sound = now if len(self.rows) >= _FIRST_SOUND else None
            return ()
        calm = (self._drifted_in == 0) | (self._drifted_in + _CALM_WEEKS < last)
        found = drifted(now, self._sound) & calm
        if found.any():
            self._drifted_in = np.where(found, last, self._drifted_in)
            self._drift_found = self.week
        elif not self._is_unsettled():
            self._sound = now
        return tuple(self.market.catalog.ids[s] for s in np.flatnonzero(found))

    def _still_true(self) -> Dataset:
        rows = joined(self.rows)
        assert self._drifted_in is not None
        if not self._drifted_in.any():
            return rows
        week = np.repeat(np.arange(1, len(self.rows) + 1), [len(part) for part in self.rows])
        return rows.take(still_true(lists_of(rows), week, self._drifted_in))

    def _rng(self, purpose: int) -> np.random.Generator:
        """The same for all loops of a week, so that they differ by what they decide alone."""
        return np.random.default_rng([self.seed, self.week, purpose])
