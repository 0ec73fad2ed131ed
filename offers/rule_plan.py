"""The rules made ready for a catalogue, and asked for one user without arrays: the same answers, sooner.

A list of services becomes positions once, and a condition a closure. For one user numpy spends more on each
call than on the numbers; plain numbers answer an order of magnitude sooner. What `offers.rule_evaluation`
says of many users is what this says of each (a property test holds them equal).
"""

import math
import operator
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offers.calendar import local_us, minute_of_day, weekday
from offers.catalog import Catalog
from offers.conditions import All, Always, Among, Arithmetic, Column, Compare, Condition, Missing, Term
from offers.rules import Limits, Rule, RuleSet, When

OFF, WHEN, WHO, SHOWINGS, COOLDOWN, CAPACITY, PROVIDER_CAPACITY, TURN = range(8)
N_KINDS = 8
ALWAYS = When()

Row = Mapping[str, float]  # columns of one user; NaN: unknown
Truth = Callable[[Row], bool | None]  # None: not known
Places = NDArray[np.intp]

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class RulePlan:
    """A rule whose services are positions in a catalogue."""

    rule: Rule
    number: int  # in the file
    places: tuple[int, ...]
    index: Places  # the same
    columns: slice | Places  # the same, as a slice where that is all of them
    same_provider: NDArray[np.int64]  # (n_places, n_places)
    providers: tuple[tuple[int, ...], ...]  # the places of each provider
    turns: tuple[tuple[int, ...], ...]  # indexes into places, provider by provider in their order
    fallback: tuple[int, ...]
    others: tuple[int, ...]  # places that are no fallback
    who: Truth | None
    must_show: Truth | None
    has_time: bool  # does it ask for the hour or the weekday?


@dataclass(frozen=True)
class Plan:
    """All rules that speak of a service of the catalogue, in the order of the file."""

    rules: RuleSet
    catalog: Catalog
    parts: tuple[RulePlan, ...]


_PLANS: deque[Plan] = deque(maxlen=8)  # of the rules and catalogues that were asked last


def plan_of(rules: RuleSet, catalog: Catalog) -> Plan:
    """The rules made ready for this catalogue; those of the same two objects are made once."""
    for plan in tuple(_PLANS):
        if plan.rules is rules and plan.catalog is catalog:
            return plan
    parts = (_rule_plan(rule, number, catalog) for number, rule in enumerate(rules.rules))
    plan = Plan(rules, catalog, tuple(part for part in parts if part.places))
    _PLANS.append(plan)
    return plan


def _rule_plan(rule: Rule, number: int, catalog: Catalog) -> RulePlan:
    places = places_of(rule.services, catalog)
    index = np.array(places, dtype=np.intp)
    provider = np.array([catalog.services[place].provider for place in places])
    fallback = places_of(rule.fallback, catalog)
    everything = len(places) == len(catalog) and places == tuple(range(len(catalog)))
    return RulePlan(
        rule=rule,
        number=number,
        places=places,
        index=index,
        columns=slice(None) if everything else index,
        same_provider=(provider[:, None] == provider[None, :]).astype(np.int64),
        providers=tuple(tuple(index[provider == one].tolist()) for one in sorted(set(provider.tolist()))),
        turns=tuple(tuple(np.flatnonzero(provider == name).tolist()) for name in rule.providers),
        fallback=fallback,
        others=tuple(place for place in places if place not in fallback),
        who=None if rule.who is None else compiled(rule.who),
        must_show=None if rule.must_show is None else compiled(rule.must_show),
        has_time=bool(rule.when.hours or rule.when.weekdays),
    )


def places_of(services: Sequence[str], catalog: Catalog) -> tuple[int, ...]:
    """Positions of the services that are there."""
    return tuple(catalog.position_of[one] for one in services if one in catalog.position_of)


@dataclass(frozen=True)
class OneUser:
    """The facts of one user as plain numbers, by service in the catalogue's order."""

    now_us: int
    scenario: str
    channel: str
    row: Row
    showings: Mapping[int, list[int]]
    days_since: Mapping[str, list[float]]
    shown_today: list[int] | None


def refusals_of_one(plan: Plan, user: OneUser, available: list[bool]) -> list[int]:
    """Of each service: 0 where no rule refuses it, else 1 + rule * 8 + kind of refusal; the first counts."""
    verdict = [0] * len(plan.catalog)
    deliverable = list(available)
    clock: tuple[int, int] | None = None
    for part in plan.parts:
        if part.has_time and clock is None:
            local = local_us(np.array([user.now_us]), plan.rules.timezone)
            clock = int(minute_of_day(local)[0]), int(weekday(local)[0])
        _ask(part, user, clock, verdict, deliverable)
    for part in plan.parts:
        if part.rule.providers:
            _take_turns(part, verdict, deliverable)
    return verdict


def must_show_to_one(plan: Plan, row: Row, eligible: list[bool]) -> list[bool]:
    """Which of the eligible services stand in every list of this user."""
    must = [False] * len(eligible)
    for part in plan.parts:
        if not part.rule.enabled:
            continue
        if part.must_show is not None and part.must_show(row):
            for place in part.places:
                must[place] = True
        if part.fallback and not any(eligible[place] for place in part.others):
            for place in part.fallback:
                must[place] = True
                if eligible[place]:
                    break
    return [one and ok for one, ok in zip(must, eligible)]


