"""Filters as SQL: one condition with a parameter for each value, so that no filter can reach the statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quasar.filters.fields import Field, asks_for_unknown, field_of, pattern_of, value_of, words_of
from quasar.filters.syntax import All, AnyOf, Comparison, Expression, Not, parse

_COMPARED: Final = {"!=": "IS DISTINCT FROM"}
# Without a type a parameter takes that of the column, and a number too large for it would fail in the driver.
_TYPE: Final = {"text": "text", "integer": "bigint", "number": "double precision", "time": "timestamptz"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A part of a WHERE clause and its parameters."""

    sql: str
    parameters: tuple[object, ...]


def condition(text: str, fields: Mapping[str, Field], *, first_parameter: int = 1) -> Condition:
    """Turn a filter into SQL.

    Args:
        text: The filter; empty means no condition.
        fields: What may be named, by name.
        first_parameter: Number of the first `$n` that is free.

    Returns:
        A condition that can stand after `WHERE` or `AND`.

    Raises:
        quasar.errors.InvalidFilter: The text breaks the grammar, names an unknown field, or has a value of the wrong
            type; the message tells the column and what is allowed.
    """
    tree = parse(text)
    if tree is None:
        return Condition("true", ())
    writer = _Writer(fields, first_parameter)
    return Condition(writer.write(tree), tuple(writer.parameters))


class _Writer:
    def __init__(self, fields: Mapping[str, Field], first_parameter: int) -> None:
        self.parameters: list[object] = []
        self._fields = fields
        self._first = first_parameter

    def write(self, tree: Expression) -> str:
        match tree:
            case All(parts):
                return f"({' AND '.join(map(self.write, parts))})"
            case AnyOf(parts):
                return f"({' OR '.join(map(self.write, parts))})"
            case Not(part):
                return f"(({self.write(part)}) IS NOT TRUE)"
            case Comparison():
                return self._comparison(tree, field_of(tree, self._fields))

    def _comparison(self, comparison: Comparison, field: Field) -> str:
        pattern = pattern_of(comparison, field)
        if pattern is not None:
            like = f"{'ILIKE' if pattern.any_case else 'LIKE'} {self._parameter(pattern.sql(), 'text')}"
            if field.type == "list":
                return f"EXISTS (SELECT FROM unnest({field.sql}) item WHERE item {like})"
            found = f"{field.sql} {like}"
            return f"(({found}) IS NOT TRUE)" if comparison.operator == "!=" else found
        if field.type in ("enum", "list"):
            return self._words(comparison, field)
        if asks_for_unknown(comparison, field):
            return f"{field.sql} IS {'NOT ' if comparison.operator == '!=' else ''}NULL"
        compared = _COMPARED.get(comparison.operator, comparison.operator)
        return f"{field.sql} {compared} {self._parameter(value_of(comparison, field), _TYPE[field.type])}"

    def _words(self, comparison: Comparison, field: Field) -> str:
        words = words_of(comparison, field)
        if field.type == "enum":
            return f"{field.sql} = ANY({self._parameter(words, 'text[]')})"
        value = self._parameter(words[0], "text")
        found = field.holds.format(value=value) if field.holds else f"{value} = ANY({field.sql})"
        return f"(({found}) IS NOT TRUE)" if comparison.operator == "!=" else found

    def _parameter(self, value: object, kind: str) -> str:
        self.parameters.append(value)
        return f"${self._first + len(self.parameters) - 1}::{kind}"
