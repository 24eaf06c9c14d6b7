"""`quasar.ops.v1.EventService` over `quasar.ops.events`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from quasar.ops.events import Event, Events
from quasar.rpc.ops.actors import actor_message
from quasar.rpc.ops.streams import until_drained
from quasar.rpc.wellknown import instant, seconds, struct, timestamp
from quasar_proto.ops.v1 import event_pb2, event_service_pb2_grpc
from quasar_proto.ops.v1 import event_service_pb2 as pb

HEARTBEAT_S = 10.0


class EventService(event_service_pb2_grpc.EventServiceServicer):
    """Reads the log of events."""

    def __init__(self, events: Events, draining: asyncio.Event) -> None:
        """Read `events`; streams end when `draining` is set."""
        self._events = events
        self._draining = draining

    async def ListEvents(self, request: pb.ListEventsRequest, context: Any) -> pb.ListEventsResponse:
        """Return a page of events."""
        events, following = await self._events.list(
            filter_text=request.filter,
            order_by=request.order_by,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListEventsResponse(events=[event_message(event) for event in events], next_page_token=following)

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Any
    ) -> AsyncGenerator[pb.WatchEventsResponse, None]:
        """Stream events as they are recorded."""
        cursor = request.cursor

        async def batches() -> AsyncGenerator[pb.WatchEventsResponse, None]:
            nonlocal cursor
            interval = seconds(request.heartbeat_interval) if request.HasField("heartbeat_interval") else HEARTBEAT_S
            since = instant(request.since) if request.HasField("since") else None
            watched = self._events.watch(
                filter_text=request.filter, cursor=request.cursor, since=since, heartbeat_s=interval
            )
            async with aclosing(watched):
                async for batch in watched:
                    cursor = batch.cursor
                    messages = [event_message(event) for event in batch.events]
                    yield pb.WatchEventsResponse(events=messages, cursor=cursor)

        async with aclosing(until_drained(batches(), self._draining, resume=lambda: {"cursor": cursor})) as messages:
            async for message in messages:
                yield message


def event_message(event: Event) -> event_pb2.Event:
    """Return an event as a message."""
    return event_pb2.Event(
        event_id=event.event_id,
        time=timestamp(event.time),
        service=event.service,
        kind=event.kind,
        severity=int(event.severity),  # type: ignore[arg-type]  # enum values travel as plain integers
        subject_type=event.subject_type,
        subject_name=event.subject_name,
        message=event.message,
        data=struct(event.data),
        actor=actor_message(event.actor),
        run_id=event.run_id,
        run_sequence=event.run_sequence,
    )
