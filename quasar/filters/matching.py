"""Filters as functions, for what is not in the database: feeds, plug-in processes, events as they happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from quasar.filters.fields import COMPARE, Field, asks_for_unknown, field_of, pattern_of, value_of, words_of
from quasar.filters.syntax import All, AnyOf, Comparison, Expression, Not, parse

Row: TypeAlias = Mapping[str, Any]
"""The values by field: `str`, `int`, `float`, aware `datetime`, the word of an enum, a list of `str`, or None."""
Predicate: TypeAlias = Callable[[Row], bool]


def predicate(text: str, fields: Mapping[str, Field]) -> Predicate:
    """Turn a filter into a function that tells whether a row passes; it means what the SQL of `condition` means.

    Args:
        text: The filter; every row passes an empty one.
        fields: What may be named, by name; their SQL is not used.

    Raises:
        quasar.errors.InvalidFilter: As `condition`.
    """
    tree = parse(text)
    return (lambda _row: True) if tree is None else _predicate(tree, fields)


def _predicate(tree: Expression, fields: Mapping[str, Field]) -> Predicate:
    match tree:
        case All(parts):
            every = [_predicate(part, fields) for part in parts]
            return lambda row: all(passes(row) for passes in every)
        case AnyOf(parts):
            some = [_predicate(part, fields) for part in parts]
            return lambda row: any(passes(row) for passes in some)
        case Not(part):
            inner = _predicate(part, fields)
            return lambda row: not inner(row)
        case Comparison():
            return _comparison(tree, field_of(tree, fields))


def _comparison(comparison: Comparison, field: Field) -> Predicate:
    """What is unknown (None) differs from every value and passes no other comparison, as in the SQL."""
    name, negated = comparison.field, comparison.operator == "!="
    pattern = pattern_of(comparison, field)
    if pattern is not None:
        if field.type == "list":
            return lambda row: any(pattern.matches(one) for one in row[name] or ())
        return lambda row: (row[name] is not None and pattern.matches(row[name])) is not negated
    if field.type == "list":
        word = words_of(comparison, field)[0]
        return lambda row: (word in (row[name] or ())) is not negated
    if field.type == "enum":
        words = frozenset(words_of(comparison, field))
        return lambda row: row[name] in words
    if asks_for_unknown(comparison, field):
        return lambda row: (row[name] is None) is not negated
    value, compare = value_of(comparison, field), COMPARE[comparison.operator]
    return lambda row: negated if row[name] is None else compare(row[name], value)
