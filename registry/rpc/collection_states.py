"""The DataHub's knowledge of subscribed series, over gRPC."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.message import Message

from quasar.client.channel import Channel
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from quasar_proto.datahub.v1 import collection_service_pb2_grpc as stubs
from registry.subscriptions.statuses import Health, SeriesName, SeriesState

BATCH: Final = 1000
"""Series in one call at most."""
ASK_S: Final = 3.0
"""A list does not wait longer for the DataHub."""
_HEALTHS: Final[Mapping[int, Health]] = {
    collection_pb2.SUBSCRIPTION_HEALTH_UNSPECIFIED: Health.PENDING,
    collection_pb2.SUBSCRIPTION_HEALTH_CURRENT: Health.CURRENT,
    collection_pb2.SUBSCRIPTION_HEALTH_BEHIND: Health.BEHIND,
    collection_pb2.SUBSCRIPTION_HEALTH_BACKFILLING: Health.BACKFILLING,
    collection_pb2.SUBSCRIPTION_HEALTH_FAILING: Health.FAILING,
    collection_pb2.SUBSCRIPTION_HEALTH_PAUSED: Health.PAUSED,
    collection_pb2.SUBSCRIPTION_HEALTH_UNSERVED: Health.PROVIDER_DOWN,
}


class RemoteCollectionStates:
    """Implements `registry.subscriptions.statuses.CollectionStates`."""

    def __init__(self, datahub: Channel) -> None:
        """Ask through this channel."""
        self._collection = datahub.stub(stubs.CollectionServiceStub)

    async def states(self, names: Sequence[SeriesName]) -> list[SeriesState]:
        """Return the state of series, in their order; see `CollectionStates.states`."""
        batches = [names[start : start + BATCH] for start in range(0, len(names), BATCH)]
        answers = await asyncio.gather(*(self._batch(batch) for batch in batches))
        return [state for answer in answers for state in answer]

    async def _batch(self, names: Sequence[SeriesName]) -> list[SeriesState]:
        keys = [values_pb2.SeriesKey(provider=p, symbol=symbol, interval=interval) for p, symbol, interval in names]
        request = pb.BatchGetSubscriptionStatesRequest(keys=keys)
        answer = await self._collection.BatchGetSubscriptionStates(request, timeout=ASK_S)
        states = [_state(state) for state in answer.states[: len(names)]]
        return states + [SeriesState(health=Health.PENDING)] * (len(names) - len(states))


def _state(state: collection_pb2.SubscriptionState) -> SeriesState:
    health = _HEALTHS.get(state.health, Health.PENDING)
    if health is Health.CURRENT and state.open_gaps:
        health = Health.GAPS
    has_bars = bool(state.key.interval)
    run = state.last_run
    last_row = _time(state, "last_row_time")
    return SeriesState(
        health=health,
        detail=state.detail,
        last_bar_time=last_row if has_bars else None,
        next_run_time=_time(state, "next_due_time"),
        last_run_time=_time(run, "end_time") if state.HasField("last_run") else None,
        last_error=run.error.message if state.HasField("last_run") and run.HasField("error") else "",
        bar_count=state.rows if has_bars else 0,
        gap_count=state.open_gaps,
        missing_bars=state.missing_slots if has_bars else 0,
        feed_state=int(state.feed_state),
        last_tick_time=_time(state, "last_receive_time") or (None if has_bars else last_row),
    )


def _time(message: Message, field: str) -> dt.datetime | None:
    if not message.HasField(field):
        return None
    found: dt.datetime = getattr(message, field).ToDatetime(tzinfo=dt.UTC)
    return found
