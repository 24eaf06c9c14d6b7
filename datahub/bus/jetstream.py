"""NATS JetStream between replicas: one publishes what its feeds bring, all of them read everything in one order.

The number that JetStream gives a message is the front part of the position of each entry in it, and the life of the
stream is the epoch: a cursor of one replica is good at every other, and after a restart of all of them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import nats
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DeliverPolicy, DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from datahub.bus.outlet import RemoteFeeds
from datahub.bus.packing import packed, unpacked
from datahub.live.prices import PriceBoard
from datahub.stream.hub import Hub
from datahub.stream.log import Entry
from datahub.stream.topic import Content, Topic
from quasar import errors, logs
from quasar.clock import Clock
from quasar.convert.columns import decode_ticks
from quasar.convert.wire import read_fields

STREAM: Final = "QUASAR_LIVE"
SUBJECT: Final = "quasar.live"
FEEDS_SUBJECT: Final = "quasar.feeds"
FLUSH_S: Final = 0.005
"""Entries are gathered for so long."""
LARGEST_MESSAGE: Final = 256 * 1024
"""Bytes of one message; servers take one MiB unless they are told otherwise."""
LARGEST_OUTBOX: Final = 256 * 1024 * 1024
"""Bytes that wait while the bus is away; what comes beyond is told as a hole."""
AGAIN_S: Final = 0.5
TELL_S: Final = 1.0
"""The state of feeds is told so often."""
HEARTBEAT_S: Final = 1.0
"""The server says so often that it is there; after two that are missing reading begins anew."""
SHIFT: Final = 16
"""Bits of a position that number the entries of one message."""

_MOST: Final = (1 << SHIFT) - 2
_INSTANCE: Final = "Quasar-Instance"
_TICKS: Final = frozenset({Content.TRADES, Content.QUOTES, Content.BOOK_TOP})
_PASSING: Final = (NatsError, OSError, TimeoutError)
_log = logs.get(__name__)


class JetStreamBus:
    """The bus of one replica."""

    def __init__(
        self, connection: Any, *, epoch: int, first: int, last: int, clock: Clock, instance: str | None = None
    ) -> None:
        """Use an open connection; `open_bus` makes one.

        Args:
            connection: The connection to the server.
            epoch: The life of the stream.
            first: Number of the first message that the stream has.
            last: Number of the last one.
            clock: The time.
            instance: Tells replicas apart.
        """
        self.epoch = epoch
        self.start = ((first - 1) << SHIFT) + _MOST + 1 if first > 1 else 0
        """Position before the first entry that is kept."""
        self.remote = RemoteFeeds()
        self.refused_rows = 0
        """Rows that no reader got because the bus was away for too long."""
        self.caught_up = asyncio.Event()
        """Set when everything that was there at the start has been read."""
        self._connection = connection
        self._stream = connection.jetstream(timeout=5.0)
        self._last = last
        self._clock = clock
        self._instance = instance or secrets.token_hex(6)
        self._outbox: deque[Entry] = deque()
        self._bytes = 0
        self._sent = 0
        self._unanswered: list[Entry] = []
        """On its way; nobody knows whether the bus has it."""
        self._holes: set[int] = set()

    def publish(self, topic: Topic, field: bytes, rows: int) -> None:
        """Publish one encoded chunk; it comes back over the bus, also to this replica."""
        if self._bytes + len(field) > LARGEST_OUTBOX:
            if not self._holes:
                _log.error("live data is left out: the bus is away for too long", waiting_bytes=self._bytes)
            self._holes.add(topic.series_id)
            self.refused_rows += rows
            return
        self._outbox.append(Entry(0, topic, field, rows, self._clock.time_ns()))
        self._bytes += len(field)

    def forget(self, series_ids: Iterable[int]) -> None:
        """Nothing: another replica may go on with them."""

    def take_holes(self) -> set[int]:
        """Return the series of which something was left out since the last time."""
        found, self._holes = self._holes, set()
        return found

    async def send(self) -> None:
        """Send what is published, for ever and in order; what cannot be sent is kept and tried again."""
        while True:
            await self._clock.sleep(FLUSH_S)
            await self._send_all()

    async def _send_all(self) -> None:
        while self._unanswered or self._outbox:
            if not self._unanswered:
                self._unanswered = self._next_message()
                self._sent += 1
            await self._send_one(self._unanswered)
            self._bytes -= sum(len(one.field) for one in self._unanswered)
            self._unanswered = []

    def _next_message(self) -> list[Entry]:
        taken, size = [self._outbox.popleft()], 0
        while self._outbox and len(taken) < _MOST and size + len(self._outbox[0].field) < LARGEST_MESSAGE:
            taken.append(self._outbox.popleft())
            size += len(taken[-1].field)
        return taken

    async def _send_one(self, entries: list[Entry]) -> None:
        # The server takes a message with the same id once, so an answer that was lost does no harm.
        headers = {_INSTANCE: self._instance, "Nats-Msg-Id": f"{self._instance}.{self._sent}"}
        payload, told = packed(entries), False
        while True:
            try:
                await self._stream.publish(SUBJECT, payload, headers=headers)
                break
            except _PASSING as error:
                if not told:
                    _log.warning("live data waits for the bus", problem=str(error), waiting_bytes=self._bytes)
                    told = True
                await self._clock.sleep(AGAIN_S)

    async def read(self, hub: Hub, board: PriceBoard) -> None:
        """Hand everything on the bus to the readers of this replica, for ever."""
        if not self._last:
            self.caught_up.set()
        async for number, instance, payload in self._messages():
            own = instance == self._instance
            for place, entry in enumerate(unpacked(payload), start=1):
                position = (number << SHIFT) + place
                hub.receive(entry.topic, entry.field, entry.rows, entry.time_ns, position)
                if not own and entry.topic.content in _TICKS:
                    self.remote.rows_ns[entry.topic.series_id] = self._clock.time_ns()
                    _show(board, entry)
            if number >= self._last:
                self.caught_up.set()

    async def _messages(self) -> AsyncIterator[tuple[int, str, bytes]]:
        """Yield the number, the replica and the bytes of each message, each once and in order."""
        following = 1
        while True:
            try:
                subscription = await self._stream.subscribe(
                    SUBJECT,
                    ordered_consumer=True,
                    config=_begin(following),
                    idle_heartbeat=HEARTBEAT_S,
                    pending_bytes_limit=LARGEST_OUTBOX,
                )
                try:
                    async for message in subscription.messages:
                        number = message.metadata.sequence.stream
                        if number < following:
                            continue
                        following = number + 1
                        yield number, (message.headers or {}).get(_INSTANCE, ""), message.data
                finally:
                    with suppress(*_PASSING):
                        await subscription.unsubscribe()
            except _PASSING as error:
                _log.warning("the bus is read again soon", problem=str(error))
            await self._clock.sleep(AGAIN_S)

    async def tell_feeds(self, told: Callable[[], dict[str, Any]]) -> None:
        """Tell the other replicas how the feeds of this one are, for ever."""
        while True:
            await self._clock.sleep(TELL_S)
            feeds = told()
            if feeds:
                text = json.dumps({"instance": self._instance, "feeds": feeds})
                with suppress(*_PASSING):
                    await self._connection.publish(FEEDS_SUBJECT, text.encode())

    async def hear_feeds(self, changed: Callable[[], None]) -> None:
        """Hear how the feeds of the other replicas are, for ever."""
        subscription = await self._connection.subscribe(FEEDS_SUBJECT)
        async for message in subscription.messages:
            told = json.loads(message.data)
            if told["instance"] == self._instance:
                continue
            for provider, facts in told["feeds"].items():
                before = self.remote.facts.get(provider, (0, {}))[1]
                self.remote.facts[provider] = self._clock.time_ns(), facts
                if any(before.get(name) != facts.get(name) for name in ("connected", "down", "refused")):
                    changed()

    async def close(self) -> None:
        """Send what waits, if the bus is there, and end."""
        with suppress(*_PASSING):
            async with asyncio.timeout(2.0):
                await self._send_all()
        with suppress(*_PASSING):
            await self._connection.close()


def _begin(following: int) -> Any:
    """Return where a consumer begins."""
    return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=following)


def _show(board: PriceBoard, entry: Entry) -> None:
    ((_, _, _, start, end),) = read_fields(entry.field)
    board.update(entry.topic.series_id, decode_ticks(entry.field[start:end]).columns)


async def open_bus(
    url: str,
    clock: Clock,
    *,
    max_bytes: int = 1024 * 1024 * 1024,
    max_age_s: float = 900.0,
    patience_s: float = 30.0,
) -> JetStreamBus:
    """Connect, and make the stream that carries live data when it is missing.

    Args:
        url: `nats://host:port`, with user and password or token if the server wants them; several, by commas.
        clock: The time.
        max_bytes: What a new stream keeps.
        max_age_s: For how long it keeps it, seconds.
        patience_s: How long a server is waited for, seconds.

    Raises:
        FailedPrecondition: Nobody answers there, or the server has no JetStream.
    """
    try:
        async with asyncio.timeout(patience_s):
            connection = await nats.connect(
                url.split(","),
                name="quasar-datahub",
                max_reconnect_attempts=-1,
                reconnect_time_wait=AGAIN_S,
                connect_timeout=5,
                error_cb=_complain,
            )
        manager = connection.jsm(timeout=5.0)
        try:
            info = await manager.stream_info(STREAM)
        except NotFoundError:
            info = await manager.add_stream(
                StreamConfig(
                    name=STREAM,
                    subjects=[SUBJECT],
                    retention=RetentionPolicy.LIMITS,
                    discard=DiscardPolicy.OLD,
                    max_bytes=max_bytes,
                    max_age=max_age_s,
                )
            )
    except (NatsError, OSError, TimeoutError) as error:
        raise errors.FailedPrecondition(
            f"QUASAR_BUS_URL must name a NATS server with JetStream (nats-server -js), but: {error}"
        ) from error
    state = info.state
    if info.created is None:
        raise errors.FailedPrecondition("QUASAR_BUS_URL must name a server that says when a stream was made")
    epoch = int(info.created.timestamp() * 1000)
    return JetStreamBus(connection, epoch=epoch, first=state.first_seq, last=state.last_seq, clock=clock)


async def _complain(error: Exception) -> None:
    _log.warning("the bus complains", problem=str(error) or type(error).__name__)
