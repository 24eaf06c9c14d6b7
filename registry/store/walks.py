"""Pages of lists that may be long: no page looks at more than some thousand rows, whatever its filter and order.

A page in an order that an index gives is read along the index; where its filter passes few rows it ends early, with
fewer rows than were asked for and a token to go on from (AIP-158). A filter that names a row by what an index finds is
answered from there. Any other order is given among few rows only, and refused among many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from quasar.errors import FieldViolation, InvalidFilter
from quasar.filters import Condition
from quasar.filters.syntax import All, Comparison, Expression, parse
from registry.store.statements import SQL
from registry.store.texts import filled

LOOK: Final = 25_000
"""Rows that one page looks at, at most."""
SCATTERED: Final = 6_000
"""The same where the rows of an order lie all over the table, or what a filter may ask of a row is computed."""
SORTED: Final = 100_000
"""Rows among which a page is sorted without an index, at most."""
_LEAST: Final = 500
"""Rows that are looked at in every further segment, even when the page has looked at enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How a list is read that may be long; the texts are names of statements, and SQL that we wrote."""

    page: str
    """Reads along an order: $1 rows to show, $2 rows to look at, then the arguments of the list."""
    edge: str
    """The place of row number $1."""
    passed: str
    """How many rows there are from a place on; counts up to $1."""
    crowd: str
    """How many rows there are in all; counts up to $1."""
    orders: frozenset[str]
    """What indexes give."""
    lookups: Mapping[str, str]
    """Fields of which `=` is answered from an index, each with the condition that does it; empty: the field's own."""
    pushed: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """A field and a value that an index of its own has the rows of, with the condition that says so."""
    look: int = LOOK
    scattered: frozenset[str] = frozenset()
    """Orders whose rows lie all over the table."""
    sorted: int = SORTED
    grouped: int = 0
    """Rows are groups of what is looked at, and this many times the rows of a page are looked at without a filter; a
    page may then be short too. 0: each row is looked at by itself."""

    def look_along(self, order: str) -> int:
        """Return how many rows a page in an order looks at."""
        return SCATTERED if order in self.scattered else self.look


@dataclass(frozen=True, slots=True)
class Along:
    """One page that is read along segments of a list."""

    walk: Walk
    segments: Sequence[Any]
    where: Condition
    """Its parameters begin at `first_parameter`."""
    arguments: Sequence[object]
    size: int
    look: int

    @staticmethod
    def first_parameter(arguments: Sequence[object]) -> int:
        """Return the number of the first parameter of the filter."""
        return 3 + len(arguments)

    async def read(self, source: Any, place: int, key: Sequence[str | int] | None) -> tuple[list[Any], Any]:
        """Return rows with the names of their segments, one more than asked for where there are more.

        Also return the place up to which rows were looked at, when the page ends there; None when it does not.
        """
        found: list[tuple[str, Any]] = []
        left = self.look if self.where.sql != "true" or not self.walk.grouped else self.walk.grouped * self.size
        for segment in self.segments[place:]:
            limit = self.size + 1 - len(found)
            # What the page shows and where it ends must come of the same rows.
            left = max(left, limit)
            rows = await self._rows(source, segment, key, limit, left)
            found += [(segment.name, row) for row in rows]
            if len(found) > self.size:
                break
            if self.where.sql != "true" or self.walk.grouped:
                edge = await self._at(source, self.walk.edge, segment, key, left)
                if edge is not None:
                    return found, (segment.name, *edge)
                left = max(_LEAST, left - await self._at(source, self.walk.passed, segment, key, left) - _LEAST // 10)
            key = None
        return found, None

    async def _rows(self, source: Any, segment: Any, key: Any, limit: int, look: int) -> Sequence[Any]:
        first = self.first_parameter(self.arguments) + len(self.where.parameters)
        after = segment.order.after(key, first_parameter=first)
        sql = self._sql(self.walk.page, segment, after)
        rows: Sequence[Any] = await source.fetch(
            sql, limit, look, *self.arguments, *self.where.parameters, *after.parameters
        )
        return rows

    async def _at(self, source: Any, statement: str, segment: Any, key: Any, look: int) -> Any:
        after = segment.order.after(key, first_parameter=2)
        return await source.fetchval(self._sql(statement, segment, after), look, *after.parameters)

    def _sql(self, statement: str, segment: Any, after: Condition) -> str:
        return filled(
            SQL[statement],
            segment=segment.condition,
            filter=self.where.sql,
            after=after.sql,
            order=segment.order.clause,
            key=segment.order.key,
        )


def conjuncts(filter_text: str) -> tuple[Comparison, ...]:
    """Return the comparisons that every row has to pass."""
    tree: Expression | None = parse(filter_text)
    parts = tree.parts if isinstance(tree, All) else (tree,)
    return tuple(part for part in parts if isinstance(part, Comparison))


def written(part: Comparison) -> str:
    """Return a comparison as a caller writes it."""
    value = part.value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{part.field} {part.operator} "{value}"'


def looked_up(walk: Walk, filter_text: str, fields: Mapping[str, Any], parameter: int) -> Condition | None:
    """Return the condition by which an index finds what a filter names; None when it names nothing so.

    Args:
        walk: Says what indexes find.
        filter_text: The filter.
        fields: What it may name.
        parameter: Number of the parameter of the condition, if it has one.
    """
    for part in conjuncts(filter_text):
        value = fields[part.field].convert(part.value) if part.field in walk.lookups else ""
        if part.operator == "=" and value and "*" not in (value[:1], value[-1:]):
            sql = walk.lookups[part.field]
            return Condition(sql.format(value=f"${parameter}::text"), (value,)) if sql else Condition("true", ())
    return None


def narrowed(walk: Walk, segments: Sequence[Any], filter_text: str, fields: Mapping[str, Any]) -> Sequence[Any]:
    """Return segments with what an index of its own has the rows of, where the filter asks for that."""
    sure = [
        walk.pushed[part.field, fields[part.field].convert(part.value)]
        for part in conjuncts(filter_text)
        if part.operator == "="
        and part.field in fields
        and (part.field, fields[part.field].convert(part.value)) in walk.pushed
    ]
    return [replace(each, condition=" and ".join((each.condition, *sure))) for each in segments] if sure else segments


def canonical(order_by: str, default: str) -> str:
    """Return an ordering in one spelling."""
    words = [" ".join(part.split()).removesuffix(" asc") for part in (order_by.strip() or default).split(",")]
    return ", ".join(words)


async def require_few(source: Any, walk: Walk, order: str, method: str, *scope: object) -> None:
    """Refuse an order that no index gives among many rows.

    Raises:
        InvalidFilter: There are more than that.
    """
    count = await source.fetchval(SQL[walk.crowd], walk.sorted + 1, *scope)
    if count <= walk.sorted:
        return
    orders = "; ".join(sorted(walk.orders))
    description = (
        f"must be one of [{orders}] while {method} lists more than {walk.sorted:,} rows, or stand beside a filter that "
        f"leaves few: by source.name where rows have one, or by {', '.join(walk.lookups)}; was {order[:80]!r}"
    )
    raise InvalidFilter(f"order_by {description}.", violations=[FieldViolation("order_by", description)])
