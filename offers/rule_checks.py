"""What is wrong with rules that can be read: nobody fits, they contradict each other, they have ended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from offers.calendar import local_us
from offers.conditions import All, Always, Among, Condition
from offers.list_counts import check_countable
from offers.reach import find_example, in_words
from offers.rules import FAULT, NOTE, TIER, WARNING, Finding, RuleSet, Vocabulary, When
from offers.types import AtMost

_WEEK = 7 * 24 * 60  # minutes
_MOST_NAMED = 5


@dataclass(frozen=True)
class _Demand:
    """What one rule, or the catalogue, asks of a moment and a user before a service may be shown."""

    name: str
    line: int
    who: Condition | None
    when: When


@dataclass(frozen=True)
class Switches:
    """All combinations of the switchable rules, and what is wrong with some of them."""

    names: tuple[str, ...]
    n_combinations: int
    nothing: tuple[tuple[str, ...], ...]  # the rules that are off where nobody can be shown anything
    must_show_lost: tuple[tuple[str, ...], ...]  # and where what must be shown is switched off


def check_rules(
    rules: RuleSet, vocabulary: Vocabulary, max_services: int, now_us: int
) -> tuple[Finding, ...]:
    """All that is wrong with rules whose names and types are right, by line.

    Parameters
    ----------
    max_services : int
        The longest list.
    now_us : int
        The moment of the check, for dates that have ended.
    """
    checks = (
        _unreachable(rules, vocabulary),
        _ended(rules, now_us),
        _contradictions(rules, vocabulary),
        _must_show_faults(rules, vocabulary, max_services),
        _list_limits(rules),
        _uncountable(rules, vocabulary, max_services),
        _apart(rules, vocabulary),
        _switch_faults(rules, vocabulary),
    )
    return tuple(sorted({finding for check in checks for finding in check}))


def switches_of(rules: RuleSet, vocabulary: Vocabulary) -> Switches:
    """Every combination of the switchable rules, each checked."""
    switchable = [rule for rule in rules.rules if rule.switchable]
    can_be_shown = _reachable_services(rules, vocabulary)
    nothing, lost = [], []
    for states in product([True, False], repeat=len(switchable)):
        off = [rule for rule, is_on in zip(switchable, states) if not is_on]
        off_services = {service for rule in off for service in rule.services}
        names = tuple(rule.name for rule in off)
        if vocabulary.catalog.ids and not can_be_shown - off_services:
            nothing.append(names)
        if any(
            rule.must_show is not None and rule not in off and set(rule.services) <= off_services
            for rule in rules.rules
        ):
            lost.append(names)
    return Switches(
        tuple(rule.name for rule in switchable),
        2 ** len(switchable),
        tuple(sorted(nothing, key=lambda off: (len(off), off))),
        tuple(sorted(lost, key=lambda off: (len(off), off))),
    )


def _unreachable(rules: RuleSet, vocabulary: Vocabulary) -> Iterator[Finding]:
    for rule in rules.rules:
        line = rule.lines.get("who", rule.line)
        if rule.who is not None and find_example(rule.who, vocabulary.columns) is None:
            text = f"rule `{rule.name}`: nobody can fit `{rule.texts.get('who')}`: mend the condition."
            yield Finding(line, FAULT, text)
            continue
        if rule.must_show is None or rule.must_show == Always(False):
            continue
        line, both = rule.lines.get("must_show", rule.line), _both(rule.who, rule.must_show)
        if find_example(both, vocabulary.columns) is None:
            text = (
                f"rule `{rule.name}`: must_show can hold for nobody who may be shown these services "
                f"(`{rule.texts.get('must_show')}`): mend it, or `who`."
            )
            yield Finding(line, FAULT, text)


def _ended(rules: RuleSet, now_us: int) -> Iterator[Finding]:
    for rule in rules.rules:
        until = rule.when.until_us
        if until is not None and until <= now_us:
            local = np.datetime64(int(local_us(np.array([until]), rules.timezone)[0]), "us")
            text = (
                f"rule `{rule.name}`: ended on {local.astype('datetime64[D]')}, "
                f"so that {_named(rule.services)} "
                "can be shown to nobody: move the date, or take the rule out."
            )
            yield Finding(rule.lines.get("when", rule.line), WARNING, text)


def _contradictions(rules: RuleSet, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Services that nobody can be shown, though each rule alone leaves somebody."""
    found: dict[tuple[_Demand, ...], list[str]] = {}
    for service, demands in _demands(rules, vocabulary).items():
        smallest = _smallest_conflict(demands, vocabulary)
        if smallest:
            found.setdefault(smallest, []).append(service)
    for conflict, services in found.items():
        line = max(demand.line for demand in conflict)
        text = (
            f"{_and([demand.name for demand in conflict])} contradict each other for {_named(services)}: "
            "nobody can be shown it. Take the service out of one, or mend a condition."
        )
        yield Finding(line, FAULT, text[0].upper() + text[1:])