def _ask(
    part: RulePlan,
    user: OneUser,
    clock: tuple[int, int] | None,
    verdict: list[int],
    deliverable: list[bool],
) -> None:
    rule, code = part.rule, 1 + part.number * N_KINDS
    if not rule.enabled:
        _refuse(part.places, code + OFF, verdict)
        _withhold(part.places, deliverable)
        return
    if rule.when != ALWAYS and not _is_time(rule.when, user, clock):
        _refuse(part.places, code + WHEN, verdict)
        _withhold(part.places, deliverable)
    if part.who is not None and not part.who(user.row):
        _refuse(part.places, code + WHO, verdict)
    _ask_limits(part, rule.limits, user, code, verdict, deliverable)


def _ask_limits(
    part: RulePlan, limits: Limits, user: OneUser, code: int, verdict: list[int], deliverable: list[bool]
) -> None:
    places = part.places
    if limits.showings is not None:
        shown, most = user.showings[limits.showings.days], limits.showings.most
        if limits.showings.together:
            if sum([shown[place] for place in places]) >= most:
                _refuse(places, code + SHOWINGS, verdict)
        else:
            _refuse([place for place in places if shown[place] >= most], code + SHOWINGS, verdict)
    for after, days in limits.cooldown_days.items():
        since = user.days_since[after]
        _refuse([place for place in places if since[place] < days], code + COOLDOWN, verdict)  # NaN: never
    today = user.shown_today
    if today is None:
        return
    if limits.capacity_per_day is not None:
        full = [place for place in places if today[place] >= limits.capacity_per_day]
        _refuse(full, code + CAPACITY, verdict)
        _withhold(full, deliverable)
    if limits.provider_capacity_per_day is not None:
        for own in part.providers:
            if sum([today[place] for place in own]) >= limits.provider_capacity_per_day:
                _refuse(own, code + PROVIDER_CAPACITY, verdict)
                _withhold(own, deliverable)


def _take_turns(part: RulePlan, verdict: list[int], deliverable: list[bool]) -> None:
    """All but the services of the first provider that can deliver are refused."""
    code, allowed = 1 + part.number * N_KINDS + TURN, set()
    for turn in part.turns:
        own = [part.places[one] for one in turn]
        if any(deliverable[place] for place in own):
            allowed = set(own)
            break
    _refuse([place for place in part.places if place not in allowed], code, verdict)


def _refuse(places: Sequence[int], code: int, verdict: list[int]) -> None:
    for place in places:
        if not verdict[place]:
            verdict[place] = code


def _withhold(places: Sequence[int], deliverable: list[bool]) -> None:
    for place in places:
        deliverable[place] = False


def _is_time(when: When, user: OneUser, clock: tuple[int, int] | None) -> bool:
    if when.from_us is not None and user.now_us < when.from_us:
        return False
    if when.until_us is not None and user.now_us >= when.until_us:
        return False
    if clock is not None and when.hours and not any(_is_within(clock[0], *hours) for hours in when.hours):
        return False
    if clock is not None and when.weekdays and clock[1] not in when.weekdays:
        return False
    if when.scenarios and user.scenario and user.scenario not in when.scenarios:
        return False
    return not when.channels or user.channel in when.channels


def _is_within(minute: int, start: int, end: int) -> bool:
    if start < end:
        return start <= minute < end
    return minute >= start or minute < end  # over midnight


def compiled(condition: Condition) -> Truth:
    """The condition as a closure over the columns of one user: true, false, or None where it is not known.

    >>> adult = compiled(Compare(Column("age"), ">=", 18.0))
    >>> [adult({"age": age}) for age in (17.0, 18.0, math.nan)]
    [False, True, None]
    """
    match condition:
        case Compare(left, sign, right):
            return _comparison(_compiled_term(left), _COMPARE[sign], _compiled_term(right))
        case Among(column, codes, _, negated):
            return _membership(column, frozenset(map(float, codes)), negated)
        case Missing(column, negated):
            return lambda row: (row[column] != row[column]) is not negated
        case Always(always):
            return lambda row: always
        case All(parts):
            return _conjunction([compiled(part) for part in parts])
        case _:
            return _disjunction([compiled(part) for part in condition.parts])


def _comparison(
    left: Callable[[Row], float], compare: Callable[[float, float], bool], right: Callable[[Row], float]
) -> Truth:
    def ask(row: Row) -> bool | None:
        one, other = left(row), right(row)
        return None if one != one or other != other else compare(one, other)

    return ask


def _membership(column: str, codes: frozenset[float], negated: bool) -> Truth:
    def ask(row: Row) -> bool | None:
        value = row[column]
        return None if value != value else (value in codes) is not negated

    return ask


def _conjunction(parts: Sequence[Truth]) -> Truth:
    def ask(row: Row) -> bool | None:
        found: bool | None = True
        for part in parts:
            truth = part(row)
            if truth is False:
                return False
            if truth is None:
                found = None
        return found

    return ask


def _disjunction(parts: Sequence[Truth]) -> Truth:
    def ask(row: Row) -> bool | None:
        found: bool | None = False
        for part in parts:
            truth = part(row)
            if truth:
                return True
            if truth is None:
                found = None
        return found

    return ask


def _compiled_term(term: Term) -> Callable[[Row], float]:
    if isinstance(term, Column):
        return operator.itemgetter(term.name)
    if isinstance(term, Arithmetic):
        return _arithmetic(_compiled_term(term.left), term.sign, _compiled_term(term.right))
    number = float(term)
    return lambda row: number


def _arithmetic(left: Callable[[Row], float], sign: str, right: Callable[[Row], float]) -> Any:
    compute: Callable[[float, float], float] = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": operator.truediv,
    }[sign]

    def ask(row: Row) -> float:
        try:
            found = compute(left(row), right(row))
        except ZeroDivisionError:
            return math.nan
        return found if math.isfinite(found) else math.nan

    return ask
