"""Pages of mappings."""

from __future__ import annotations

from typing import Final

from quasar.database.pool import Database
from registry.assets.catalog import codes_of
from registry.mappings.listing import MAPPINGS
from registry.store.listing import Page, Query, Segment
from registry.store.ordering import OrderField, Ordering
from registry.store.statements import SQL
from registry.store.walks import canonical

_BY_COMMON_SYMBOL: Final = Ordering(
    ((OrderField("d.common_symbol"), False), (OrderField("d.mapping_id", "bigint"), False))
)


async def list_mappings(database: Database, query: Query) -> Page:
    """Return a page of mappings; in the usual order they are read source by source.

    Raises:
        InvalidFilter: The filter or the order cannot be understood, or nothing gives the order among so many mappings.
        InvalidCursor: The page token belongs to another query.
    """
    MAPPINGS.where(query.filter, first_parameter=1)
    async with database.acquire() as connection:
        codes = await codes_of(connection, query.filter, "c.name, c.code_id")
        segments = None
        if canonical(query.order_by, MAPPINGS.default_order) == MAPPINGS.default_order:
            segments = [Segment(f"source {code}", f"d.code_id = {code}", _BY_COMMON_SYMBOL) for code in codes]
        return await MAPPINGS.page(connection, SQL["mapping_page"], query, segments=segments, crowd=(codes,))
