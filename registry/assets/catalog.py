"""Reading assets: lists, single ones, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quasar import paging
from quasar.database.pool import Database
from quasar.errors import NotFound, Resource
from registry.assets import listing
from registry.assets.sources import find_source
from registry.code.refs import CodeRef
from registry.store import assets as table
from registry.store.assets import Asset
from registry.store.listing import Page, Query, filled, unfit_token
from registry.store.statements import SQL


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
    """Fetch a page; what is ordered by symbol is merged from the sources, without a sort of everything."""
    order = ", ".join(" ".join(part.split()) for part in query.order_by.split(",")) or listing.BY_SOURCE
    if order == listing.BY_SOURCE:
        return await _page_by_source(connection, query)
    if order in listing.BY_SYMBOL:
        statement = filled(SQL["asset_page_by_symbol"], direction=listing.BY_SYMBOL[order])
        return await listing.BY_SYMBOL_AND_SOURCE.page(connection, statement, query)
    return await listing.ASSETS.page(connection, SQL["asset_page"], query)


async def _page_by_source(connection: Any, query: Query) -> Page:
    """Fetch a page in the usual order: each source is read from where the page before ended, or from its beginning."""
    size = paging.page_size(query.page_size)
    marks = listing.BY_SOURCE_AND_SYMBOL.marks(query)
    key = paging.page_key(marks, query.page_token) or ("", "", "")
    if len(key) != 3:
        raise unfit_token()
    where = listing.BY_SOURCE_AND_SYMBOL.where(query.filter, first_parameter=5)
    statement = filled(SQL["asset_page_by_source"], filter=where.sql)
    rows = await connection.fetch(statement, size + 1, *map(str, key), *where.parameters)
    following = paging.page_token(marks, rows[size - 1]["order_key"]) if len(rows) > size else ""
    return Page(rows[:size], following)


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
