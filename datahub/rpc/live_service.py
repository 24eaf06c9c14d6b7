"""The live half of `MarketDataService`: streams, watchlists and latest prices."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any, Final

from datahub.live.feeds import Feeds
from datahub.live.ingest import LiveIngest
from datahub.live.prices import PriceBoard
from datahub.live.states import FeedState
from datahub.live.symbols import LiveName, LiveSeries
from datahub.rpc import live_messages
from datahub.rpc.live_selectors import LiveSelectors
from datahub.stream.envelope import envelope
from datahub.stream.hub import Hub
from datahub.stream.log import Cursor
from datahub.stream.reader import Bounds, Policy, Reader
from datahub.stream.selection import Item, Selection
from datahub.stream.topic import Topic
from quasar import errors
from quasar.clock import Clock
from quasar.rpc.wellknown import duration, seconds, timestamp_ns
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1 import stream_pb2

SHORTEST_FLUSH_S: Final = 0.01
USUAL_HEARTBEAT_S: Final = 10.0
USUAL_WATCH_S: Final = 0.5
FORMING_S: Final = 0.2


@dataclass(slots=True)
class _Session:
    """A running stream."""

    session_id: str
    reader: Reader
    selection: Selection
    news: list[Item]
    """Items that were added or removed and not yet told."""
    ended: bool = False


class LiveService:
    """Answers from the hub, the board and the feeds."""

    def __init__(
        self, hub: Hub, board: PriceBoard, feeds: Feeds, ingest: LiveIngest, selectors: LiveSelectors, clock: Clock
    ) -> None:
        """Bring together what is streamed and where it is found."""
        self._hub = hub
        self._board = board
        self._feeds = feeds
        self._ingest = ingest
        self._selectors = selectors
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self.instance_id = secrets.token_hex(6)
        self.draining = asyncio.Event()
        """Set when the service stops; streams then end with their cursor."""

    async def publish_forming(self) -> None:
        """Publish forming bars that somebody reads, for ever."""
        while True:
            await self._clock.sleep(FORMING_S)
            self._ingest.close_bars()
            if self._sessions:
                wanted = frozenset[Topic]().union(*(each.reader.topics for each in self._sessions.values()))
                self._ingest.forming(wanted)

    async def drain(self, draining: asyncio.Event) -> None:
        """Wait for the service to stop, then let every stream know."""
        await draining.wait()
        self.draining.set()
        self._hub.wake_all()

    # Streams.

    async def stream_market_data(self, request: pb.StreamMarketDataRequest) -> AsyncGenerator[bytes, None]:
        """Yield encoded envelopes until the client leaves, is too slow, or the service stops."""
        selection = await self._selectors.selection(request.selectors)
        conflate = request.delivery_policy == stream_pb2.DELIVERY_POLICY_CONFLATE
        reader = self._hub.join(selection.topics, Policy.CONFLATE if conflate else Policy.LOSSLESS)
        session = self._open(request.session_id, reader, selection)
        try:
            async for message in self._envelopes(request, session):
                yield message
        finally:
            self._hub.leave(session.reader)
            if self._sessions.get(session.session_id) is session:
                del self._sessions[session.session_id]

    def _open(self, wanted_id: str, reader: Reader, selection: Selection) -> _Session:
        session = _Session(wanted_id or secrets.token_hex(8), reader, selection, [])
        former = self._sessions.get(session.session_id)
        if former is not None:
            former.ended = True
            former.reader.wake()
        self._sessions[session.session_id] = session
        return session

    async def _envelopes(self, request: pb.StreamMarketDataRequest, session: _Session) -> AsyncGenerator[bytes, None]:
        reader = session.reader
        flush_s = max(SHORTEST_FLUSH_S, seconds(request.flush_interval))
        heartbeat_s = seconds(request.heartbeat_interval) or USUAL_HEARTBEAT_S
        first, payload = self._beginning(request, session, flush_s, heartbeat_s)
        sequence = 1
        yield self._envelope(sequence, reader.position, first, payload)
        beaten = self._clock.monotonic()
        while True:
            there = await reader.wait(heartbeat_s)
            if session.ended:
                raise errors.Aborted("Another stream with the same session_id has taken over.")
            portion = reader.take()
            extra = self._news(session)
            if not there or self._clock.monotonic() - beaten > 6 * heartbeat_s:
                extra.heartbeats.append(self._heartbeat(session))
                beaten = self._clock.monotonic()
            if self.draining.is_set():
                cursor = Cursor(self._hub.log.epoch, reader.position)
                extra.draining.add(cursor=str(cursor), retry_after=duration(1.0))
                yield self._envelope(sequence + 1, reader.position, extra, portion.payload if portion else b"")
                raise errors.Draining(metadata={"cursor": str(cursor)}, retry_after_s=1.0)
            if portion is None and not extra.ByteSize():
                continue
            sequence += 1
            yield self._envelope(sequence, reader.position, extra, portion.payload if portion else b"")
            if flush_s > SHORTEST_FLUSH_S:
                await self._clock.sleep(flush_s)

    def _beginning(
        self, request: pb.StreamMarketDataRequest, session: _Session, flush_s: float, heartbeat_s: float
    ) -> tuple[pb.StreamMarketDataResponse, bytes]:
        """Return what the first envelope tells: what was agreed, who is who, and the past that was asked for."""
        reader, bounds = session.reader, Bounds()
        first = pb.StreamMarketDataResponse()
        first.opened.add(
            session_id=session.session_id,
            instance_id=self.instance_id,
            flush_interval=duration(flush_s),
            heartbeat_interval=duration(heartbeat_s),
            buffer_bytes=bounds.max_bytes,
            buffer_age=duration(bounds.max_age_ns / 1e9),
        )
        self._announce(first, session.selection.all())
        payload, phase = self._past(request, reader)
        if phase:
            first.completed_phases.add(phase=phase, selector_ids=list(session.selection.items))
        return first, payload

    def _past(self, request: pb.StreamMarketDataRequest, reader: Reader) -> tuple[bytes, Any]:
        kind = request.WhichOneof("start")
        log = self._hub.log
        if kind == "snapshot" and request.snapshot:
            return self._hub.snapshot(reader.topics), stream_pb2.STREAM_PHASE_SNAPSHOT
        if kind == "cursor":
            cursor = Cursor.parse(request.cursor)
        elif kind == "start_time":
            cursor = Cursor(log.epoch, log.position_at(request.start_time.ToNanoseconds()))
        elif kind == "last_count":
            cursor = Cursor(log.epoch, log.last_rows(reader.topics, request.last_count))
        else:
            return b"", None
        payload, _ = self._hub.replay(reader.topics, cursor)
        return payload, stream_pb2.STREAM_PHASE_REPLAY

    def _announce(self, message: pb.StreamMarketDataResponse, items: Iterable[Item]) -> None:
        told = list(items)
        message.series.extend(live_messages.infos(told))
        message.statuses.extend(live_messages.status_message(item, self._state(item.live)) for item in told)

    def _news(self, session: _Session) -> pb.StreamMarketDataResponse:
        extra = pb.StreamMarketDataResponse()
        if session.news:
            self._announce(extra, session.news)
            session.news.clear()
        if session.reader.drops:
            extra.dropped.extend(live_messages.dropped(session.reader.reported()))
        return extra

    def _heartbeat(self, session: _Session) -> stream_pb2.StreamHeartbeat:
        providers = {item.live.name.provider for item in session.selection.all() if item.live}
        now, oldest = self._clock.time_ns(), session.reader.oldest_ns
        return stream_pb2.StreamHeartbeat(
            server_time_ns=now,
            queued_bytes=session.reader.queued_bytes,
            queued_age_ns=now - oldest if oldest else 0,
            feeds=[
                live_messages.feed_health(feed.facts, len(feed.series), self._clock)
                for provider in sorted(providers)
                if (feed := self._feeds.running.get(provider)) is not None
            ],
        )

    def _envelope(self, sequence: int, position: int, message: pb.StreamMarketDataResponse, payload: bytes) -> bytes:
        cursor = Cursor(self._hub.log.epoch, position)
        return envelope(sequence, cursor, self._clock.time_ns(), message.SerializeToString(), payload)

    def _state(self, live: LiveSeries | None) -> FeedState:
        if live is None:
            return FeedState.UNSPECIFIED
        facts = self._feeds.facts_of(live.name)
        now = self._clock.time_ns()
        if facts is None:
            return FeedState.DOWN
        return facts.symbol_state(live.name.symbol, self._ingest.last_row_ns(live.ticks.series_id), now)

    async def update_subscriptions(self, request: pb.UpdateSubscriptionsRequest) -> pb.UpdateSubscriptionsResponse:
        """Change the selection of a running stream."""
        session = self._sessions.get(request.session_id)
        if session is None:
            raise errors.NotFound(
                f"No stream of this DataHub has the session {request.session_id!r}; it stands in the first envelope.",
                resource=errors.Resource("session", request.session_id),
            )
        added = await self._selectors.selection(request.add, taken=frozenset(session.selection.items))
        for selector_id in request.remove_selector_ids:
            session.selection.items.pop(selector_id, None)
        session.selection.items.update(added.items)
        session.news.extend(added.all())
        self._hub.change(session.reader, session.selection.topics)
        session.reader.wake()
        return pb.UpdateSubscriptionsResponse(selector_ids=list(session.selection.items))

    async def get_replay_window(self, request: pb.GetReplayWindowRequest) -> pb.GetReplayWindowResponse:
        """Say how far back a stream can start."""
        log = self._hub.log
        answer = pb.GetReplayWindowResponse(
            epoch=log.epoch,
            earliest_cursor=str(log.earliest),
            latest_cursor=str(log.head),
            size_bytes=log.size_bytes,
            latest_time=timestamp_ns(self._clock.time_ns()),
        )
        if log.earliest_time_ns:
            answer.earliest_time.CopyFrom(timestamp_ns(log.earliest_time_ns))
        if request.HasField("time"):
            answer.time_cursor = str(Cursor(log.epoch, log.position_at(request.time.ToNanoseconds())))
        return answer

    # Prices.

    async def watch_prices(self, request: pb.WatchPricesRequest) -> AsyncGenerator[pb.WatchPricesResponse, None]:
        """Yield the prices of a watchlist: all at first, then those that changed."""
        interval_s = seconds(request.interval) or USUAL_WATCH_S
        heartbeat_s = seconds(request.heartbeat_interval) or USUAL_HEARTBEAT_S
        names, missing = await self._selectors.names(request.symbols)
        sequence, seen, told = 0, -1, 0.0
        while not self.draining.is_set():
            prices = self._prices(names, seen)
            seen = self._board.revision
            if prices or sequence == 0 or self._clock.monotonic() - told >= heartbeat_s:
                sequence += 1
                told = self._clock.monotonic()
                yield pb.WatchPricesResponse(
                    prices=prices,
                    missing=[pb.MissingItem(requested=name, message=why) for name, why in missing]
                    if sequence == 1
                    else [],
                    sequence=sequence,
                    time=timestamp_ns(self._clock.time_ns()),
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await self.draining.wait()
        raise errors.Draining(retry_after_s=1.0)

    async def get_latest_prices(self, request: pb.GetLatestPricesRequest) -> pb.GetLatestPricesResponse:
        """Return the latest prices."""
        names, missing = await self._selectors.names([request.symbols])
        return pb.GetLatestPricesResponse(
            prices=self._prices(names, -1),
            missing=[pb.MissingItem(requested=name, message=why) for name, why in missing],
        )

    async def list_top_movers(self, request: pb.ListTopMoversRequest) -> pb.ListTopMoversResponse:
        """Rank live symbols by their change since the session opened."""
        if request.HasField("symbols"):
            names, _ = await self._selectors.names([request.symbols])
        else:
            names = list(self._feeds.symbols.current)
        prices = [price for price in self._prices(names, -1) if price.HasField("change_ratio")]
        prices.sort(key=lambda price: -abs(price.change_ratio))
        answer = pb.ListTopMoversResponse(time=timestamp_ns(self._clock.time_ns()))
        for rank, price in enumerate(prices[: request.limit or 20], start=1):
            answer.movers.add(rank=rank, price=price, ranked_value=price.change_ratio)
        return answer

    def _prices(self, names: Iterable[LiveName], after_revision: int) -> list[Any]:
        now = self._clock.time_ns()
        found = []
        for name in names:
            live = self._feeds.symbols.current.get(name)
            quote = self._board.quotes.get(live.ticks.series_id) if live else None
            if live is not None and quote is not None and quote.revision > after_revision:
                found.append(live_messages.price_message(quote, live, self._state(live), now))
        return found
