"""The rules asked for many users at once: what each refuses, why, and what lists must keep to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from offers.calendar import local_us, minute_of_day, weekday
from offers.catalog import Catalog
from offers.conditions import holds, why_not
from offers.rule_plan import (
    ALWAYS,
    CAPACITY,
    COOLDOWN,
    N_KINDS,
    OFF,
    PROVIDER_CAPACITY,
    SHOWINGS,
    TURN,
    WHEN,
    WHO,
    OneUser,
    Plan,
    RulePlan,
    must_show_to_one,
    places_of,
    plan_of,
    refusals_of_one,
)
from offers.rules import DECLINED, SHOWN, USED, WEEKDAYS, Rule, RuleSet
from offers.types import AtMost, ListRules

Bools = NDArray[np.bool_]

_AFTER = {SHOWN: "was shown", USED: "was used", DECLINED: "was declined"}


@dataclass(frozen=True)
class Past:
    """What was shown and used before a moment, of n users, by service in the catalogue's order."""

    showings: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)  # days: (n_users, n_services)
    days_since: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # NaN: never
    shown_today: NDArray[np.int64] | None = None  # (n_users or 1, n_services) to all users; None: not known

    @classmethod
    def stack(cls, parts: Sequence["Past"]) -> "Past":
        """The past of several users, one after the other; all must know the same."""
        first = parts[0]
        return cls(
            {days: np.concatenate([part.showings[days] for part in parts]) for days in first.showings},
            {kind: np.concatenate([part.days_since[kind] for part in parts]) for kind in first.days_since},
            None
            if first.shown_today is None
            else np.concatenate([part.shown_today for part in parts if part.shown_today is not None]),
        )


@dataclass(frozen=True)
class Facts:
    """What rules ask of each of n users at a moment."""

    now_us: NDArray[np.int64]  # (n_users,) microseconds since 1970
    scenarios: tuple[str, ...]  # of each user; "": any
    channels: tuple[str, ...]  # of each user; "": not told
    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # (n_users,); NaN: unknown
    past: Past = field(default_factory=Past)

    def row(self, user: int) -> dict[str, float]:
        """The columns of one user."""
        return {name: float(values[user]) for name, values in self.columns.items()}

    def one(self) -> OneUser:
        """The facts of the only user."""
        past = self.past
        return OneUser(
            int(self.now_us[0]),
            self.scenarios[0],
            self.channels[0],
            self.row(0),
            {days: counts[0].tolist() for days, counts in past.showings.items()},
            {kind: days[0].tolist() for kind, days in past.days_since.items()},
            None if past.shown_today is None else past.shown_today[0].tolist(),
        )


