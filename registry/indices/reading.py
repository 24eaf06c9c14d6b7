"""Reading indices: lists, members at an instant, the timeline."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quasar import paging
from quasar.database.pool import Database
from quasar.filters import Condition
from registry.indices.indices import unknown
from registry.indices.listing import INDICES, LOOKED_UP, MEMBERS
from registry.indices.membership import MemberChange, ordered
from registry.store import indices as table
from registry.store.indices import Index
from registry.store.listing import Page, Query
from registry.store.statements import SQL
from registry.store.texts import filled

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPeriod:
    """That something is, or was, a member with one weight."""

    common_symbol: str
    source_kind: str
    source_name: str
    """Of the asset; empty for members of user indices."""
    symbol: str
    name: str
    asset_class: str
    weight: float | None
    valid_from: dt.datetime
    valid_to: dt.datetime | None


@dataclass(frozen=True, slots=True)
class MemberPage:
    """A page of members."""

    index: str
    """Its name as it is written."""
    members: Sequence[MemberPeriod]
    next_page_token: str
    total: int


@dataclass(frozen=True, slots=True)
class Day:
    """What happened to an index on one day."""

    date: dt.date
    changes: Sequence[MemberChange]
    member_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineQuery:
    """Which changes to show."""

    index: str
    start: dt.datetime | None
    end: dt.datetime | None
    symbol: str
    page_size: int
    page_token: str


async def list_indices(database: Database, query: Query) -> tuple[list[Index], str, int]:
    """Return a page of indices, the token of the next one, and how many there are.

    Raises:
        InvalidFilter: The filter or the order cannot be understood.
        InvalidCursor: The page token belongs to another query.
    """
    async with database.acquire() as connection:
        page = await INDICES.page(connection, SQL["index_page"], query)
        total = await _total(connection, page, query, "index_total", INDICES.where(query.filter, first_parameter=1))
    return [table.index(row) for row in page.rows], page.next_page_token, total


async def list_members(database: Database, name: str, as_of: dt.datetime, query: Query, mark: str) -> MemberPage:
    """Return a page of the members of an index at an instant.

    Args:
        database: Where the index is.
        name: Of the index.
        as_of: The instant.
        query: Filter, order, page.
        mark: The instant as it was asked for; a page token fits no other.

    Raises:
        NotFound: There is no such index.
        InvalidFilter: The filter or the order cannot be understood.
        InvalidCursor: The page token belongs to another query.
    """
    async with database.transaction(isolation="repeatable_read", readonly=True) as connection:
        held = await table.named(connection, name)
        if held is None:
            raise unknown(name)
        index_id, index = held
        scope = (str(index_id), mark)
        where = MEMBERS.where(query.filter, first_parameter=3)
        filtered = any(f"d.{name}" in where.sql for name in LOOKED_UP)
        ordered = any(part.split()[:1] == [name] for part in query.order_by.split(",") for name in LOOKED_UP)
        statement = SQL["index_member_page" if filtered or ordered else "index_member_page_by_symbols"]
        page = await MEMBERS.page(connection, statement, query, index_id, as_of, scope=scope)
        total = await _total(connection, page, query, "index_member_total", where, index_id, as_of)
    return MemberPage(index, [_period(row) for row in page.rows], page.next_page_token, total)


async def _total(
    connection: Any, page: Page, query: Query, statement: str, where: Condition, *arguments: object
) -> int:
    """Return how many rows pass the filter: each row of a page tells it; a late page without rows has to count."""
    if page.rows:
        return int(page.rows[0]["total"])
    if not query.page_token:
        return 0
    return int(await connection.fetchval(filled(SQL[statement], filter=where.sql), *arguments, *where.parameters))


async def timeline(database: Database, query: TimelineQuery) -> tuple[list[Day], str]:
    """Return a page of the days on which an index changed, newest first, and the token of the next one.

    Raises:
        NotFound: There is no such index.
        InvalidCursor: The page token belongs to another query.
    """
    size = paging.page_size(query.page_size)
    marks = ("GetIndexTimeline", query.index.lower(), str(query.start), str(query.end), query.symbol.lower())
    key = paging.page_key(marks, query.page_token)
    before = dt.date.fromisoformat(str(key[0])) if key else None
    async with database.transaction(isolation="repeatable_read", readonly=True) as connection:
        held = await table.named(connection, query.index)
        if held is None:
            raise unknown(query.index)
        index_id, _ = held
        rows = await connection.fetch(
            SQL["index_days"], index_id, query.start, query.end, before, query.symbol, size + 1
        )
        days = [row["day"] for row in rows[:size]]
        found = await _days(connection, index_id, query, days) if days else []
    following = paging.page_token(marks, (days[-1].isoformat(),)) if len(rows) > size else ""
    return found, following


async def _days(connection: Any, index_id: int, query: TimelineQuery, days: Sequence[dt.date]) -> list[Day]:
    first, last = _midnight(days[-1]), _midnight(days[0]) + _DAY
    start = max(first, query.start) if query.start else first
    end = min(last, query.end) if query.end else last
    by_day: dict[dt.date, list[MemberChange]] = defaultdict(list)
    for row in await connection.fetch(SQL["index_changes"], index_id, start, end, query.symbol):
        by_day[row["at"].date()].append(_change(row))
    ends = [_midnight(day) + _DAY for day in days]
    counts = {row["at"]: row["members"] for row in await connection.fetch(SQL["index_counts_at"], index_id, ends)}
    return [Day(day, ordered(by_day[day]), counts[end]) for day, end in zip(days, ends, strict=True)]


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)


def _change(row: Any) -> MemberChange:
    symbol = row["symbol"] or row["common_symbol"]
    return MemberChange(
        change=row["change"],
        symbol=symbol,
        common_symbol=row["common_symbol"],
        weight_before=row["weight_before"],
        weight_after=row["weight_after"],
        time=row["at"],
    )


def _period(row: Any) -> MemberPeriod:
    # PostgreSQL's infinity comes as the greatest time without a zone.
    open_ = row["valid_to"].tzinfo is None
    return MemberPeriod(
        common_symbol=row["common_symbol"],
        source_kind=row["source_kind"],
        source_name=row["source_name"],
        symbol=row["symbol"],
        name=row["name"],
        asset_class=row["asset_class"],
        weight=row["weight"],
        valid_from=row["valid_from"],
        valid_to=None if open_ else row["valid_to"],
    )
