"""What the work on subscriptions stands on, and what all changes of them share."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import EtagMismatch, NotFound, Resource
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from registry.requests import Requests
from registry.store import code_table
from registry.store import subscription_table as table
from registry.subscriptions.subscriptions import Subscription
from registry.subscriptions.upkeep import SUBSCRIPTIONS, Upkeep

MAX_SERIES = 200_000
"""Series that all subscriptions may select together, unless set otherwise."""
_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Ground:
    """What the work on subscriptions stands on."""

    database: Database
    clock: Clock
    events: Events
    requests: Requests
    upkeep: Upkeep
    max_series: int = MAX_SERIES


def resource(subscription_id: uuid.UUID | str) -> Resource:
    """Return what errors name."""
    return Resource("subscription", str(subscription_id))


def not_found(subscription_id: uuid.UUID | str) -> NotFound:
    """Return the error for a subscription that does not exist."""
    return NotFound(
        f"There is no subscription {str(subscription_id)!r}; list what there is with ListSubscriptions.",
        resource=resource(subscription_id),
    )


async def hold(connection: Any, subscription_id: uuid.UUID, etag: str = "") -> Subscription:
    """Take a subscription for the rest of the transaction.

    Raises:
        NotFound: There is no such subscription.
        EtagMismatch: It changed since it was read.
    """
    await table.lock(connection, [subscription_id])
    found = await table.by_ids(connection, [subscription_id])
    if not found:
        raise not_found(subscription_id)
    held = found[0]
    if etag and etag != held.etag:
        raise EtagMismatch(
            f"The subscription changed since it was read (etag must be {held.etag!r}, was {etag!r}); "
            "read it again and repeat the change.",
            resource=resource(subscription_id),
            metadata={"etag": held.etag},
        )
    return held


async def read(connection: Any, subscription_id: uuid.UUID) -> Subscription:
    """Return a subscription.

    Raises:
        NotFound: There is no such subscription.
    """
    found = await table.by_ids(connection, [subscription_id])
    if not found:
        raise not_found(subscription_id)
    return found[0]


async def record(
    ground: Ground,
    connection: Any,
    kind: str,
    message: str,
    *,
    subject: str = "",
    data: Mapping[str, Any],
    actor: Actor | None,
) -> None:
    """Write the event of a change, wake those who live on it, and count it; it stands last in the transaction."""
    await code_table.notify(connection, SUBSCRIPTIONS)
    await ground.events.record(
        connection,
        kind,
        message,
        subject_type="subscription",
        subject_name=subject,
        data={name: value for name, value in data.items() if value is not None},
        actor=actor,
    )
    await table.bump_revision(connection)


def counted(ids: Collection[uuid.UUID], **counts: int) -> dict[str, Any]:
    """Return what the event of a batch tells: counts, and the ids of what changed, the first 1,000 of them."""
    listed = [str(one) for one in ids]
    return {**counts, "subscription_ids": listed[:_LISTED], "truncated": len(listed) > _LISTED or None}
