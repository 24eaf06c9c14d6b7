"""The grammar of filters: a text becomes a tree that knows nothing of fields; each part knows its column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from quasar.errors import FieldViolation, InvalidFilter

MAX_COMPARISONS: Final = 50
MAX_DEPTH: Final = 32
OPERATORS: Final = ("=", "!=", "<", "<=", ">", ">=", ":")

_SPACE: Final = re.compile(r"\s*")
_OPERATOR: Final = re.compile(r"<=|>=|!=|[=<>:]")
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_FIELD: Final = re.compile(r'[^\s"()=<>!:]+')
_VALUE: Final = re.compile(r'[^\s"()=<>!]+')


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field, an operator and a value."""

    field: str
    operator: str
    value: str
    """Without quotes and escapes."""
    field_at: int
    """Column of the field in the text, from 1."""
    value_at: int
    """Column of the value, from 1."""


@dataclass(frozen=True, slots=True)
class Not:
    """What passes when its part does not."""

    part: Expression


@dataclass(frozen=True, slots=True)
class All:
    """What passes when every part does (AND)."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """What passes when one part does (OR)."""

    parts: tuple[Expression, ...]


Expression: TypeAlias = "Comparison | Not | All | AnyOf"


def problem(description: str) -> InvalidFilter:
    """Return the error of a filter that cannot be understood."""
    return InvalidFilter(f"filter: {description}.", violations=[FieldViolation("filter", description)])


def parse(text: str) -> Expression | None:
    """Read a filter.

    Returns:
        The tree; None for an empty filter, which everything passes.

    Raises:
        quasar.errors.InvalidFilter: The text breaks the grammar; the message tells the column.
    """
    if not text.strip():
        return None
    if "\x00" in text:
        raise problem(f"must not contain the character NUL, was at column {text.index(chr(0)) + 1}")
    parser = _Parser(text)
    tree = parser.expression()
    parser.end()
    return tree


class _Parser:
    """Recursive descent over the characters: what a word may contain depends on where it stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._comparisons = 0

    def expression(self) -> Expression:
        parts = [self._term()]
        while self._keyword("AND"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def end(self) -> None:
        self._skip()
        if self._at < len(self._text):
            raise problem(f"must end or go on with AND or OR at column {self._at + 1}, was {self._rest()}")

    def _term(self) -> Expression:
        parts = [self._factor()]
        while self._keyword("OR"):
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _factor(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise problem(f"must be nested at most {MAX_DEPTH} deep, was deeper at column {self._at + 1}")
        try:
            if self._keyword("NOT") or self._character("-"):
                return Not(self._factor())
            if not self._character("("):
                return self._comparison()
            opened = self._at
            inner = self.expression()
            if not self._character(")"):
                raise problem(f"must have a ')' for the '(' at column {opened}")
            return inner
        finally:
            self._depth -= 1

    def _comparison(self) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise problem(f"must have at most {MAX_COMPARISONS} comparisons, was more")
        field_at = self._skip()
        field = self._take(_FIELD, "a field")
        self._skip()
        operator = self._take(_OPERATOR, f"one of {' '.join(OPERATORS)} after {field}")
        value_at = self._skip()
        if quoted := _STRING.match(self._text, self._at):
            self._at = quoted.end()
            value = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
        elif self._text.startswith('"', self._at):
            raise problem(f"must have a closing quote for the one at column {value_at + 1}")
        else:
            value = self._take(_VALUE, f"a value after {field} {operator}")
        return Comparison(field, operator, value, field_at + 1, value_at + 1)

    def _take(self, pattern: re.Pattern[str], what: str) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise problem(f"must have {what} at column {self._at + 1}, was {self._rest()}")
        self._at = found.end()
        return found[0]

    def _keyword(self, word: str) -> bool:
        at = self._skip()
        found = _FIELD.match(self._text, at)
        if found is None or found[0] != word or _OPERATOR.match(self._text, self._after_space(found.end())):
            return False  # a field may have the name of a keyword
        self._at = found.end()
        return True

    def _character(self, character: str) -> bool:
        at = self._skip()
        if not self._text.startswith(character, at):
            return False
        self._at = at + 1
        return True

    def _skip(self) -> int:
        self._at = self._after_space(self._at)
        return self._at

    def _after_space(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        return found.end() if found else at

    def _rest(self) -> str:
        rest = self._text[self._at : self._at + 20]
        return repr(rest) if rest else "the end"
