"""What a filter may name, and what its values mean there."""

from __future__ import annotations

import datetime as dt
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from quasar.filters.syntax import Comparison, problem

COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field that a filter may name."""

    sql: str
    """The expression that it stands for; written by us, never by a caller."""
    type: Literal["text", "integer", "number", "time", "enum", "list"] = "text"
    """`list`: the expression is an array of texts, of which one has to pass; it is compared with `=`, `!=` and `:`."""
    values: tuple[str, ...] = ()
    """Enums: the legal words in their order, which is what `<` and `>` go by. The SQL expression holds the word."""
    convert: Callable[[str], str] = str
    """Brings what a caller writes into the form that is stored: lower case where case does not matter, an alias to
    its word."""
    nullable: bool = False
    """Numbers and times: null stands for what is not known, and `= ""` finds it."""
    holds: str = ""
    """Lists: a condition on the rows that hold `{value}`, where that is less work than the array of every row."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with something around it that does not matter."""

    literal: str
    open_start: bool
    open_end: bool
    any_case: bool

    def sql(self) -> str:
        """Return the pattern for LIKE or ILIKE; what means something there is escaped."""
        escaped = re.sub(r"([\\%_])", r"\\\1", self.literal)
        return f"{'%' * self.open_start}{escaped}{'%' * self.open_end}"

    def matches(self, text: str) -> bool:
        """Tell whether a text is as the pattern wants it."""
        literal = self.literal.lower() if self.any_case else self.literal
        text = text.lower() if self.any_case else text
        if self.open_start and self.open_end:
            return literal in text
        if self.open_start:
            return text.endswith(literal)
        return text.startswith(literal) if self.open_end else text == literal


def field_of(comparison: Comparison, fields: Mapping[str, Field]) -> Field:
    """Return the field that a comparison names.

    Raises:
        quasar.errors.InvalidFilter: It is none of `fields`; the message lists them.
    """
    field = fields.get(comparison.field)
    if field is None:
        known = ", ".join(sorted(fields))
        raise problem(f"must name one of {known} at column {comparison.field_at}, was {comparison.field!r}")
    return field


def pattern_of(comparison: Comparison, field: Field) -> Pattern | None:
    """Return the pattern that a comparison looks for, or None when it compares values.

    Raises:
        quasar.errors.InvalidFilter: `:` stands after a field that holds no text.
    """
    value = field.convert(comparison.value)
    if comparison.operator == ":" and field.type in ("text", "list"):
        return Pattern(value, open_start=True, open_end=True, any_case=True)
    if comparison.operator == ":" and field.type != "enum":
        place = f"at column {comparison.field_at}"
        raise problem(f"must not use ':' on {comparison.field} {place}, which is no text; use = or a comparison")
    starred = field.type == "text" and comparison.operator in ("=", "!=") and "*" in (value[:1], value[-1:])
    if not starred:
        return None
    return Pattern(value.strip("*"), value.startswith("*"), value.endswith("*"), any_case=False)


def words_of(comparison: Comparison, field: Field) -> list[str]:
    """Return the words of an enum, or of a list of them, that pass a comparison.

    Raises:
        quasar.errors.InvalidFilter: The value is none of the legal words, or a list is compared by order.
    """
    value = field.convert(comparison.value)
    if field.type == "list" and comparison.operator not in ("=", "!="):
        place = f"at column {comparison.field_at}"
        raise problem(f"{comparison.field} must be compared with =, != or : {place}, was {comparison.operator!r}")
    if field.values and value not in field.values:
        legal, place = ", ".join(field.values), f"at column {comparison.value_at}"
        raise problem(f"{comparison.field} must be one of {legal} {place}, was {value!r}")
    if field.type == "list":
        return [value]
    rank, compare = field.values.index(value), COMPARE[comparison.operator]
    return [word for i, word in enumerate(field.values) if compare(i, rank)]


def value_of(comparison: Comparison, field: Field) -> Any:
    """Return the value of a comparison in the type of its field.

    Raises:
        quasar.errors.InvalidFilter: It is no value of that type.
    """
    value = field.convert(comparison.value)
    if field.type == "text":
        return value
    wanted, read = _TYPES[field.type]
    try:
        found = read(value)
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise problem(f"{comparison.field} must be {wanted} at column {comparison.value_at}, was {value!r}")
    return found


def asks_for_unknown(comparison: Comparison, field: Field) -> bool:
    """Tell whether a comparison is with what is not known: `= ""` or `!= ""` on a field that says so."""
    return field.nullable and not field.convert(comparison.value) and comparison.operator in ("=", "!=")


def _integer(value: str) -> int | None:
    number = int(value)
    return number if -(2**63) <= number < 2**63 else None


def _number(value: str) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _instant(value: str) -> dt.datetime | None:
    instant = dt.datetime.fromisoformat(value)
    return instant.astimezone(dt.UTC) if instant.tzinfo is not None else None


_TYPES: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "integer": ("a whole number", _integer),
    "number": ("a number", _number),
    "time": ("an RFC 3339 time with its zone", _instant),
}
