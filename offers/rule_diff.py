"""What differs between two sets of rules, in words."""

from collections.abc import Iterator
from dataclasses import fields

from offers.rules import Limits, Rule, RuleSet, When

_PARTS = ("services", "who", "when", "limits", "providers", "must_show", "fallback", "switchable", "enabled")


def changes(old: RuleSet, new: RuleSet) -> list[str]:
    """A sentence for each rule that is new, gone or changed, and for each part that changed in it.

    >>> changes(RuleSet(), RuleSet((Rule("gift", 1, ("gift",), must_show=None),)))
    ['New rule `gift` for gift.']
    """
    before, after = ({rule.name: rule for rule in rules.rules} for rules in (old, new))
    told = [] if old.timezone == new.timezone else [f"The time zone was {old.timezone}, is {new.timezone}."]
    told += [f"Rule `{name}` is gone." for name in before if name not in after]
    told += [
        f"New rule `{name}` for {', '.join(rule.services)}."
        for name, rule in after.items()
        if name not in before
    ]
    for name, rule in after.items():
        if name in before:
            told += [f"Rule `{name}`: {change}." for change in _changed(before[name], rule)]
    order = [
        [rule.name for rule in rules.rules if rule.name in before and rule.name in after]
        for rules in (old, new)
    ]
    if order[0] != order[1]:
        told.append("The order of the rules changed, and with it the reason of some refusals.")
    return told


def _changed(old: Rule, new: Rule) -> Iterator[str]:
    for part in _PARTS:
        one, other = getattr(old, part), getattr(new, part)
        if one != other:
            if part == "services":
                yield from _services(old, new)
            elif isinstance(one, (When, Limits)):
                yield from _fields(part, one, other)
            elif part in ("who", "must_show"):
                yield f"{part} was {_said(old.texts.get(part))}, is {_said(new.texts.get(part))}"
            else:
                yield f"{part} was {_said(one)}, is {_said(other)}"


def _services(old: Rule, new: Rule) -> Iterator[str]:
    gone, come = set(old.services) - set(new.services), set(new.services) - set(old.services)
    if gone:
        yield f"it does not speak of {', '.join(sorted(gone))} any more"
    if come:
        yield f"it speaks of {', '.join(sorted(come))} too"


def _fields(part: str, old: When | Limits, new: When | Limits) -> Iterator[str]:
    for field in fields(old):
        one, other = getattr(old, field.name), getattr(new, field.name)
        if one != other:
            yield f"{part}.{field.name} was {_said(one)}, is {_said(other)}"


def _said(value: object) -> str:
    return "not set" if value in (None, "", (), {}) else f"`{value}`"
