"""The benefit rules as plain types: which services, for whom, when, how often, and what must be shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any, NamedTuple

from offers.catalog import Catalog
from offers.conditions import Condition, columns_of

FAULT, WARNING, NOTE = "fault", "warning", "note"
SHOWN, USED, DECLINED = "shown", "used", "declined"
TIER = "tier"  # the name of the value tier among the columns
MAX_SWITCHES = 7  # 128 combinations, each of which is checked
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Lined(NamedTuple):
    """A value as it stands in a file: a text, number, truth, None, or list or mapping of more of these."""

    value: Any
    line: int  # from 1


@dataclass(frozen=True, order=True)
class Finding:
    """What a check has to say of a line."""

    line: int
    severity: str  # fault, warning or note
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass(frozen=True)
class ColumnKind:
    """What a column of the profile can hold."""

    levels: tuple[str, ...] | None = None  # the names of a text, in their order; None: a number
    lowest: float | None = None  # of a number; None: no bound


@dataclass(frozen=True)
class Vocabulary:
    """The names that rules may use: services, columns, tiers, tracks and channels."""

    catalog: Catalog
    columns: Mapping[str, ColumnKind]  # by name, the value tier among them
    tracks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # services of each
    channels: tuple[str, ...] = ()  # seen so far; empty: not known


@dataclass(frozen=True)
class When:
    """When a rule's services may be shown, in the rules' time zone; what is empty asks for nothing."""

    from_us: int | None = None  # from this moment on, microseconds since 1970
    until_us: int | None = None  # and strictly before this one
    hours: tuple[tuple[int, int], ...] = ()  # minutes of the day, from and strictly before
    weekdays: tuple[int, ...] = ()  # 0 is Monday
    scenarios: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Showings:
    """At most so many showings a user within so many days, of each service or of all together."""

    most: int
    days: int
    together: bool = False


@dataclass(frozen=True)
class Limits:
    """How often a rule's services are shown; what is None has no limit."""

    showings: Showings | None = None
    cooldown_days: Mapping[str, float] = field(default_factory=dict)  # after shown, used or declined
    capacity_per_day: int | None = None  # of each service
    provider_capacity_per_day: int | None = None  # of all these services of one provider
    list_at_most: int | None = None  # of these services in one list


@dataclass(frozen=True)
class Rule:
    """One rule; its services are those that it speaks of."""

    name: str
    line: int
    services: tuple[str, ...]  # ids, sorted
    who: Condition | None = None  # None: everybody
    when: When = field(default_factory=When)
    limits: Limits = field(default_factory=Limits)
    providers: tuple[str, ...] = ()  # in this order: the next one when one can give no more
    must_show: Condition | None = None  # shown whatever it is worth, where this holds
    fallback: tuple[str, ...] = ()  # what to show where none of the services may be
    switchable: bool = False
    enabled: bool = True
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)  # of its parts
    texts: Mapping[str, str] = field(default_factory=dict)  # who and must_show as they were written


@dataclass(frozen=True)
class RuleSet:
    """All rules in the order of the file, of which the first that refuses gives the reason."""

    rules: tuple[Rule, ...] = ()
    timezone: str = "UTC"
    digest: str = ""  # of the file's bytes; "" where there is no file

    @cached_property
    def needs(self) -> "Needs":
        """The facts without which these rules cannot be asked."""
        conditions = [part for rule in self.rules for part in (rule.who, rule.must_show) if part is not None]
        limits = [rule.limits for rule in self.rules]
        return Needs(
            columns=frozenset().union(*map(columns_of, conditions)),
            showings=frozenset(limit.showings.days for limit in limits if limit.showings),
            since=frozenset(kind for limit in limits for kind in limit.cooldown_days),
            timezone=self.timezone,
        )


@dataclass(frozen=True)
class Needs:
    """Which facts a set of rules asks for."""

    columns: frozenset[str] = frozenset()
    showings: frozenset[int] = frozenset()  # windows, days
    since: frozenset[str] = frozenset()  # shown, used, declined
    timezone: str = "UTC"


def nearest(name: str, known: "Mapping[str, object] | tuple[str, ...]") -> str:
    """What may have been meant, as the end of a sentence.

    >>> nearest("luonge", ("gift", "lounge"))
    'did you mean `lounge`?'
    """
    close = get_close_matches(name, list(known), n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known are {', '.join(f'`{one}`' for one in list(known)[:12]) or 'none'}."