def _must_show_faults(rules: RuleSet, vocabulary: Vocabulary, max_services: int) -> Iterator[Finding]:
    musts = [rule for rule in rules.rules if rule.must_show not in (None, Always(False)) and rule.enabled]
    demands = _demands(rules, vocabulary)
    for rule in musts:
        line = rule.lines.get("must_show", rule.line)
        for other in rules.rules:
            if not other.enabled and set(rule.services) & set(other.services):
                common = sorted(set(rule.services) & set(other.services))
                text = (
                    f"rule `{rule.name}`: must show {_named(common)}, which `{other.name}` has switched off."
                )
                yield Finding(line, FAULT, f"{text} Switch it on, or take must_show away.")
    conditions: dict[str, Condition] = {}
    for rule in musts:
        for service in rule.services:
            parts = [one.who for one in demands.get(service, ()) if one.who is not None]
            conditions.setdefault(service, All((rule.must_show or Always(True), *parts)))
    for rule in rules.rules:
        most = rule.limits.list_at_most
        forced = [service for service in rule.services if service in conditions]
        if most is None or len(forced) <= most or not rule.enabled:
            continue
        for some in list(combinations(forced, most + 1))[:200]:
            example = find_example(All(tuple(conditions[service] for service in some)), vocabulary.columns)
            if example is not None:
                who = in_words(example, vocabulary.columns)
                text = (
                    f"rule `{rule.name}`: at most {most} in a list, "
                    f"but {_and(list(some))} must all be shown, "
                    f"for example to {who}: take one of them out."
                )
                yield Finding(rule.lines.get("limits", rule.line), FAULT, text)
                break
    if len(conditions) > max_services:
        example = find_example(All(tuple(conditions.values())), vocabulary.columns)
        if example is not None:
            line = max(rule.line for rule in musts)
            text = (
                f"{len(conditions)} services must be shown to {in_words(example, vocabulary.columns)}, "
                f"but a list has at most {max_services}: some will be left out."
            )
            yield Finding(line, WARNING, text)


def _list_limits(rules: RuleSet) -> Iterator[Finding]:
    for rule in rules.rules:
        most = rule.limits.list_at_most
        if most is not None and most >= len(rule.services):
            text = f"rule `{rule.name}`: at most {most} of {len(rule.services)} services limits nothing."
            yield Finding(rule.lines.get("limits", rule.line), WARNING, text)


def _uncountable(rules: RuleSet, vocabulary: Vocabulary, max_services: int) -> Iterator[Finding]:
    """Exploration counts the lists that rules allow; where too many overlap, that would make it wait."""
    catalog = vocabulary.catalog
    at_most, line = [], 0
    for rule in rules.rules:
        if rule.limits.list_at_most is not None:
            places = tuple(catalog.position_of[service] for service in rule.services)
            at_most.append(AtMost(places, rule.limits.list_at_most))
            line = rule.lines.get("limits", rule.line)
    try:
        check_countable(at_most, len(catalog), max_services)
    except ValueError as error:
        yield Finding(line, FAULT, str(error))


