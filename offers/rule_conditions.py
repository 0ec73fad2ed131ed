"""Texts such as ``tier in ["gold", "platinum"] and frequency_90d >= 2`` made into conditions.

The one module that knows the expression library: it reads the grammar and nothing else of it is used.
Of what it read a few forms are taken, each by name, and all others refused, so that no expression can
call, loop, reach into an object, match a pattern or fold a power of huge numbers.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import rule_engine
from rule_engine import ast

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
    negate,
    shown,
)
from offers.rules import Vocabulary, nearest

MAX_LENGTH = 1000  # characters
MAX_DEPTH = 20  # of brackets
MAX_TOKENS = 300
LARGEST = 1e15  # beyond it float32 profiles and their sums mean nothing

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"[^"\\\n]*"|'[^'\\\n]*')|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)(?![\w.])"""
    r"""|(?P<name>[A-Za-z_]\w*)|(?P<sign>==|!=|<=|>=|[<>+\-*/()\[\],]))"""
)
_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_SUMS = {"add": "+", "sub": "-", "mul": "*", "tdiv": "/"}
_FORMS = "comparisons (==, !=, <, <=, >, >=), `in [...]`, `not`, `and`, `or`, brackets and + - * /"


class ConditionError(ValueError):
    """A text that is no condition; the message says what to write."""


def parse_condition(text: str, vocabulary: Vocabulary) -> Condition:
    """The condition that a text stands for.

    Columns are called as in the profile; ``uses_90d["car-wash"]`` is the column of one service, and an
    attribute goes by its own name. Tiers compare by their rank.

    Raises
    ------
    ConditionError
        For what is not understood, not known, of the wrong type, or too big.

    Examples
    --------
    >>> from offers.catalog import Catalog
    >>> from offers.rules import ColumnKind
    >>> words = Vocabulary(Catalog.of([]), {"tier": ColumnKind(("basic", "gold")), "age": ColumnKind()})
    >>> parse_condition('tier >= "gold"', words)
    Among(column='tier', codes=(1,), levels=('basic', 'gold'), negated=False)
    """
    _check_tokens(text)
    try:
        statement: Any = rule_engine.Rule(text).statement
    except rule_engine.errors.EngineError as error:
        raise ConditionError(f"`{text}` is not understood ({error.message}). {_write()}") from None
    except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
        raise ConditionError(f"`{text}` is not understood ({type(error).__name__}). {_write()}") from None
    return _Reader(vocabulary).condition(statement.expression)


def _write() -> str:
    return f'Write {_FORMS}, such as: tier in ["gold"] and frequency_90d >= 2.'


def _check_tokens(text: str) -> None:
    """Refuse, in one pass and before the library sees them, texts that are long, deep or of other forms."""
    if len(text) > MAX_LENGTH:
        raise ConditionError(
            f"a condition must have at most {MAX_LENGTH} characters, got {len(text)}: make it two rules."
        )
    place = n_tokens = depth = 0
    before = ""
    end = len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            rest = text[place:].lstrip()
            raise ConditionError(f"`{rest[:20]}` is not understood in `{text}`. {_write()}")
        sign = found["sign"] or ""
        if sign in ("*", "/") and sign == before:  # a power, which the library would work out at once
            raise ConditionError(f"`{sign}{sign}` is not understood in `{text}`. {_write()}")
        before = sign
        if found["number"] and not abs(float(found["number"])) <= LARGEST:
            raise ConditionError(f"numbers must be at most {LARGEST:g}, got {found['number']} in `{text}`.")
        depth += sign in ("(", "[")
        depth -= sign in (")", "]")
        n_tokens += 1
        if depth > MAX_DEPTH or n_tokens > MAX_TOKENS:
            raise ConditionError(
                f"a condition must have at most {MAX_TOKENS} words and {MAX_DEPTH} brackets "
                "within each other: make it two rules."
            )
        place = found.end()
    if not end:
        raise ConditionError(f"a condition must not be empty. {_write()}")


