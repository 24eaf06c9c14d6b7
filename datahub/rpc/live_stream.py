"""`StreamMarketData`: one running stream, from what was agreed to its last envelope."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import Final, Protocol

from datahub.live.ingest import LiveIngest
from datahub.live.symbols import LiveSeries
from datahub.rpc import live_messages
from datahub.rpc.live_sessions import Session
from datahub.stream.batch import Past, Portion
from datahub.stream.envelope import envelope, numbered
from datahub.stream.hub import FLUSH_S, Hub
from datahub.stream.log import Cursor
from datahub.stream.reader import Policy
from datahub.stream.selection import Item
from quasar import errors
from quasar.clock import Clock
from quasar.rpc.wellknown import duration, seconds
from quasar_proto.datahub.v1 import feed_pb2, stream_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

USUAL_FLUSH_S: Final = {Policy.LOSSLESS: 0.02, Policy.CONFLATE: 0.1}
USUAL_HEARTBEAT_S: Final = 10.0
_BUSY_HEARTBEATS: Final = 6
"""A busy stream has a heartbeat each time that so many idle ones would have had one."""

_Key = tuple[str, str, int]


def flush_seconds(request: pb.StreamMarketDataRequest, policy: Policy) -> float:
    """Return for how long data is gathered for a stream: whole looks of the hub, so that streams share flushes."""
    return max(1, round((seconds(request.flush_interval) or USUAL_FLUSH_S[policy]) / FLUSH_S)) * FLUSH_S


class FeedView(Protocol):
    """What a stream knows of feeds."""

    @property
    def revision(self) -> int:
        """Grows whenever the state of a feed or of a symbol changes."""
        ...

    @property
    def symbols_revision(self) -> int:
        """Grows whenever other symbols are live."""
        ...

    async def follow(self, session: Session) -> None:
        """Bring the selection of a session up to date with the symbols that are live."""
        ...

    def symbol_status(self, live: LiveSeries) -> live_messages.SymbolStatus:
        """Return how the feed of a symbol is."""
        ...

    def health(self, symbols: Iterable[LiveSeries]) -> list[feed_pb2.FeedHealth]:
        """Return how the feeds of some symbols are."""
        ...


class MarketDataStream:
    """Writes the envelopes of one session."""

    def __init__(
        self,
        request: pb.StreamMarketDataRequest,
        session: Session,
        hub: Hub,
        ingest: LiveIngest,
        feeds: FeedView,
        clock: Clock,
        draining: asyncio.Event,
        instance_id: str,
        symbols_revision: int,
    ) -> None:
        """Prepare the stream.

        Args:
            request: What was asked for.
            session: Its reader and selection.
            hub: What is published.
            ingest: Makes forming bars.
            feeds: How feeds are.
            clock: The time.
            draining: Set when the service stops.
            instance_id: The process that answers.
            symbols_revision: Of the symbols that the selection was made from.
        """
        self._request = request
        self._session = session
        self._hub = hub
        self._ingest = ingest
        self._feeds = feeds
        self._clock = clock
        self._draining = draining
        self._instance_id = instance_id
        self._heartbeat_s = seconds(request.heartbeat_interval) or USUAL_HEARTBEAT_S
        self._revision = feeds.revision
        self._symbols_revision = symbols_revision
        if symbols_revision != feeds.symbols_revision:
            session.reader.wake()
        self._told: dict[_Key, bytes] = {}
        self._sent = self._beaten = 0.0

    async def envelopes(self) -> AsyncGenerator[bytes, None]:
        """Yield encoded envelopes until the client is too slow, another stream takes over, or the service stops."""
        reader, clock = self._session.reader, self._clock
        self._begin()
        for written in self._before(self._opening()):
            yield written
        self._sent = self._beaten = clock.monotonic()
        while True:
            await reader.wait(self._sent + self._heartbeat_s - clock.monotonic())
            portion = reader.take() if self._undisturbed() else None
            if portion is not None:
                yield self._data(portion)
                self._sent = clock.monotonic()
                continue
            news = await self._look_around()
            if news is not None and self._session.begins:
                for written in self._before(news):
                    yield written
                news = None
            portion = reader.take()
            news = self._with_heartbeat(news)
            if self._draining.is_set():
                yield self._last(news, portion)
                raise errors.Draining(metadata={"cursor": str(self._hub.cursor_of(reader))}, retry_after_s=1.0)
            if portion is None and news is None:
                continue
            yield self._envelope(self._hub.cursor_of(reader), news, portion.payload if portion else b"")
            self._sent = clock.monotonic()

    def _undisturbed(self) -> bool:
        """Tell whether there can be nothing but data to write, as is so nearly always; asked for each envelope."""
        session, feeds = self._session, self._feeds
        return not (
            session.ended
            or session.begins
            or session.news
            or session.removed
            or session.described
            or session.reader.missed_something
            or self._draining.is_set()
            or feeds.revision != self._revision
            or feeds.symbols_revision != self._symbols_revision
            or self._clock.monotonic() - self._beaten >= _BUSY_HEARTBEATS * self._heartbeat_s
        )

    def _data(self, portion: Portion) -> bytes:
        """Return the envelope of a portion alone; all readers of one batch share all of it but the number."""
        if portion.batch is None:
            return self._envelope(self._hub.cursor_of(self._session.reader), None, portion.payload)
        self._session.sequence += 1
        return numbered(self._session.sequence, portion.batch.sealed)

    async def _look_around(self) -> pb.StreamMarketDataResponse | None:
        """Follow what changed beside the data, and return what is to be told of it, if anything.

        Raises:
            Aborted: Another stream took over.
        """
        if self._session.ended:
            raise errors.Aborted("Another stream with the same session_id has taken over.")
        if self._feeds.symbols_revision != self._symbols_revision:
            self._symbols_revision = self._feeds.symbols_revision
            await self._feeds.follow(self._session)
        return self._news()

    def _with_heartbeat(self, news: pb.StreamMarketDataResponse | None) -> pb.StreamMarketDataResponse | None:
        now = self._clock.monotonic()
        silent = now - self._sent >= self._heartbeat_s
        if not silent and now - self._beaten < _BUSY_HEARTBEATS * self._heartbeat_s:
            return news
        self._beaten = now
        news = news or pb.StreamMarketDataResponse()
        self._tell_changes(news)  # time alone makes a symbol quiet
        news.heartbeats.append(self._heartbeat())
        return news

    def _begin(self) -> None:
        """Find the past that was asked for; nothing was awaited since the reader joined, so there is no seam."""
        request, log, session = self._request, self._hub.log, self._session
        topics = session.reader.topics
        kind, phase = request.WhichOneof("start"), stream_pb2.STREAM_PHASE_REPLAY
        if kind is None or (kind == "snapshot" and request.snapshot):
            self._ingest.forming(topics)
            found, phase = self._hub.snapshot(topics), stream_pb2.STREAM_PHASE_SNAPSHOT
        elif kind == "cursor":
            found = self._hub.replay(topics, Cursor.parse(request.cursor))
        elif kind == "start_time":
            found = self._hub.replay(topics, log.cursor_at(request.start_time.ToNanoseconds()))
        elif kind == "last_count":
            found = self._hub.replay_last(topics, request.last_count)
        else:
            return
        session.past.extend(found)
        session.phase = (phase, tuple(session.selection.items))

    def _opening(self) -> pb.StreamMarketDataResponse:
        bounds = self._session.reader.bounds
        first = pb.StreamMarketDataResponse()
        first.opened.add(
            session_id=self._session.session_id,
            instance_id=self._instance_id,
            flush_interval=duration(self._session.reader.flush_s),
            heartbeat_interval=duration(self._heartbeat_s),
            buffer_bytes=bounds.max_bytes,
            buffer_age=duration(bounds.max_age_ns / 1e9),
        )
        self._announce(first, self._session.selection.all())
        return first

    def _before(self, message: pb.StreamMarketDataResponse) -> Iterable[bytes]:
        """Return the envelopes of a message and of the past that stands behind it; the last one ends the phase."""
        session = self._session
        portions, session.past = session.past or deque([Past(())]), deque()
        phase, session.phase = session.phase, None
        while portions:
            portion, cursor = portions.popleft(), session.reader.cursor
            if not portions:
                if phase is not None:
                    message.completed_phases.add(phase=phase[0], selector_ids=phase[1])
            elif phase is not None and phase[0] == stream_pb2.STREAM_PHASE_REPLAY:
                cursor = Cursor(cursor.epoch, portion.last_position)
            yield self._envelope(cursor, message, portion.payload)
            message = pb.StreamMarketDataResponse()

    def _news(self) -> pb.StreamMarketDataResponse | None:
        """Return what is to be told beside data, if anything."""
        session = self._session
        changed = self._feeds.revision != self._revision
        drops = session.reader.reported() if session.reader.missed_something else None
        if not (changed or drops or session.news or session.removed or session.described or session.begins):
            return None
        news = pb.StreamMarketDataResponse()
        for item in session.removed:
            self._told.pop(_key(item), None)
            news.statuses.append(live_messages.removed_message(item))
        news.series.extend(live_messages.infos(session.described))
        self._announce(news, session.news)
        session.news, session.removed, session.described = [], [], []
        if changed:
            self._revision = self._feeds.revision
            self._tell_changes(news)
        news.dropped.extend(live_messages.dropped(drops or {}))
        return news if news.ByteSize() or session.begins else None

    def _announce(self, message: pb.StreamMarketDataResponse, items: Iterable[Item]) -> None:
        told = list(items)
        message.series.extend(live_messages.infos(told))
        for item in told:
            self._tell(message, item)

    def _tell_changes(self, message: pb.StreamMarketDataResponse) -> None:
        for item in self._session.selection.all():
            self._tell(message, item, only_changed=True)

    def _tell(self, message: pb.StreamMarketDataResponse, item: Item, *, only_changed: bool = False) -> None:
        status = live_messages.status_message(item, self._feeds.symbol_status(item.live) if item.live else None)
        written = status.SerializeToString()
        if only_changed and self._told.get(_key(item)) == written:
            return
        self._told[_key(item)] = written
        message.statuses.append(status)

    def _heartbeat(self) -> stream_pb2.StreamHeartbeat:
        symbols = {item.live.name: item.live for item in self._session.selection.all() if item.live}
        reader, now = self._session.reader, self._clock.time_ns()
        return stream_pb2.StreamHeartbeat(
            server_time_ns=now,
            queued_bytes=reader.queued_bytes,
            queued_age_ns=now - reader.oldest_ns if reader.oldest_ns else 0,
            feeds=self._feeds.health(symbols.values()),
        )

    def _last(self, news: pb.StreamMarketDataResponse | None, portion: Portion | None) -> bytes:
        """Return the envelope after which the service stops."""
        cursor = self._hub.cursor_of(self._session.reader)
        news = news or pb.StreamMarketDataResponse()
        news.draining.add(cursor=str(cursor), retry_after=duration(1.0))
        return self._envelope(cursor, news, portion.payload if portion else b"")

    def _envelope(self, cursor: Cursor, message: pb.StreamMarketDataResponse | None, payload: bytes) -> bytes:
        self._session.sequence += 1
        head = message.SerializeToString() if message is not None else b""
        return envelope(self._session.sequence, cursor, self._clock.time_ns(), head, payload)


def _key(item: Item) -> _Key:
    return item.selector_id, item.requested, int(item.content)