@dataclass(frozen=True)
class RuleVerdicts:
    """What the rules refuse, and why."""

    rules: RuleSet
    catalog: Catalog
    facts: Facts
    verdict: NDArray[np.int16]  # (n_users, n_services): 0 allowed, else 1 + rule * 8 + kind of refusal

    def reason(self, user: int, position: int) -> str:
        """Why the service may not be shown to the user in this row, with the rule's name and the fact."""
        number, kind = divmod(int(self.verdict[user, position]) - 1, N_KINDS)
        rule = self.rules.rules[number]
        return f"rule `{rule.name}`: {self._fact(rule, kind, user, position)}"

    def list_rules(self, eligible: Bools) -> ListRules:
        """What lists of these eligible services must keep to."""
        at_most = [
            AtMost(part.places, part.rule.limits.list_at_most)
            for part in plan_of(self.rules, self.catalog).parts
            if part.rule.limits.list_at_most is not None
        ]
        return ListRules(tuple(at_most), self._must_show(eligible))

    def _must_show(self, eligible: Bools) -> Bools:
        plan = plan_of(self.rules, self.catalog)
        if len(eligible) == 1:
            must = must_show_to_one(plan, self.facts.row(0), eligible[0].tolist())
            return np.array([must], dtype=bool)
        must_show = np.zeros(eligible.shape, dtype=bool)
        for part in plan.parts:
            rule = part.rule
            if not rule.enabled:
                continue
            if rule.must_show is not None:
                must_be = holds(rule.must_show, self.facts.columns, len(eligible))
                must_show[:, part.index] |= must_be[:, None]
            if not part.fallback:
                continue
            is_open = ~eligible[:, part.others].any(axis=1)
            for place in part.fallback:
                must_show[:, place] |= is_open
                is_open = is_open & ~eligible[:, place]
        return must_show & eligible

    def _fact(self, rule: Rule, kind: int, user: int, position: int) -> str:
        service, limits = self.catalog.services[position], rule.limits
        if kind == OFF:
            return "it is switched off"
        if kind == WHEN:
            return _when_not(rule, self.facts, self.rules.timezone, user)
        if kind == WHO:
            assert rule.who is not None
            return why_not(rule.who, self.facts.columns, user)
        if kind == SHOWINGS:
            assert limits.showings is not None
            n, which = limits.showings, "these services were" if limits.showings.together else "it was"
            shown = self.facts.past.showings[n.days][user]
            places = list(places_of(rule.services, self.catalog))
            count = shown[places].sum() if n.together else shown[position]
            return f"{which} shown {count} times in {n.days} days, at most {n.most} are allowed"
        if kind == COOLDOWN:
            return next(
                f"it {_AFTER[after]} {self.facts.past.days_since[after][user, position]:.1f} days ago, "
                f"needs {days:g} days"
                for after, days in limits.cooldown_days.items()
                if self.facts.past.days_since[after][user, position] < days
            )
        if kind == CAPACITY:
            return f"its capacity of {limits.capacity_per_day} a day is used up"
        if kind == PROVIDER_CAPACITY:
            capacity = limits.provider_capacity_per_day
            return f"the capacity of {service.provider or 'its provider'}, {capacity} a day, is used up"
        return f"another provider than {service.provider} has its turn"


def evaluate(rules: RuleSet, catalog: Catalog, facts: Facts, available: Bools) -> RuleVerdicts:
    """What the rules refuse to each user; the first rule in the file's order gives the reason.

    Services that a rule names and the catalogue does not hold are passed over.

    Parameters
    ----------
    facts : Facts
        With all that ``rules.needs`` names.
    available : ndarray of bool, broadcast to (n_users, n_services)
        What the catalogue's dates and capacities leave; a provider whose service is not among it passes its
        turn on.
    """
    plan, shape = plan_of(rules, catalog), (len(facts.now_us), len(catalog))
    deliverable = np.broadcast_to(available, shape)
    if shape[0] == 1:
        refused_codes = refusals_of_one(plan, facts.one(), deliverable[0].tolist())
        return RuleVerdicts(rules, catalog, facts, np.array([refused_codes], dtype=np.int16))
    verdict, deliverable = np.zeros(shape, dtype=np.int16), deliverable.copy()
    for part in plan.parts:
        for kind, refused in _refusals(part, plan, facts):
            _note(verdict, part, refused, 1 + part.number * N_KINDS + kind)
            if kind in (OFF, WHEN, CAPACITY, PROVIDER_CAPACITY):
                deliverable[:, part.index] &= ~refused
    for part in plan.parts:
        if part.rule.providers:
            refused = _not_in_turn(part, deliverable)
            _note(verdict, part, refused, 1 + part.number * N_KINDS + TURN)
    return RuleVerdicts(rules, catalog, facts, verdict)


def _note(verdict: NDArray[np.int16], part: RulePlan, refused: Bools, code: int) -> None:
    some = verdict[:, part.columns]
    some[(some == 0) & refused] = code
    verdict[:, part.columns] = some