class _Reader:
    """Walks what the library read; whatever is not named here is refused."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.columns = vocabulary.columns

    def condition(self, node: Any) -> Condition:
        read: Callable[[Any], Condition] | None = {
            ast.LogicExpression: self._logic,
            ast.UnaryExpression: self._not,
            ast.ComparisonExpression: self._compare,
            ast.ArithmeticComparisonExpression: self._compare,
            ast.ContainsExpression: self._contains,
            ast.BooleanExpression: lambda node: Always(bool(node.value)),
            ast.SymbolExpression: self._truth,
            ast.GetItemExpression: self._truth,
        }.get(type(node))
        if read is None:
            raise ConditionError(f"a condition must be true or false, got {_name(node)}. {_write()}")
        return read(node)

    def _logic(self, node: Any) -> Condition:
        parts = tuple(self.condition(part) for part in (node.left, node.right))
        make: Any = All if node.type == "and" else Either
        flat = [part.parts if isinstance(part, make) else (part,) for part in parts]
        return make(tuple(part for group in flat for part in group))

    def _not(self, node: Any) -> Condition:
        if node.type != "not":
            raise ConditionError(f"a condition must be true or false, got a number. {_write()}")
        return negate(self.condition(node.right))

    def _truth(self, node: Any) -> Condition:
        name = self._column(node)
        if self.columns[name].levels is not None:
            raise ConditionError(f'`{shown(name)}` is a text: compare it, as in {shown(name)} == "...".')
        return Compare(Column(name), "!=", 0.0)

    def _compare(self, node: Any) -> Condition:
        sign, left, right = _SIGNS[node.type], node.left, node.right
        if not isinstance(left, (ast.SymbolExpression, ast.GetItemExpression)) and isinstance(
            right, (ast.SymbolExpression, ast.GetItemExpression)
        ):
            sign, left, right = _MIRROR[sign], right, left
        if isinstance(right, ast.NullExpression):
            if sign not in ("==", "!="):
                raise ConditionError("null can only be compared by == and !=.")
            return Missing(self._column(left), negated=sign == "!=")
        if isinstance(right, ast.StringExpression):
            return self._text(self._column(left), sign, right.value)
        return Compare(self._term(left), sign, self._term(right))

    def _text(self, name: str, sign: str, text: str) -> Condition:
        levels = self._levels(name, text)
        code = self._code(name, levels, text)
        if sign in ("==", "!="):
            return Among(name, (code,), levels, negated=sign == "!=")
        if name != "tier":
            raise ConditionError(f"`{shown(name)}` is a text: only tiers have an order, use == or in.")
        holds = {"<": range(code), "<=": range(code + 1), ">": range(code + 1, len(levels))}
        return Among(name, tuple(holds.get(sign, range(code, len(levels)))), levels)

    def _contains(self, node: Any) -> Condition:
        name = self._column(node.member)
        if not isinstance(node.container, ast.ArrayExpression):
            raise ConditionError(f'`in` must be followed by a list, as in {shown(name)} in ["a", "b"].')
        values = list(node.container.value)
        if self.columns[name].levels is None:
            options = tuple(Compare(Column(name), "==", self._term(value)) for value in values)
            return Either(options) if options else Always(False)
        texts = [value.value if isinstance(value, ast.StringExpression) else value for value in values]
        codes = {self._code(name, self._levels(name, text), text) for text in texts}
        return Among(name, tuple(sorted(codes)), self.columns[name].levels or ())

    def _levels(self, name: str, text: object) -> tuple[str, ...]:
        levels = self.columns[name].levels
        if levels is None:
            raise ConditionError(
                f"`{shown(name)}` is a number, compared with the text {text!r}: leave the quotes away."
            )
        if not isinstance(text, str):
            raise ConditionError(f"`{shown(name)}` is a text, compared with a number: put it in quotes.")
        return levels

    def _code(self, name: str, levels: tuple[str, ...], text: str) -> int:
        if text not in levels:
            raise ConditionError(f"`{shown(name)}` is never {text!r}; {nearest(text, levels)}")
        return levels.index(text)

    def _term(self, node: Any) -> Term:
        if isinstance(node, ast.FloatExpression):
            return _as_profiles_hold(float(node.value))
        if isinstance(node, ast.BooleanExpression):
            return float(node.value)
        is_sum = isinstance(node, (ast.AddExpression, ast.SubtractExpression, ast.ArithmeticExpression))
        if is_sum and node.type in _SUMS:
            return Arithmetic(_SUMS[node.type], self._term(node.left), self._term(node.right))
        if isinstance(node, ast.UnaryExpression) and node.type == "uminus":
            return Arithmetic("-", 0.0, self._term(node.right))
        name = self._column(node)
        if self.columns[name].levels is not None:
            raise ConditionError(f"`{shown(name)}` is a text, compared with a number: put it in quotes.")
        return Column(name)

    def _column(self, node: Any) -> str:
        if isinstance(node, ast.SymbolExpression) and node.scope is None:
            return self._known(node.name)
        if isinstance(node, ast.GetItemExpression) and not node.safe:
            family, part = node.container, node.item
            if isinstance(family, ast.SymbolExpression) and isinstance(part, ast.StringExpression):
                return self._known(f"{family.name}/{part.value}")
        raise ConditionError(f"one side of a comparison must be a column, got {_name(node)}. {_write()}")

    def _known(self, name: str) -> str:
        for known in (name, f"attribute/{name}"):
            if known in self.columns:
                return known
        spoken = {shown(column): column for column in self.columns}
        raise ConditionError(f"there is no column `{shown(name)}`; {nearest(shown(name), spoken)}")


def _as_profiles_hold(number: float) -> float:
    """The number as a float32, as profiles hold theirs: else a profile's 0.1 would be more than 0.1."""
    return float(np.float32(number))


def _name(node: Any) -> str:
    kinds = {ast.FloatExpression: "a number", ast.StringExpression: "a text", ast.ArrayExpression: "a list"}
    return kinds.get(type(node), f"a {type(node).__name__.removesuffix('Expression')}")
