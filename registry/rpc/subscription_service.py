"""`quasar.registry.v1.SubscriptionService`: translation only."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from quasar.errors import FieldViolation
from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.ops.streams import until_drained
from quasar.rpc.wellknown import seconds
from quasar_proto.registry.v1 import subscription_service_pb2 as pb
from quasar_proto.registry.v1 import subscription_service_pb2_grpc as stubs
from registry.rpc import subscription_messages as messages
from registry.rpc.words import mark_of
from registry.store.listing import Query
from registry.subscriptions import alteration, creation, preview, reading, series
from registry.subscriptions.ground import Ground
from registry.subscriptions.statuses import StatusDesk
from registry.subscriptions.subscriptions import State
from registry.subscriptions.watching import Seen, Watcher
from registry.violations import refused

_HEARTBEAT_S = 10.0


class SubscriptionService(stubs.SubscriptionServiceServicer):
    """Subscribing to market data."""

    def __init__(self, ground: Ground, desk: StatusDesk, draining: asyncio.Event) -> None:
        """Serve the subscriptions of `ground`, with their status from `desk`; streams end when `draining` is set."""
        self._ground = ground
        self._desk = desk
        self._draining = draining

    async def CreateSubscription(
        self, request: pb.CreateSubscriptionRequest, context: Any
    ) -> pb.CreateSubscriptionResponse:
        """Create a subscription."""
        found = await creation.create(
            self._ground,
            messages.wish_of(request.subscription),
            mark_of("CreateSubscription", request),
            calling_actor(),
            validate_only=request.validate_only,
        )
        return pb.CreateSubscriptionResponse(subscription=messages.subscription_message(found))

    async def BatchCreateSubscriptions(
        self, request: pb.BatchCreateSubscriptionsRequest, context: Any
    ) -> pb.BatchCreateSubscriptionsResponse:
        """Create many subscriptions, all or none."""
        done = await creation.create_all(
            self._ground,
            [messages.wish_of(one) for one in request.subscriptions],
            mark_of("BatchCreateSubscriptions", request),
            calling_actor(),
            skip_existing=request.skip_existing,
            validate_only=request.validate_only,
        )
        return pb.BatchCreateSubscriptionsResponse(
            subscription_ids=["" if one is None else str(one) for one in done.ids],
            created=done.created,
            existing=done.existing,
        )

    async def PreviewSubscription(
        self, request: pb.PreviewSubscriptionRequest, context: Any
    ) -> pb.PreviewSubscriptionResponse:
        """Say what a subscription would collect."""
        seen = await preview.preview(self._ground, messages.wish_of(request.subscription))
        return pb.PreviewSubscriptionResponse(preview=messages.preview_message(seen))

    async def GetSubscription(self, request: pb.GetSubscriptionRequest, context: Any) -> pb.GetSubscriptionResponse:
        """Return a subscription with its status."""
        found, status = await reading.one(
            self._ground, self._desk, uuid.UUID(request.subscription_id), with_status=not request.without_status
        )
        return pb.GetSubscriptionResponse(subscription=messages.subscription_message(found, status))

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, context: Any
    ) -> pb.ListSubscriptionsResponse:
        """List subscriptions with their status."""
        query = Query(request.filter, request.order_by, request.page_size, request.page_token)
        page = await reading.page(self._ground, self._desk, query, with_status=not request.without_status)
        known = page.statuses.of
        return pb.ListSubscriptionsResponse(
            subscriptions=[
                messages.subscription_message(one, known.get(one.subscription_id) if one.subscription_id else None)
                for one in page.subscriptions
            ],
            next_page_token=page.next_page_token,
            status_error=page.statuses.error,
        )

    async def ListSubscribedSeries(
        self, request: pb.ListSubscribedSeriesRequest, context: Any
    ) -> pb.ListSubscribedSeriesResponse:
        """List the series that subscriptions select."""
        query = Query(request.filter, "", request.page_size, request.page_token)
        page = await series.page(
            self._ground, self._desk, query, request.subscription_id, with_status=request.with_status
        )
        return pb.ListSubscribedSeriesResponse(
            series=messages.series_messages(page),
            next_page_token=page.next_page_token,
            revision=page.revision,
            status_error=page.status_error,
        )

    async def WatchSubscriptions(
        self, request: pb.WatchSubscriptionsRequest, context: Any
    ) -> AsyncIterator[pb.WatchSubscriptionsResponse]:
        """Stream subscriptions and their changes."""
        given = request.HasField("heartbeat_interval")
        heartbeat_s = seconds(request.heartbeat_interval) if given else _HEARTBEAT_S
        watched = Watcher(self._ground, self._desk, request.filter).watch(heartbeat_s)
        async with aclosing(until_drained(watched, self._draining)) as watching:
            async for seen in watching:
                yield _seen_message(seen)

    async def UpdateSubscription(
        self, request: pb.UpdateSubscriptionRequest, context: Any
    ) -> pb.UpdateSubscriptionResponse:
        """Change a subscription."""
        sent, mask = request.subscription, list(request.update_mask.paths)
        if "selector" in mask and sent.selector.WhichOneof("selection") is None:
            description = "must be set, as the mask names it, was empty"
            raise refused([FieldViolation("subscription.selector", description)])
        found = await alteration.update(
            self._ground,
            _id_of(sent.subscription_id),
            messages.values_of(sent),
            mask,
            sent.etag,
            calling_actor(),
            validate_only=request.validate_only,
        )
        return pb.UpdateSubscriptionResponse(subscription=messages.subscription_message(found))

    async def PauseSubscription(
        self, request: pb.PauseSubscriptionRequest, context: Any
    ) -> pb.PauseSubscriptionResponse:
        """Stop collecting without forgetting."""
        one = uuid.UUID(request.subscription_id)
        found = await alteration.set_state(
            self._ground, one, State.PAUSED, request.reason, request.etag, calling_actor()
        )
        return pb.PauseSubscriptionResponse(subscription=messages.subscription_message(found))

    async def ResumeSubscription(
        self, request: pb.ResumeSubscriptionRequest, context: Any
    ) -> pb.ResumeSubscriptionResponse:
        """Collect again."""
        one = uuid.UUID(request.subscription_id)
        found = await alteration.set_state(self._ground, one, State.ACTIVE, "", request.etag, calling_actor())
        return pb.ResumeSubscriptionResponse(subscription=messages.subscription_message(found))

    async def DeleteSubscription(
        self, request: pb.DeleteSubscriptionRequest, context: Any
    ) -> pb.DeleteSubscriptionResponse:
        """Remove a subscription."""
        one = uuid.UUID(request.subscription_id)
        released = await alteration.delete(self._ground, one, request.etag, calling_actor())
        return pb.DeleteSubscriptionResponse(series_released=released)

    async def BatchUpdateSubscriptions(
        self, request: pb.BatchUpdateSubscriptionsRequest, context: Any
    ) -> pb.BatchUpdateSubscriptionsResponse:
        """Change the same fields of many subscriptions."""
        done = await alteration.update_all(
            self._ground,
            messages.named_of(request.subscriptions),
            messages.values_of(request.values),
            list(request.update_mask.paths),
            calling_actor(),
            validate_only=request.validate_only,
        )
        return pb.BatchUpdateSubscriptionsResponse(matched=done.matched, changed=done.changed)

    async def BatchPauseSubscriptions(
        self, request: pb.BatchPauseSubscriptionsRequest, context: Any
    ) -> pb.BatchPauseSubscriptionsResponse:
        """Pause many subscriptions."""
        named = messages.named_of(request.subscriptions)
        done = await alteration.set_state_of_all(
            self._ground, named, State.PAUSED, request.reason, calling_actor(), validate_only=request.validate_only
        )
        return pb.BatchPauseSubscriptionsResponse(matched=done.matched, changed=done.changed)

    async def BatchResumeSubscriptions(
        self, request: pb.BatchResumeSubscriptionsRequest, context: Any
    ) -> pb.BatchResumeSubscriptionsResponse:
        """Resume many subscriptions."""
        named = messages.named_of(request.subscriptions)
        done = await alteration.set_state_of_all(
            self._ground, named, State.ACTIVE, "", calling_actor(), validate_only=request.validate_only
        )
        return pb.BatchResumeSubscriptionsResponse(matched=done.matched, changed=done.changed)

    async def BatchDeleteSubscriptions(
        self, request: pb.BatchDeleteSubscriptionsRequest, context: Any
    ) -> pb.BatchDeleteSubscriptionsResponse:
        """Remove many subscriptions."""
        named = messages.named_of(request.subscriptions)
        deleted, released = await alteration.delete_all(
            self._ground, named, calling_actor(), validate_only=request.validate_only
        )
        return pb.BatchDeleteSubscriptionsResponse(deleted=deleted, series_released=released)


def _id_of(text: str) -> uuid.UUID:
    if not text:
        description = "must name the subscription to change, was empty"
        raise refused([FieldViolation("subscription.subscription_id", description)])
    return uuid.UUID(text)


def _seen_message(seen: Seen) -> pb.WatchSubscriptionsResponse:
    return pb.WatchSubscriptionsResponse(
        subscriptions=[
            messages.subscription_message(one, seen.statuses.get(one.subscription_id) if one.subscription_id else None)
            for one in seen.subscriptions
        ],
        removed_ids=[str(one) for one in seen.removed],
        complete=seen.complete,
        status_error=seen.status_error,
    )
