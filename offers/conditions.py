"""Conditions on what is known of users: a small tree, its truth for many users at once, and why it fails.

A column is an array of numbers; a text, such as a tier, is the position of its name among the known ones.
Logic has three values (Kleene 1938): what is said of a missing value is neither true nor false, and a
condition that comes out neither way does not hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Truth = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # where true, where not known
Values = Mapping[str, Floats]

_COMPARE: Mapping[str, Any] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_NEEDS = {
    "==": "",
    "!=": "other than ",
    "<": "less than ",
    "<=": "at most ",
    ">": "more than ",
    ">=": "at least ",
}
_ARITHMETIC: Mapping[str, Any] = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}


@dataclass(frozen=True)
class Column:
    """A column of numbers by its name in the profile."""

    name: str


@dataclass(frozen=True)
class Arithmetic:
    """Two terms added, subtracted, multiplied or divided; division by 0 is not known."""

    sign: str
    left: "Term"
    right: "Term"


Term = Column | float | Arithmetic


@dataclass(frozen=True)
class Compare:
    """A comparison of two numbers."""

    left: Term
    sign: str
    right: Term


@dataclass(frozen=True)
class Among:
    """The text of a column is one of some names, or, negated, none of them."""

    column: str
    codes: tuple[int, ...]
    levels: tuple[str, ...]  # every name that the column knows; codes are positions in it
    negated: bool = False


@dataclass(frozen=True)
class Missing:
    """Nothing is known of the column; negated, something is."""

    column: str
    negated: bool = False


@dataclass(frozen=True)
class Always:
    """True for everybody, or for nobody."""

    holds: bool


@dataclass(frozen=True)
class All:
    parts: tuple["Condition", ...]


@dataclass(frozen=True)
class Either:
    parts: tuple["Condition", ...]


Condition = Compare | Among | Missing | Always | All | Either


def negate(condition: Condition) -> Condition:
    """What holds where the condition does not; of missing values neither holds.

    >>> negate(All((Compare(Column("age"), "<", 18.0), Always(True))))
    Either(parts=(Compare(left=Column(name='age'), sign='>=', right=18.0), Always(holds=False)))
    """
    match condition:
        case Compare(left, sign, right):
            return Compare(left, _OPPOSITE[sign], right)
        case Among(column, codes, levels, negated):
            return Among(column, codes, levels, not negated)
        case Missing(column, negated):
            return Missing(column, not negated)
        case Always(holds):
            return Always(not holds)
        case All(parts):
            return Either(tuple(negate(part) for part in parts))
        case Either(parts):
            return All(tuple(negate(part) for part in parts))


def columns_of(condition: Condition) -> frozenset[str]:
    """Names of all columns that the condition asks for."""
    match condition:
        case Compare(left, _, right):
            return frozenset([*_columns_of_term(left), *_columns_of_term(right)])
        case Among(column) | Missing(column):
            return frozenset([column])
        case All(parts) | Either(parts):
            return frozenset().union(*(columns_of(part) for part in parts))
        case _:
            return frozenset()


def _columns_of_term(term: Term) -> Iterator[str]:
    if isinstance(term, Column):
        yield term.name
    elif isinstance(term, Arithmetic):
        yield from _columns_of_term(term.left)
        yield from _columns_of_term(term.right)


def holds(condition: Condition, values: Values, n_users: int) -> NDArray[np.bool_]:
    """Where the condition is true, shape (n_users,).

    >>> holds(Compare(Column("age"), ">=", 18.0), {"age": np.array([17.0, 18.0, np.nan])}, 3).tolist()
    [False, True, False]
    """
    return truth(condition, values, n_users)[0]


def truth(condition: Condition, values: Values, n_users: int) -> Truth:
    """Where the condition is true, and where it is not known."""
    match condition:
        case Compare(left, sign, right):
            one, other = _number(left, values), _number(right, values)
            unknown = np.isnan(one) | np.isnan(other)
            return _full(_COMPARE[sign](one, other) & ~unknown, n_users), _full(unknown, n_users)
        case Among(column, codes, _, negated):
            value = values[column]
            unknown = np.isnan(value)
            found = np.zeros(len(value), dtype=bool)
            for code in codes:
                found |= value == code
            return (~found if negated else found) & ~unknown, unknown
        case Missing(column, negated):
            missing = np.isnan(values[column])
            return (~missing if negated else missing), np.zeros(n_users, dtype=bool)
        case Always(always):
            return np.full(n_users, always), np.zeros(n_users, dtype=bool)
        case All(()):
            return truth(Always(True), values, n_users)
        case All(parts):
            return _all([truth(part, values, n_users) for part in parts])
        case Either(parts):
            true, unknown = _all([_false(*truth(part, values, n_users)) for part in parts])
            return _false(true, unknown)


def _all(parts: Sequence[Truth]) -> Truth:
    true, possible = parts[0][0].copy(), parts[0][0] | parts[0][1]
    for part_true, part_unknown in parts[1:]:
        true &= part_true
        possible &= part_true | part_unknown
    return true, possible & ~true


def _false(true: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> Truth:
    return ~true & ~unknown, unknown


def _full(array: Any, n_users: int) -> NDArray[np.bool_]:
    return np.broadcast_to(np.asarray(array, dtype=bool), n_users)


def _number(term: Term, values: Values) -> Any:
    if isinstance(term, Column):
        return values[term.name]
    if isinstance(term, Arithmetic):
        with np.errstate(all="ignore"):
            found = _ARITHMETIC[term.sign](_number(term.left, values), _number(term.right, values))
        return np.where(np.isfinite(found), found, np.nan)
    return np.float64(term)


def why_not(condition: Condition, values: Values, user: int) -> str:
    """Why the condition does not hold for the user in this row, in words; "" where it does.

    >>> tier = Among("tier", (1,), ("basic", "gold"))
    >>> why_not(tier, {"tier": np.array([0.0])}, 0)
    'tier is basic, needs gold'
    """
    row = {name: values[name][user : user + 1] for name in columns_of(condition)}
    return "" if holds(condition, row, 1)[0] else _why_not(condition, row)


def _why_not(condition: Condition, row: Values) -> str:
    match condition:
        case All(parts):
            return next(_why_not(part, row) for part in parts if not holds(part, row, 1)[0])
        case Either(parts):
            return ", and ".join(_why_not(part, row) for part in parts)
        case Missing(column, negated):
            return f"{shown(column)} is {'not known' if negated else 'known, needs to be unknown'}"
        case Always():
            return "it is for nobody"
    for column in sorted(columns_of(condition)):
        if np.isnan(row[column][0]):
            return f"{shown(column)} is not known"
    if isinstance(condition, Among):
        level = condition.levels[int(row[condition.column][0])]
        return f"{shown(condition.column)} is {level}, needs {_names(condition)}"
    value = np.ravel(_number(condition.left, row))[0]
    is_text = "not known" if np.isnan(value) else f"{value:.7g}"
    return (
        f"{in_words(condition.left)} is {is_text}, needs {_NEEDS[condition.sign]}{in_words(condition.right)}"
    )


def _names(condition: Among) -> str:
    names = [condition.levels[code] for code in condition.codes]
    return f"{'other than ' if condition.negated else ''}{' or '.join(names) or 'none'}"


def in_words(term: Term) -> str:
    """A term as it is written in a rule."""
    if isinstance(term, Column):
        return shown(term.name)
    if isinstance(term, Arithmetic):
        return f"({in_words(term.left)} {term.sign} {in_words(term.right)})"
    return f"{term:.7g}"


def shown(column: str) -> str:
    """A column's name as it is written in a condition.

    >>> shown("attribute/city"), shown("uses_90d/car-wash"), shown("tier")
    ('city', 'uses_90d["car-wash"]', 'tier')
    """
    family, _, part = column.partition("/")
    if not part:
        return column
    return part if family == "attribute" and part.isidentifier() else f'{family}["{part}"]'
