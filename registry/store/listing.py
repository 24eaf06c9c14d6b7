"""Lists that are filtered, ordered and paged by the place of the last row, so that a late page costs what the first one costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quasar import paging
from quasar.errors import FieldViolation, InvalidFilter
from quasar.filters import Condition, Field, condition
from registry.store.ordering import OrderField, Ordering


@dataclass(frozen=True, slots=True)
class SortTerm:
    """A field that a list may be ordered by; what is not known comes last in either direction."""

    rising: tuple[OrderField, ...]
    """What ORDER BY names for the ascending order."""
    falling: tuple[OrderField, ...]
    """What it names for the descending one; each of them descends."""

    @property
    def column(self) -> OrderField:
        """The field itself, without what puts the unknown last."""
        return self.rising[-1]


def known(sql: str, kind: Any = "text") -> SortTerm:
    """Return a term for an expression that is always known."""
    field = OrderField(sql, kind)
    return SortTerm((field,), (field,))


def text(sql: str) -> SortTerm:
    """Return a term for a text that is empty where it is not known."""
    return SortTerm((OrderField(f"({sql} = '')", "boolean"), OrderField(sql)), (OrderField(sql),))


def optional(sql: str, kind: Any) -> SortTerm:
    """Return a term for a number or a time that is null where it is not known."""
    return SortTerm(
        (OrderField(f"coalesce({sql}, 'infinity')", kind),), (OrderField(f"coalesce({sql}, '-infinity')", kind),)
    )


@dataclass(frozen=True, slots=True)
class Query:
    """What a caller asks of a list."""

    filter: str = ""
    order_by: str = ""
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a list, and where the next page begins."""

    rows: Sequence[Any]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One list of the contract."""

    method: str
    """The method that serves it: a page token of one list fits no other."""
    fields: Mapping[str, Field]
    """What a filter may name."""
    terms: Mapping[str, SortTerm]
    """What an ordering may name."""
    default_order: str
    tie: tuple[OrderField, ...]
    """Makes every order total; appended in the direction of the last field."""

    def ordering(self, order_by: str) -> Ordering:
        """Read an `order_by`.

        Raises:
            InvalidFilter: A field is unknown or named twice, or a word is neither `asc` nor `desc`.
        """
        chosen: list[tuple[OrderField, bool]] = []
        named: set[str] = set()
        falls = False
        for part in (order_by.strip() or self.default_order).split(","):
            words = part.split()
            legal = words and words[0] in self.terms and words[0] not in named
            if not legal or len(words) > 2 or words[1:] not in ([], ["asc"], ["desc"]):
                raise _refused(self.terms, part)
            named.add(words[0])
            falls = words[1:] == ["desc"]
            term = self.terms[words[0]]
            chosen += [(field, falls) for field in (term.falling if falls else term.rising)]
        chosen += [(field, falls) for field in self.tie if all(field.sql != had.sql for had, _ in chosen)]
        return Ordering(tuple(chosen))

    def where(self, filter_text: str, *, first_parameter: int) -> Condition:
        """Read a filter.

        Raises:
            InvalidFilter: It cannot be understood.
        """
        return condition(filter_text, self.fields, first_parameter=first_parameter)

    async def page(self, source: Any, statement: str, query: Query, *arguments: Any, scope: Sequence[str] = ()) -> Page:
        """Fetch a page.

        Args:
            source: A database or a connection.
            statement: SQL with {filter}, {after}, {order} and {key}; $1 is the limit, the arguments follow from $2 on.
            query: What the caller asks.
            arguments: Further parameters of the statement.
            scope: What else the pages depend on, so that a token does not fit another scope.

        Raises:
            InvalidFilter: The filter or the order cannot be understood.
            InvalidCursor: The page token belongs to another query.
        """
        size = paging.page_size(query.page_size)
        marks = self.marks(query, scope)
        order = self.ordering(query.order_by)
        where = self.where(query.filter, first_parameter=2 + len(arguments))
        after = order.after(
            paging.page_key(marks, query.page_token), first_parameter=2 + len(arguments) + len(where.parameters)
        )
        sql = filled(statement, filter=where.sql, after=after.sql, order=order.clause, key=order.key)
        rows = await source.fetch(sql, size + 1, *arguments, *where.parameters, *after.parameters)
        return self.cut(rows, size, marks)

    def marks(self, query: Query, scope: Sequence[str] = ()) -> tuple[str, ...]:
        """Return what a page token is bound to."""
        return (self.method, query.filter, query.order_by, *scope)

    def cut(self, rows: Sequence[Any], size: int, marks: Sequence[str]) -> Page:
        """Return a page of rows of which one more than asked for was fetched."""
        if len(rows) <= size:
            return Page(rows, "")
        return Page(rows[:size], paging.page_token(marks, rows[size - 1]["order_key"]))


def filled(statement: str, **parts: str) -> str:
    """Put parts that the service wrote in the places of a statement."""
    for name, part in parts.items():
        statement = statement.replace(f"{{{name}}}", part)
    return statement


def _refused(terms: Mapping[str, SortTerm], part: str) -> InvalidFilter:
    rule = f"must name each of {', '.join(terms)} at most once, with or without ' desc'"
    description = f"{rule}, was {part.strip()[:80]!r}"
    return InvalidFilter(f"order_by {description}.", violations=[FieldViolation("order_by", description)])
