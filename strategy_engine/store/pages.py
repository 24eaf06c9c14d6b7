"""Pages of a list, cut out of a statement that leaves room for filter, place and order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quasar import paging
from quasar.database.pool import Database
from quasar.filters import Field, condition
from quasar.ordering import OrderField, ordering


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a caller wants of a list."""

    filter_text: str = ""
    order_by: str = ""
    page_size: int = 0
    page_token: str = ""

    @classmethod
    def of(cls, request: Any) -> Asked:
        """Return the wishes of any list request of the contract."""
        return cls(
            filter_text=request.filter,
            order_by=request.order_by,
            page_size=request.page_size,
            page_token=request.page_token,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One list that can be asked for."""

    name: str
    statement: str
    fields: Mapping[str, Field]
    orders: Mapping[str, OrderField]
    default: str
    tie: Sequence[OrderField]

    async def page(self, database: Database, asked: Asked, *bound: object) -> tuple[list[Any], str]:
        """Return the rows of a page and the token of the next one.

        Args:
            database: Where they are.
            asked: What the caller wants.
            bound: Values of the parameters of the statement from `$2` on; a page token is good for them only.

        Raises:
            InvalidFilter: The filter or the ordering cannot be understood.
            InvalidCursor: The page token belongs to another query.
        """
        size = paging.page_size(asked.page_size)
        order = ordering(asked.order_by, self.orders, default=self.default, tie=self.tie)
        query = (self.name, *map(str, bound), asked.filter_text, asked.order_by)
        free = 2 + len(bound)
        where = condition(asked.filter_text, self.fields, first_parameter=free)
        after = order.after(paging.page_key(query, asked.page_token), first_parameter=free + len(where.parameters))
        statement = self.statement.format(key=order.key, filter=where.sql, after=after.sql, order=order.clause)
        rows = await database.fetch(statement, size + 1, *bound, *where.parameters, *after.parameters)
        following = paging.page_token(query, rows[size - 1]["order_key"]) if len(rows) > size else ""
        return list(rows[:size]), following
