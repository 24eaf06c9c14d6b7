"""Lists of what is computed at the call, not stored: filtered, ordered and cut into pages like those of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from quasar import paging
from quasar.filters import Field, predicate
from quasar.ordering import OrderField, ordering
from strategy_engine.store.pages import Asked

T = TypeVar("T")
Row = Mapping[str, Any]
"""What an entry is filtered and ordered by, by field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedList:
    """One list that can be asked for."""

    name: str
    fields: Mapping[str, Field]
    """What a filter may name; their SQL is not used."""
    orders: Sequence[str]
    """What it may be ordered by; those of its fields, or further ones of its rows."""
    default: str = ""
    """The ordering without a wish; empty: as the entries come."""

    def page(self, entries: Sequence[tuple[Row, T]], asked: Asked, *bound: object) -> tuple[list[T], str]:
        """Return the entries of a page and the token of the next one.

        Args:
            entries: All of them, each with its row, in an order that is the same at every call.
            asked: What the caller wants.
            bound: What else the list depends on; a page token is good for it only.

        Raises:
            InvalidFilter: The filter or the ordering cannot be understood.
            InvalidCursor: The page token belongs to another query.
        """
        passes = predicate(asked.filter_text, self.fields)
        found = [each for each in entries if passes(each[0])]
        wanted = asked.order_by.strip() or self.default
        if wanted:
            terms = ordering(wanted, {each: OrderField(each) for each in self.orders}, default="", tie=()).terms
            for field, descends in reversed(terms):
                found.sort(key=lambda each: _key(each[0][field.sql]), reverse=descends)
        query = (self.name, *map(str, bound), asked.filter_text, asked.order_by)
        size, key = paging.page_size(asked.page_size), paging.page_key(query, asked.page_token)
        first = int(key[0]) if key else 0
        following = paging.page_token(query, (first + size,)) if len(found) > first + size else ""
        return [entry for _, entry in found[first : first + size]], following


def _key(value: Any) -> tuple[bool, Any]:
    """Return what a value is ordered by: one that is not known is the least."""
    return (value is not None, 0 if value is None else value)
