"""NATS JetStream between replicas: one publishes what its feeds bring, all of them read everything in one order.

The number that JetStream gives a message is the front part of the position of each entry in it, and the life of the
stream is the epoch: a cursor of one replica is good at every other, and after a restart of all of them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Any, Final

import nats
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DeliverPolicy, DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from datahub.bus.outbox import Outbox
from datahub.bus.packing import packed, unpacked
from datahub.live.prices import PriceBoard
from datahub.live.remote import RemoteFeeds
from datahub.stream.envelope import payload_of
from datahub.stream.hub import Hub
from datahub.stream.log import Entry
from datahub.stream.topic import TICK_CONTENTS, Topic
from quasar import errors, logs
from quasar.clock import Clock
from quasar.convert.columns import decode_ticks

STREAM: Final = "QUASAR_LIVE"
SUBJECT: Final = "quasar.live"
FEEDS_SUBJECT: Final = "quasar.feeds"
SESSIONS_SUBJECT: Final = "quasar.sessions"
ASK_S: Final = 4.0
"""So long a replica may take to answer."""
BUFFER_BYTES: Final = 256 * 1024 * 1024
"""What waits while the bus is away, unless it is set otherwise."""
FLUSH_S: Final = 0.005
"""Entries are gathered for so long."""
LARGEST_INBOX: Final = 256 * 1024 * 1024
"""Bytes that the library holds for this replica while it does not get to reading."""
AGAIN_S: Final = 0.5
TELL_S: Final = 1.0
"""The state of feeds is told so often."""
HEARTBEAT_S: Final = 1.0
"""The server says so often that it is there; after two that are missing reading begins anew."""
SHIFT: Final = 16
"""Bits of a position that number the entries of one message."""

_MOST: Final = (1 << SHIFT) - 2
_INSTANCE: Final = "Quasar-Instance"
_PASSING: Final = (NatsError, OSError, TimeoutError)
_log = logs.get(__name__)


class JetStreamBus:
    """The bus of one replica."""

    def __init__(
        self,
        connection: Any,
        *,
        epoch: int,
        first: int,
        last: int,
        clock: Clock,
        buffer_bytes: int,
        instance: str | None = None,
    ) -> None:
        """Use an open connection; `open_bus` makes one.

        Args:
            connection: The connection to the server.
            epoch: The life of the stream.
            first: Number of the first message that the stream has.
            last: Number of the last one.
            clock: The time.
            buffer_bytes: What waits while the bus is away; what comes beyond is told as a hole.
            instance: Tells replicas apart.
        """
        self.epoch = epoch
        self.start = ((first - 1) << SHIFT) + _MOST + 1 if first > 1 else 0
        """Position before the first entry that is kept."""
        self.remote = RemoteFeeds()
        self.caught_up = asyncio.Event()
        """Set when everything that was there at the start has been read."""
        self._connection = connection
        self._stream = connection.jetstream(timeout=5.0)
        self._following = max(1, first)
        """Number of the next message."""
        self._last = last
        self._clock = clock
        self._instance = instance or secrets.token_hex(6)
        self.room = asyncio.Event()
        """Set when live data goes out again of which something was left out: ask the outbox for the holes."""
        self.outbox = Outbox(buffer_bytes, self.room.set)
        self.missed_messages = 0
        """Messages that the bus had dropped before this replica read them."""
        self._sent = 0
        self._unanswered: list[Entry] = []
        """On its way; nobody knows whether the bus has it."""

    def publish(self, topic: Topic, field: bytes, rows: int) -> None:
        """Publish one encoded chunk; it comes back over the bus, also to this replica."""
        self.outbox.put(Entry(0, topic, field, rows, self._clock.time_ns()))

    def forget(self, series_ids: Iterable[int]) -> None:
        """Nothing: another replica may go on with them."""

    async def send(self) -> None:
        """Send what is published, for ever and in order; what cannot be sent is kept and tried again."""
        while True:
            await self._clock.sleep(FLUSH_S)
            await self._send_all()

    async def _send_all(self) -> None:
        while self._unanswered or self.outbox:
            if not self._unanswered:
                self._unanswered = self.outbox.take(_MOST)
                self._sent += 1
            await self._send_one(self._unanswered)
            self.outbox.done(self._unanswered)
            self._unanswered = []

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
                    _log.warning("live data waits for the bus", problem=str(error), bytes=self.outbox.waiting_bytes)
                    told = True
                await self._clock.sleep(AGAIN_S)

    async def read(self, hub: Hub, board: PriceBoard) -> None:
        """Hand everything on the bus to the readers of this replica, for ever.

        Raises:
            FailedPrecondition: The stream is gone, or another one is in its place.
        """
        async with aclosing(self._messages()) as messages:
            async for number, instance, payload in messages:
                if number > self._following:
                    _log.error("the bus has dropped what was not read in time", messages=number - self._following)
                    self.missed_messages += number - self._following
                    hub.break_off(number << SHIFT)
                self._following = number + 1
                for place, entry in enumerate(_read(payload), start=1):
                    self._take(entry, (number << SHIFT) + place, hub, None if instance == self._instance else board)
                if number >= self._last:
                    self.caught_up.set()

    def _take(self, entry: Entry, position: int, hub: Hub, board: PriceBoard | None) -> None:
        hub.receive(entry.topic, entry.field, entry.rows, entry.time_ns, position)
        if board is not None and entry.topic.content in TICK_CONTENTS:
            self.remote.rows_ns[entry.topic.series_id] = self._clock.time_ns()
            _show(board, entry)

    async def _messages(self) -> AsyncGenerator[tuple[int, str, bytes], None]:
        """Yield the number, the replica and the bytes of each message, each once and in order."""
        while True:
            try:
                await self._look()
                subscription = await self._stream.subscribe(
                    SUBJECT,
                    ordered_consumer=True,
                    config=_begin(self._following),
                    idle_heartbeat=HEARTBEAT_S,
                    pending_bytes_limit=LARGEST_INBOX,
                )
                try:
                    async for message in subscription.messages:
                        number = message.metadata.sequence.stream
                        if number >= self._following:
                            yield number, (message.headers or {}).get(_INSTANCE, ""), message.data
                finally:
                    with suppress(*_PASSING):
                        await subscription.unsubscribe()
            except _PASSING as error:
                _log.warning("the bus is read again soon", problem=str(error))
            await self._clock.sleep(AGAIN_S)

    async def _look(self) -> None:
        """Make sure that the stream is the one whose numbers this replica goes on with, before it is read."""
        try:
            info = await self._connection.jsm(timeout=5.0).stream_info(STREAM)
        except NotFoundError:
            info = None
        if info is None or _epoch(info) != self.epoch:
            raise errors.FailedPrecondition(
                "The stream of the bus is gone, and with it what its cursors stand for; start every DataHub again."
            )
        if not info.state.messages or info.state.first_seq > self._last:
            self.caught_up.set()  # what was there at the start has grown too old

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
            try:
                told = json.loads(message.data)
                if told["instance"] != self._instance and self.remote.hear(told["feeds"], self._clock.time_ns()):
                    changed()
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                _log.warning("what was told of feeds cannot be read", problem=repr(error))

    async def ask(self, question: bytes) -> bytes | None:
        """Return the answer of the first replica that has one; None: none has, or the bus is away."""
        try:
            return bytes((await self._connection.request(SESSIONS_SUBJECT, question, timeout=ASK_S)).data)
        except _PASSING:
            return None

    async def say(self, word: bytes) -> None:
        """Tell all replicas something that nobody answers."""
        with suppress(*_PASSING):
            await self._connection.publish(SESSIONS_SUBJECT, word)

    async def answer(self, answer: Callable[[bytes], Awaitable[bytes | None]]) -> None:
        """Answer what replicas ask and hear what they say, for ever; None is no answer."""

        async def one(message: Any) -> None:
            found = await answer(message.data)
            if found is not None and message.reply:
                with suppress(*_PASSING):
                    await message.respond(found)

        subscription = await self._connection.subscribe(SESSIONS_SUBJECT)
        async with asyncio.TaskGroup() as group:
            async for message in subscription.messages:
                group.create_task(one(message), name="a question of another replica")

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


def _read(payload: bytes) -> list[Entry]:
    """Return the entries of a message; none when it is not one of ours."""
    try:
        return list(unpacked(payload))
    except (struct.error, ValueError) as error:
        _log.error("a message of the bus cannot be read", problem=str(error), bytes=len(payload))
        return []


def _epoch(info: Any) -> int:
    """Return the life of a stream: when it was made, in milliseconds."""
    return int(info.created.timestamp() * 1000) if info.created is not None else 0


def _show(board: PriceBoard, entry: Entry) -> None:
    board.update(entry.topic.series_id, decode_ticks(payload_of(entry.field)).columns)


async def open_bus(
    url: str,
    clock: Clock,
    *,
    buffer_bytes: int = BUFFER_BYTES,
    max_bytes: int = 1024 * 1024 * 1024,
    max_age_s: float = 900.0,
    patience_s: float = 30.0,
) -> JetStreamBus:
    """Connect, and make the stream that carries live data when it is missing.

    Args:
        url: `nats://host:port`, with user and password or token if the server wants them; several, by commas.
        clock: The time.
        buffer_bytes: What waits while the bus is away; what comes beyond is told as a hole.
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
    return JetStreamBus(
        connection,
        epoch=_epoch(info),
        first=state.first_seq,
        last=state.last_seq,
        clock=clock,
        buffer_bytes=buffer_bytes,
    )


async def _complain(error: Exception) -> None:
    _log.warning("the bus complains", problem=str(error) or type(error).__name__)