def _refusals(part: RulePlan, plan: Plan, facts: Facts) -> Iterator[tuple[int, Bools]]:
    """Kinds of refusal with where they apply, each broadcast to (n_users, n_places)."""
    rule, places = part.rule, part.columns
    if not rule.enabled:
        yield OFF, np.ones((1, len(part.places)), dtype=bool)
        return
    if rule.when != ALWAYS:
        yield WHEN, ~_is_time(rule, facts, plan.rules.timezone)[:, None]
    if rule.who is not None:
        yield WHO, ~holds(rule.who, facts.columns, len(facts.now_us))[:, None]
    limits = rule.limits
    if limits.showings is not None:
        shown = facts.past.showings[limits.showings.days][:, places]
        counts = shown.sum(axis=1, keepdims=True) if limits.showings.together else shown
        yield SHOWINGS, counts >= limits.showings.most
    for after, days in limits.cooldown_days.items():
        yield COOLDOWN, facts.past.days_since[after][:, places] < days  # NaN: never
    if facts.past.shown_today is None:
        return
    today = facts.past.shown_today[:, places]
    if limits.capacity_per_day is not None:
        yield CAPACITY, today >= limits.capacity_per_day
    if limits.provider_capacity_per_day is not None:
        yield PROVIDER_CAPACITY, today @ part.same_provider >= limits.provider_capacity_per_day


def _not_in_turn(part: RulePlan, deliverable: Bools) -> Bools:
    """All but the services of the first provider that can deliver; all of them where none can."""
    refused = np.ones((len(deliverable), len(part.places)), dtype=bool)
    is_open = np.ones(len(deliverable), dtype=bool)
    for turn in part.turns:
        own = list(turn)
        can = deliverable[:, part.index[own]].any(axis=1) & is_open
        refused[:, own] &= ~can[:, None]
        is_open &= ~can
    return refused


def _is_time(rule: Rule, facts: Facts, timezone: str) -> Bools:
    when, is_time = rule.when, np.ones(len(facts.now_us), dtype=bool)
    if when.from_us is not None:
        is_time &= facts.now_us >= when.from_us
    if when.until_us is not None:
        is_time &= facts.now_us < when.until_us
    if when.hours or when.weekdays:
        local = local_us(facts.now_us, timezone)
        is_time &= _in_hours(rule, minute_of_day(local)) & _on_weekday(rule, weekday(local))
    if when.scenarios:
        is_time &= np.array([one in ("", *when.scenarios) for one in facts.scenarios], dtype=bool)
    if when.channels:
        is_time &= np.array([one in when.channels for one in facts.channels], dtype=bool)
    return is_time


def _in_hours(rule: Rule, minute: NDArray[np.int64]) -> Bools:
    is_in = np.full(minute.shape, not rule.when.hours)
    for start, end in rule.when.hours:
        if start < end:
            is_in |= (minute >= start) & (minute < end)
        else:  # over midnight
            is_in |= (minute >= start) | (minute < end)
    return is_in


def _on_weekday(rule: Rule, day: NDArray[np.int64]) -> Bools:
    return np.isin(day, rule.when.weekdays) | (not rule.when.weekdays)


def _when_not(rule: Rule, facts: Facts, timezone: str, user: int) -> str:
    when, now = rule.when, int(facts.now_us[user])
    local = local_us(np.array([now]), timezone)
    minute = int(minute_of_day(local)[0])
    if when.from_us is not None and now < when.from_us:
        return f"it begins at {_moment(when.from_us, timezone)}"
    if when.until_us is not None and now >= when.until_us:
        return f"it ended at {_moment(when.until_us, timezone)}"
    if not _on_weekday(rule, weekday(local))[0]:
        days = ", ".join(WEEKDAYS[day] for day in when.weekdays)
        return f"it is {WEEKDAYS[int(weekday(local)[0])]}, needs {days}"
    if not _in_hours(rule, minute_of_day(local))[0]:
        hours = ", ".join(f"{_clock(start)}-{_clock(end)}" for start, end in when.hours)
        return f"it is {_clock(minute)} in {timezone}, needs {hours}"
    scenario, channel = facts.scenarios[user], facts.channels[user]
    if when.scenarios and scenario not in ("", *when.scenarios):
        return f"the scenario is {scenario}, needs {' or '.join(when.scenarios)}"
    return f"the channel is {channel or 'not told'}, needs {' or '.join(when.channels)}"


def _moment(at_us: int, timezone: str) -> str:
    local = np.datetime64(int(local_us(np.array([at_us]), timezone)[0]), "us")
    return f"{str(local.astype('datetime64[m]')).replace('T', ' ')} {timezone}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