def _apart(rules: RuleSet, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Pairs of services that are never in one list, with a smallest example of each cause."""
    catalog = vocabulary.catalog
    for rule in rules.rules:
        n = len(rule.services)
        if rule.limits.list_at_most == 1 and n > 1:
            apart = f"{n * (n - 1) // 2} pairs are never shown together"
            text = f"rule `{rule.name}`: {apart}, such as {_and(list(rule.services[:2]))}."
            yield Finding(rule.lines.get("limits", rule.line), NOTE, text)
        if rule.providers:
            pairs = [
                (one, other)
                for one, other in combinations(rule.services, 2)
                if catalog.services[catalog.position_of[one]].provider
                != catalog.services[catalog.position_of[other]].provider
            ]
            if pairs:
                apart = f"{len(pairs)} pairs of different providers are never shown together"
                text = f"rule `{rule.name}`: {apart}, such as {_and(list(pairs[0]))}."
                yield Finding(rule.lines["providers"], NOTE, text)
    demands = _demands(rules, vocabulary)
    alone = {service for service, asked in demands.items() if not _smallest_conflict(asked, vocabulary)}
    kinds: dict[tuple[_Demand, ...], list[str]] = {}
    for service in sorted(alone):
        kinds.setdefault(demands[service], []).append(service)
    causes: dict[tuple[_Demand, ...], list[tuple[str, str]]] = {}
    for (asked, some), (other_asked, others) in combinations(kinds.items(), 2):
        conflict = _smallest_conflict(tuple(dict.fromkeys([*asked, *other_asked])), vocabulary)
        if conflict:
            causes.setdefault(conflict, []).extend(product(some, others))
    for conflict, together in causes.items():
        line = max(demand.line for demand in conflict)
        names = _and([demand.name for demand in conflict])
        n_apart = f"{len(together)} pairs are never shown together"
        text = f"{names} fit nobody together: {n_apart}, such as {_and(list(together[0]))}."
        yield Finding(line, NOTE, text[0].upper() + text[1:])


def _switch_faults(rules: RuleSet, vocabulary: Vocabulary) -> Iterator[Finding]:
    found = switches_of(rules, vocabulary)
    off_now = tuple(rule.name for rule in rules.rules if not rule.enabled)
    line = next((rule.lines["switchable"] for rule in rules.rules if rule.switchable), 1)
    for cases, what in (
        (found.nothing, "nobody can be shown anything"),
        (found.must_show_lost, "a service that must be shown is switched off"),
    ):
        if off_now in cases and cases is found.nothing:
            off = f"with {_named(off_now)} off, " if off_now else ""
            yield Finding(line, FAULT, f"As it is, {off}{what}: switch something on, or mend the rules.")
        elif cases:
            off = f"{_named(cases[0])} off" if cases[0] else "all on"
            share = f"{len(cases)} of {found.n_combinations} combinations of the switches"
            text = f"In {share} {what}, first with {off}."
            yield Finding(line, WARNING, text)


def _demands(rules: RuleSet, vocabulary: Vocabulary) -> dict[str, tuple[_Demand, ...]]:
    """What must hold before each service may be shown: the catalogue's tiers, then the rules in force."""
    found: dict[str, list[_Demand]] = {service: [] for service in vocabulary.catalog.ids}
    tiers = vocabulary.columns[TIER].levels or () if TIER in vocabulary.columns else ()
    for service in vocabulary.catalog.services:
        codes = tuple(code for code, tier in enumerate(tiers) if tier in service.tiers)
        if service.tiers and tiers:
            name = f"the catalogue's tiers ({', '.join(service.tiers)})"
            found[service.service_id].append(_Demand(name, 1, Among(TIER, codes, tiers), When()))
    for rule in rules.rules:
        if rule.enabled and (rule.who is not None or rule.when != When()):
            demand = _Demand(f"rule `{rule.name}`", rule.line, rule.who, rule.when)
            for service_id in rule.services:
                if service_id in found:
                    found[service_id].append(demand)
    return {service: tuple(demands) for service, demands in found.items()}


def _reachable_services(rules: RuleSet, vocabulary: Vocabulary) -> set[str]:
    """Services that somebody can be shown, were all switches on."""
    kept = {
        service for service, demands in _demands(rules, vocabulary).items() if _can_hold(demands, vocabulary)
    }
    off_for_good = {
        one for rule in rules.rules if not rule.enabled and not rule.switchable for one in rule.services
    }
    return kept - off_for_good


def _smallest_conflict(demands: Sequence[_Demand], vocabulary: Vocabulary) -> tuple[_Demand, ...]:
    """The fewest demands that nobody can fit together; empty where there are none, or one alone is enough."""
    if len(demands) < 2 or _can_hold(demands, vocabulary):
        return ()
    for n in range(1, len(demands) + 1):
        for some in list(combinations(demands, n))[:300]:
            if not _can_hold(some, vocabulary):
                return some if n > 1 else ()
    return tuple(demands)


def _can_hold(demands: Sequence[_Demand], vocabulary: Vocabulary) -> bool:
    conditions = [demand.who for demand in demands if demand.who is not None]
    is_time = _have_moment([demand.when for demand in demands])
    return is_time and find_example(All(tuple(conditions)), vocabulary.columns) is not None


def _have_moment(whens: Sequence[When]) -> bool:
    start = max((when.from_us for when in whens if when.from_us is not None), default=None)
    end = min((when.until_us for when in whens if when.until_us is not None), default=None)
    if start is not None and end is not None and start >= end:
        return False
    channels = [set(when.channels) for when in whens if when.channels]
    if channels and not set.intersection(*channels):
        return False
    week = np.ones(_WEEK, dtype=bool)
    for when in whens:
        if when.hours or when.weekdays:
            week &= _week(when.hours, when.weekdays)
    return bool(week.any())


@lru_cache(maxsize=1024)
def _week(hours: tuple[tuple[int, int], ...], weekdays: tuple[int, ...]) -> NDArray[np.bool_]:
    """The minutes of a week at which a rule's services may be shown."""
    minute = np.arange(_WEEK) % (24 * 60)
    is_hour = np.full(_WEEK, not hours)
    for start, end in hours:
        inside = (minute >= start) & (minute < end) if start < end else (minute >= start) | (minute < end)
        is_hour |= inside
    return is_hour & (np.isin(np.arange(_WEEK) // (24 * 60), weekdays) | (not weekdays))


def _both(who: Condition | None, other: Condition) -> Condition:
    return other if who is None else All((who, other))


def _named(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
