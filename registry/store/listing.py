"""Lists filtered, ordered and paged by the place of the last row: a late page costs what the first one costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quasar import paging
from quasar.errors import FieldViolation, InvalidCursor, InvalidFilter
from quasar.filters import Condition, Field, condition
from registry.store.ordering import OrderField, Ordering
from registry.store.texts import filled
from registry.store.walks import Along, Walk, canonical, looked_up, narrowed, require_few


@dataclass(frozen=True, slots=True)
class SortTerm:
    """A field that a list may be ordered by; what is not known comes last in either direction."""

    rising: tuple[OrderField, ...]
    """What ORDER BY names for the ascending order."""
    falling: tuple[OrderField, ...]
    """What it names for the descending one; each of them descends."""

    blank: str = ""
    """Texts: what is empty where it is not known. Lists that begin with it show the known ones, then the others."""


def known(sql: str, kind: Any = "text") -> SortTerm:
    """Return a term for an expression that is always known."""
    field = OrderField(sql, kind)
    return SortTerm((field,), (field,))


def text(sql: str) -> SortTerm:
    """Return a term for a text that is empty where it is not known."""
    return SortTerm((OrderField(f"({sql} = '')", "boolean"), OrderField(sql)), (OrderField(sql),), blank=sql)


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
class Segment:
    """A part of a list, in one order."""

    name: str
    condition: str
    """Which rows belong to it."""
    order: Ordering


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
    walk: Walk | None = None
    """How it is read when it is long; None: it is never long."""

    def segments(self, order_by: str) -> tuple[Segment, ...]:
        """Read an `order_by`.

        Returns:
            One segment; two where the list begins with a text: those that have it, then those of which it is not known.
            (One index cannot give both directions with the unknown last; one for each part can.)

        Raises:
            InvalidFilter: A field is unknown or named twice, or a word is neither `asc` nor `desc`.
        """
        chosen = self._chosen(order_by)
        first, falls = chosen[0]
        if not first.blank:
            return (Segment("all", "true", self._total(chosen)),)
        rest = chosen[1:]
        column = SortTerm((first.rising[-1],), first.falling)
        return (
            Segment("known", f"{first.blank} <> ''", self._total([(column, falls), *rest])),
            Segment("unknown", f"{first.blank} = ''", self._total(rest, falls=falls)),
        )

    def _chosen(self, order_by: str) -> list[tuple[SortTerm, bool]]:
        chosen: list[tuple[SortTerm, bool]] = []
        named: set[str] = set()
        for part in (order_by.strip() or self.default_order).split(","):
            words = part.split()
            legal = words and words[0] in self.terms and words[0] not in named
            if not legal or len(words) > 2 or words[1:] not in ([], ["asc"], ["desc"]):
                raise _refused(self.terms, part)
            named.add(words[0])
            chosen.append((self.terms[words[0]], words[1:] == ["desc"]))
        return chosen

    def _total(self, chosen: Sequence[tuple[SortTerm, bool]], *, falls: bool = False) -> Ordering:
        """Return a total order: the tie goes in the direction of the last field."""
        terms = [(field, falling) for term, falling in chosen for field in (term.falling if falling else term.rising)]
        falls = chosen[-1][1] if chosen else falls
        terms += [(field, falls) for field in self.tie if all(field.sql != had.sql for had, _ in terms)]
        return Ordering(tuple(terms))

    def where(self, filter_text: str, *, first_parameter: int) -> Condition:
        """Read a filter.

        Raises:
            InvalidFilter: It cannot be understood.
        """
        return condition(filter_text, self.fields, first_parameter=first_parameter)

    async def page(
        self,
        source: Any,
        statement: str,
        query: Query,
        *arguments: Any,
        scope: Sequence[str] = (),
        segments: Sequence[Segment] | None = None,
        crowd: Sequence[object] = (),
    ) -> Page:
        """Fetch a page.

        Args:
            source: A database or a connection.
            statement: SQL with {filter}, {after}, {order} and {key}; $1 is the limit, the arguments follow from $2 on.
                {passes} and {segment} are the halves of {filter}: what the caller asks, and the part of the list.
            query: What the caller asks.
            arguments: Further parameters of the statement.
            scope: What else the pages depend on, so that a token does not fit another scope.
            segments: The list in parts that indexes give in this order; None: those of `segments`.
            crowd: Parameters of the statement that counts the rows.

        Raises:
            InvalidFilter: The filter or the order cannot be understood, or nothing gives the order among so many rows.
            InvalidCursor: The page token belongs to another query.
        """
        self.where(query.filter, first_parameter=1)
        parts = self.segments(query.order_by) if segments is None else segments
        if self.walk is not None:
            order = canonical(query.order_by, self.default_order)
            found = looked_up(self.walk, query.filter, self.fields, 2 + len(arguments))
            if found is not None:
                return await self._sorted(source, statement, query, found, arguments, scope)
            if order in self.walk.orders:
                return await self._along(source, query, parts, arguments, scope)
            await require_few(source, self.walk, order, self.method, *crowd)
        return await self._sorted(source, statement, query, Condition("true", ()), arguments, scope)

    async def _along(
        self, source: Any, query: Query, segments: Sequence[Segment], arguments: Sequence[Any], scope: Sequence[str]
    ) -> Page:
        """Fetch a page by reading along an index."""
        assert self.walk is not None
        marks, size = self.marks(query, scope), paging.page_size(query.page_size)
        where = self.where(query.filter, first_parameter=Along.first_parameter(arguments))
        place, key = _place(segments, paging.page_key(marks, query.page_token))
        parts = narrowed(self.walk, segments, query.filter, self.fields)
        look = self.walk.look_along(canonical(query.order_by, self.default_order))
        rows, edge = await Along(self.walk, parts, where, arguments, size, look).read(source, place, key)
        if edge is not None:
            return Page([row for _, row in rows], paging.page_token(marks, edge))
        return _cut(rows, size, marks)

    async def _sorted(
        self,
        source: Any,
        statement: str,
        query: Query,
        narrow: Condition,
        arguments: Sequence[Any],
        scope: Sequence[str],
    ) -> Page:
        """Fetch a page by sorting what passes the filter, or as the planner sees fit."""
        size = paging.page_size(query.page_size)
        marks = self.marks(query, scope)
        segments = self.segments(query.order_by)
        given = (*arguments, *narrow.parameters)
        where = self.where(query.filter, first_parameter=2 + len(given))
        place, key = _place(segments, paging.page_key(marks, query.page_token))
        rows: list[tuple[str, Any]] = []
        for segment in segments[place:]:
            after = segment.order.after(key, first_parameter=2 + len(given) + len(where.parameters))
            key = None
            sql = filled(
                statement,
                filter=" and ".join((segment.condition, narrow.sql, where.sql)),
                passes=f"{narrow.sql} and {where.sql}",
                segment=segment.condition,
                after=after.sql,
                order=segment.order.clause,
                key=segment.order.key,
            )
            limit = size + 1 - len(rows)
            found = await source.fetch(sql, limit, *given, *where.parameters, *after.parameters)
            rows += [(segment.name, row) for row in found]
            if len(rows) > size:
                break
        return _cut(rows, size, marks)

    def marks(self, query: Query, scope: Sequence[str] = ()) -> tuple[str, ...]:
        """Return what a page token is bound to."""
        return (self.method, query.filter, query.order_by, *scope)


def _place(segments: Sequence[Segment], key: Sequence[str | int] | None) -> tuple[int, Sequence[str | int] | None]:
    """Return the segment in which a page begins and the place of the row before it."""
    if key is None:
        return 0, None
    names = [segment.name for segment in segments]
    if key[0] not in names:
        raise unfit_token()
    return names.index(str(key[0])), key[1:]


def unfit_token() -> InvalidCursor:
    """Return the error for a page token that does not hold what the list wants."""
    description = "must be the next_page_token of the page before, unchanged, was another"
    return InvalidCursor(f"page_token {description}.", violations=[FieldViolation("page_token", description)])


def _cut(rows: Sequence[tuple[str, Any]], size: int, marks: Sequence[str]) -> Page:
    """Return a page of rows of which one more than asked for was fetched."""
    shown = [row for _, row in rows[:size]]
    if len(rows) <= size:
        return Page(shown, "")
    name, last = rows[size - 1]
    return Page(shown, paging.page_token(marks, (name, *last["order_key"])))


def _refused(terms: Mapping[str, SortTerm], part: str) -> InvalidFilter:
    rule = f"must name each of {', '.join(terms)} at most once, with or without ' desc'"
    description = f"{rule}, was {part.strip()[:80]!r}"
    return InvalidFilter(f"order_by {description}.", violations=[FieldViolation("order_by", description)])
