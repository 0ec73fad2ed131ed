"""Can a condition hold for anybody? By sets and intervals where they decide it, else by a search."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

import numpy as np
from numpy.typing import NDArray

from offers.conditions import (
    All,
    Always,
    Among,
    Arithmetic,
    Column,
    Compare,
    Condition,
    Either,
    Missing,
    Term,
    columns_of,
    holds,
    shown,
)
from offers.rules import ColumnKind

_MOST_CASES = 2_000  # of `or`, told apart; beyond it only the search speaks
_N_EXAMPLES = 4_096
Example = Mapping[str, float]  # of each column a value; NaN: unknown


def find_example(condition: Condition, columns: Mapping[str, ColumnKind]) -> Example | None:
    """A profile that the condition holds for; None where there is none, as far as can be told.

    Comparisons of a column with a number or with names are decided. Where columns are compared with each
    other, None means that none of some thousand profiles around the numbers of the condition fits.
    """
    cases = list(_cases(condition))
    if len(cases) <= _MOST_CASES:
        searched: list[Condition] = []
        for case in cases:
            ranges = _ranges(case, columns)
            if ranges is None:
                continue
            rest = [atom for atom in case if _is_joint(atom)]
            example = {name: value.example() for name, value in ranges.items()}
            if not rest:
                return example
            searched.append(All(tuple(case)))
        return next((found for one in searched if (found := _search(one, columns))), None)
    return _search(condition, columns)


def in_words(example: Example, columns: Mapping[str, ColumnKind]) -> str:
    """A profile as a reader would write it.

    >>> in_words({"tier": 1.0, "age": 30.0}, {"tier": ColumnKind(("basic", "gold")), "age": ColumnKind()})
    'age 30, tier gold'
    """
    told = []
    for name, value in sorted(example.items()):
        levels = columns[name].levels
        if np.isnan(value):
            told.append(f"{shown(name)} unknown")
        else:
            told.append(f"{shown(name)} {levels[int(value)] if levels else f'{value:g}'}")
    return ", ".join(told) or "anybody"


@dataclass(frozen=True)
class _Range:
    """What one column may still be."""

    low: float = -np.inf
    high: float = np.inf
    is_low_in: bool = True
    is_high_in: bool = True
    without: frozenset[float] = frozenset()
    codes: frozenset[int] | None = None  # of a text
    may_be_missing: bool = True
    may_be_known: bool = True

    def narrowed(self, sign: str, number: float) -> "_Range":
        known = replace(self, may_be_missing=False)
        match sign:
            case "<" | "<=":
                if number < self.high or (number == self.high and sign == "<"):
                    return replace(known, high=number, is_high_in=sign == "<=")
            case ">" | ">=":
                if number > self.low or (number == self.low and sign == ">"):
                    return replace(known, low=number, is_low_in=sign == ">=")
            case "!=":
                return replace(known, without=self.without | {number})
            case "==":
                return known.narrowed("<=", number).narrowed(">=", number)
        return known

    def is_empty(self) -> bool:
        if self.may_be_missing:
            return False
        if not self.may_be_known:
            return True
        if self.codes is not None:
            return not self.codes
        if self.low < self.high:
            return False
        is_point = self.low == self.high and self.is_low_in and self.is_high_in
        return not is_point or self.low in self.without

    def example(self) -> float:
        if not self.may_be_known or self.is_empty():
            return np.nan
        if self.codes is not None:
            return float(min(self.codes)) if self.codes else np.nan
        for value in self._candidates():
            is_above = value > self.low or (value == self.low and self.is_low_in)
            is_below = value < self.high or (value == self.high and self.is_high_in)
            if is_above and is_below and value not in self.without and np.isfinite(value):
                return value
        return np.nan

    def _candidates(self) -> Iterator[float]:
        low, high = self.low, self.high
        yield from (low, high, 0.0)
        for step in range(1, 50):
            yield (low if np.isfinite(low) else min(high, 0.0) - 100 if np.isfinite(high) else 0.0) + step
        if np.isfinite(low) and np.isfinite(high):
            yield from np.linspace(low, high, 401)[1:-1].tolist()


def _cases(condition: Condition) -> Iterator[tuple[Condition, ...]]:
    """The condition as cases, each a set of comparisons that must hold together; at most one too many."""
    return islice(_expanded(condition), _MOST_CASES + 1)


def _expanded(condition: Condition) -> Iterator[tuple[Condition, ...]]:
    if isinstance(condition, Either):
        for part in condition.parts:
            yield from _expanded(part)
    elif isinstance(condition, All):
        yield from _together(condition.parts)
    else:
        yield (condition,)


def _together(parts: Sequence[Condition]) -> Iterator[tuple[Condition, ...]]:
    if not parts:
        yield ()
        return
    for first in _expanded(parts[0]):
        for rest in _together(parts[1:]):
            yield (*first, *rest)


def _ranges(case: Sequence[Condition], columns: Mapping[str, ColumnKind]) -> dict[str, _Range] | None:
    """What each column of a case may be; None where one can be nothing."""
    ranges: dict[str, _Range] = {}
    for atom in case:
        if isinstance(atom, Always):
            if not atom.holds:
                return None
            continue
        for name in columns_of(atom):
            ranges.setdefault(name, _whole(columns[name]))
        if isinstance(atom, Compare) and not _is_joint(atom):
            name = atom.left.name if isinstance(atom.left, Column) else ""
            number = atom.right if isinstance(atom.right, float) else 0.0
            ranges[name] = ranges[name].narrowed(atom.sign, number)
        elif isinstance(atom, Compare):
            for name in columns_of(atom):
                ranges[name] = replace(ranges[name], may_be_missing=False)
        elif isinstance(atom, Among):
            codes = frozenset(range(len(atom.levels)))
            mine = codes - set(atom.codes) if atom.negated else codes & set(atom.codes)
            before = ranges[atom.column].codes
            left = mine if before is None else mine & before
            ranges[atom.column] = replace(ranges[atom.column], codes=left, may_be_missing=False)
        elif isinstance(atom, Missing):
            before_it = ranges[atom.column]
            ranges[atom.column] = (
                replace(before_it, may_be_missing=False)
                if atom.negated
                else replace(before_it, may_be_known=False)
            )
        if any(one.is_empty() for one in ranges.values()):
            return None
    return ranges


def _whole(kind: ColumnKind) -> _Range:
    codes = None if kind.levels is None else frozenset(range(len(kind.levels)))
    return _Range(low=-np.inf if kind.lowest is None else kind.lowest, codes=codes)


def _is_joint(atom: Condition) -> bool:
    """Does a comparison ask for more than one column against a number?"""
    if not isinstance(atom, Compare):
        return False
    return not (isinstance(atom.left, Column) and isinstance(atom.right, float))


def _search(condition: Condition, columns: Mapping[str, ColumnKind]) -> Example | None:
    """The first of some thousand profiles, around the numbers of the condition, that it holds for."""
    names = sorted(columns_of(condition))
    numbers = sorted({*_numbers_of(condition), 0.0})
    around = sorted(
        {value + step for value in numbers for step in (-1.0, 0.0, 1.0)} | {2 * v for v in numbers}
    )
    options = [_options(columns[name], around) for name in names]
    if np.prod([float(len(one)) for one in options]) <= _N_EXAMPLES:
        rows = np.array(list(product(*options)))
    else:
        rng = np.random.default_rng(0)  # the same search each time
        wide = [
            np.concatenate([one, one * 10, one / 10]) if columns[name].levels is None else one
            for name, one in zip(names, options)
        ]
        rows = np.column_stack([rng.choice(one, _N_EXAMPLES) for one in wide])
    values = {name: rows[:, place] for place, name in enumerate(names)}
    found = np.flatnonzero(holds(condition, values, len(rows)))
    return {name: float(values[name][found[0]]) for name in names} if len(found) else None


def _options(kind: ColumnKind, around: Sequence[float]) -> NDArray[np.float64]:
    if kind.levels is not None:
        return np.array([*range(len(kind.levels)), np.nan], dtype=np.float64)
    inside = [value for value in around if kind.lowest is None or value >= kind.lowest]
    return np.array([*inside, np.nan])


def _numbers_of(condition: Condition) -> Iterator[float]:
    if isinstance(condition, (All, Either)):
        for part in condition.parts:
            yield from _numbers_of(part)
    elif isinstance(condition, Compare):
        yield from _numbers_of_term(condition.left)
        yield from _numbers_of_term(condition.right)


def _numbers_of_term(term: Term) -> Iterator[float]:
    if isinstance(term, float):
        yield term
    elif isinstance(term, Arithmetic):
        yield from _numbers_of_term(term.left)
        yield from _numbers_of_term(term.right)
