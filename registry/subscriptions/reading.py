"""Reading subscriptions with their status."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from registry.store import subscription_table as table
from registry.store.listing import Query
from registry.store.statements import SQL
from registry.store.subscription_listing import SUBSCRIPTIONS
from registry.subscriptions.ground import Ground, read
from registry.subscriptions.statuses import Status, StatusDesk, Statuses
from registry.subscriptions.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    """Some subscriptions."""

    subscriptions: tuple[Subscription, ...]
    next_page_token: str
    statuses: Statuses


async def one(
    ground: Ground, desk: StatusDesk, subscription_id: uuid.UUID, *, with_status: bool
) -> tuple[Subscription, Status | None]:
    """Return a subscription.

    Raises:
        NotFound: There is no such subscription.
    """
    async with ground.database.acquire() as connection:
        found = await read(connection, subscription_id)
    statuses = await desk.of([found]) if with_status else Statuses()
    return found, statuses.of.get(subscription_id)


async def page(ground: Ground, desk: StatusDesk, query: Query, *, with_status: bool) -> SubscriptionPage:
    """Return a page of subscriptions.

    Raises:
        InvalidFilter: The filter or the ordering cannot be understood.
        InvalidCursor: The page token belongs to another query.
    """
    found = await SUBSCRIPTIONS.page(ground.database, SQL["subscription_page"], query)
    listed = tuple(table.subscription(row) for row in found.rows)
    statuses = await desk.of(listed) if with_status else Statuses()
    return SubscriptionPage(listed, found.next_page_token, statuses)
