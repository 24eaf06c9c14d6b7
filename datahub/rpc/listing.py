"""Lists in pages: filter, ordering and page token of a request turned into one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datahub.store.statements import SQL
from quasar import paging
from quasar.database.pool import Database
from quasar.filters import Field, condition
from quasar.ordering import OrderField, ordering


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """How one list is read."""

    method: str
    statement: str
    """Name of a statement with {key}, {filter} and {order}, whose first parameter is the number of rows."""
    fields: Mapping[str, Field]
    orders: Mapping[str, OrderField]
    default_order: str
    tie: Sequence[OrderField]
    without_filter: str = "true"
    """The condition where the request has no filter."""

    async def rows(self, database: Database, request: Any, *leading: Any) -> tuple[list[Any], str]:
        """Return a page of rows and the token of the next one.

        Args:
            database: Where the rows are.
            request: Has `filter`, `page_size`, `page_token` and usually `order_by`.
            leading: Further parameters of the statement, from $2 on.

        Raises:
            InvalidFilter: The filter or the ordering cannot be understood.
            InvalidCursor: The page token belongs to another query.
        """
        size = paging.page_size(request.page_size)
        order_by = getattr(request, "order_by", "")
        asked = (self.method, request.filter, order_by, *(str(each) for each in leading))
        key = paging.page_key(asked, request.page_token)
        order = ordering(order_by, self.orders, default=self.default_order, tie=self.tie)
        first = 2 + len(leading)
        where = condition(request.filter, self.fields, first_parameter=first)
        after = order.after(key, first_parameter=first + len(where.parameters))
        chosen = where.sql if request.filter.strip() else self.without_filter
        text = SQL[self.statement].format(key=order.key, filter=f"({chosen}) and {after.sql}", order=order.clause)
        rows = await database.fetch(text, size + 1, *leading, *where.parameters, *after.parameters)
        if len(rows) <= size:
            return rows, ""
        return rows[:size], paging.page_token(asked, rows[size - 1]["order_key"])
