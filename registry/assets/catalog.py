"""Reading assets: lists, single ones, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quasar.database.pool import Database
from quasar.errors import NotFound, Resource
from quasar.filters import condition
from registry.assets import listing
from registry.assets.sources import find_source
from registry.code.refs import CodeRef
from registry.store import assets as table
from registry.store.assets import Asset
from registry.store.listing import Page, Query, Segment
from registry.store.ordering import OrderField, Ordering
from registry.store.statements import SQL
from registry.store.texts import filled
from registry.store.walks import canonical, conjuncts, written


@dataclass(frozen=True, slots=True)
class AssetPage:
    """A page of assets."""

    assets: Sequence[Asset]
    next_page_token: str
    total: int | None
    """None unless asked for."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts in one dimension."""

    dimension: str
    counts: Sequence[tuple[str, int]]
    value_count: int


async def list_assets(database: Database, query: Query, *, include_total: bool = False) -> AssetPage:
    """Return a page of assets.

    Raises:
        InvalidFilter: The filter or the order cannot be understood.
        InvalidCursor: The page token belongs to another query.
    """
    async with database.acquire() as connection:
        page = await _page(connection, query)
        total = await _total(connection, query.filter) if include_total else None
    return AssetPage([table.asset(row) for row in page.rows], page.next_page_token, total)


async def _page(connection: Any, query: Query) -> Page:
    """Fetch a page; what is ordered by source is read source by source."""
    listing.ASSETS.where(query.filter, first_parameter=1)
    order = canonical(query.order_by, listing.BY_SOURCE)
    sources, falls = listing.BY_SOURCES.get(order, ("c.kind, c.name", False))
    codes = await codes_of(connection, query.filter, sources)
    segments = None
    if order in listing.BY_SOURCES:
        by_symbol = Ordering(((OrderField("d.symbol"), falls),))
        segments = [Segment(f"source {code}", f"d.code_id = {code}", by_symbol) for code in codes]
    return await listing.ASSETS.page(connection, SQL["asset_page"], query, segments=segments, crowd=(codes,))


async def codes_of(connection: Any, filter_text: str, order: str) -> list[int]:
    """Return the sources that rows which pass a filter can be of, in an order that we wrote."""
    parts = [written(part) for part in conjuncts(filter_text) if part.field in listing.SOURCE_FIELDS]
    where = condition(" AND ".join(parts), listing.SOURCE_FIELDS)
    rows = await connection.fetch(filled(SQL["asset_sources"], filter=where.sql, order=order), *where.parameters)
    return [row["code_id"] for row in rows]


async def _total(connection: Any, filter_text: str) -> int:
    where = listing.ASSETS.where(filter_text, first_parameter=1)
    found: int = await connection.fetchval(filled(SQL["asset_total"], filter=where.sql), *where.parameters)
    return found


async def get_asset(connection: Any, ref: CodeRef, symbol: str) -> Asset:
    """Return an asset.

    Args:
        connection: A database or a connection.
        ref: Its source.
        symbol: As the source writes it.

    Raises:
        NotFound: The source does not exist or has no asset of that symbol.
    """
    found = await table.find(connection, str(ref.kind), ref.name, symbol)
    if found is None:
        await find_source(connection, ref)
        raise unknown_asset(ref, symbol)
    return found


def unknown_asset(ref: CodeRef, symbol: str) -> NotFound:
    """Return the error for an asset that does not exist."""
    return NotFound(
        f"The {ref} has no asset {symbol!r}; sync its assets or list them with ListAssets.",
        resource=Resource("asset", f"{ref.kind}/{ref.name}/{symbol}"),
    )


async def count_assets(database: Database, filter_text: str, dimensions: Sequence[str]) -> tuple[int, list[Counts]]:
    """Return how many assets pass a filter, in all and in each dimension.

    Raises:
        InvalidFilter: The filter cannot be understood.
    """
    where = listing.ASSETS.where(filter_text, first_parameter=1)
    groups = []
    async with database.transaction(isolation="repeatable_read", readonly=True) as connection:
        total = await _total(connection, filter_text)
        for dimension in dimensions or listing.USUAL_DIMENSIONS:
            statement = filled(SQL["asset_counts"], dimension=listing.DIMENSIONS[dimension], filter=where.sql)
            rows = await connection.fetch(statement, *where.parameters)
            counts = [(row["value"], row["count"]) for row in rows]
            groups.append(Counts(dimension, counts, rows[0]["value_count"] if rows else 0))
    return total, groups


async def quote_currencies(database: Database, ref: CodeRef, asset_class: str) -> list[tuple[str, int]]:
    """Return the currencies in which a source's assets of a class are quoted, by name, and how many are.

    Raises:
        NotFound: The source does not exist.
    """
    async with database.acquire() as connection:
        source = await find_source(connection, ref)
        rows = await connection.fetch(SQL["asset_quote_currencies"], source.code_id, asset_class)
    return [(row["currency"], row["asset_count"]) for row in rows]
