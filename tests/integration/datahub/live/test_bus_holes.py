"""A bus that is away for longer than there is room for: what could not be carried is told, to readers everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np
import pytest

from datahub.live.prices import PriceBoard
from datahub.stream.hub import Hub
from datahub.stream.log import Cursor, LiveLog
from datahub.stream.reader import Policy
from datahub.stream.topic import Content, Topic
from quasar import errors
from quasar.clock import SystemClock
from quasar.convert.columns import decode_ticks
from quasar.database.pool import Database
from quasar.providers.market import MINUTE_NS
from quasar_proto.datahub.v1 import gap_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from tests.integration.datahub.live.client import TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market, stored_trades, stored_within, until_stored, without_a_hole
from tests.integration.datahub.live.replicas import NatsServer, Replicas
from tests.integration.datahub.live.torrent import STEP_NS, SYMBOL, TORRENT_ROWS, let_go, torrent
from tests.integration.services.conftest import Bearers

pytest.importorskip("nats", reason="the library nats-py is absent; install the extra `nats`")
from datahub.bus.jetstream import STREAM, SUBJECT, JetStreamBus, open_bus  # its library is optional

BARS = Topic(7, Content.CLOSED_BARS)
ROOM = 1024 * 1024
WANTED = symbols("torrent", SYMBOL, contents=(TRADES,))


class TimedClient(Client):
    """A client that also keeps when each trade was, and what was told in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[int, int] = {}
        """Event time of each trade, by id."""

    def take(self, envelope: pb.StreamMarketDataResponse) -> None:
        super().take(envelope)
        for chunk in envelope.ticks:
            ticks = decode_ticks(chunk.SerializeToString()).columns
            assert ticks.trade_id is not None
            self.times.update(zip(ticks.trade_id.tolist(), ticks.event_time_ns.tolist(), strict=True))

    def holes(self) -> list[tuple[int, int]]:
        """Return the event times of the first and of the last trade that is missing, of each hole."""
        ids = np.array(self.trades[SYMBOL])
        assert (np.diff(ids) > 0).all(), "in order, and nothing twice"
        at = np.flatnonzero(np.diff(ids) > 1)
        return [(self.times[int(ids[one])] + STEP_NS, self.times[int(ids[one + 1])] - STEP_NS) for one in at]

    def overloads(self) -> list[gap_pb2.Gap]:
        """Return what was told to be left out."""
        return [gap for gap in self.gaps if gap.cause == gap_pb2.GAP_CAUSE_OVERLOAD]

    def knows_every_hole(self) -> bool:
        """Tell whether each hole lies in a gap that was told."""
        told = self.overloads()
        return all(
            any(gap.start_time_ns <= first_ns and gap.end_time_ns > last_ns for gap in told)
            for first_ns, last_ns in self.holes()
        )


async def test_what_a_full_buffer_cannot_carry_is_a_gap_for_readers_of_every_replica_and_is_in_the_store(
    replicas: Replicas, nats: NatsServer, bearers: Bearers, database: Database
) -> None:
    await torrent(database, stored=True)
    first, _ = await replicas.one(bus_buffer_bytes=ROOM)
    here = Stream(first, bearers.viewer, TimedClient(), WANTED)
    await here.until(lambda: here.client.trades.get(SYMBOL))
    second, _ = await replicas.one(bus_buffer_bytes=ROOM)
    there = Stream(second, bearers.viewer, TimedClient(), WANTED)
    await there.until(lambda: there.client.trades.get(SYMBOL))

    await nats.kill()
    begun = there.client.trades[SYMBOL][-1]
    await let_go(first, bearers.operator)
    await until_stored(database, SYMBOL, begun + 60_000)  # far more than there is room for
    await nats.start()

    for stream in (here, there):
        client = stream.client
        assert isinstance(client, TimedClient)
        await stream.until(lambda: client.trades[SYMBOL][-1] > begun + TORRENT_ROWS)  # noqa: B023  # awaited here
        assert client.holes(), "there was no room for everything"
        await stream.until(client.knows_every_hole)
        told = client.overloads()
        # A gap begins with the longest bar of those that were left out, and is no wider.
        exact = [(first, last) for first, last in client.holes() for gap in told if _holds(gap, first, last)]
        assert exact
        assert {gap.state for gap in told} == {gap_pb2.GAP_STATE_UNREPAIRABLE}
        assert all("read what lies between from the store" in gap.evidence for gap in told)
        stream.call.cancel()
    assert without_a_hole(await stored_trades(database, SYMBOL))


async def test_what_a_datahub_took_in_and_could_not_publish_before_its_end_is_told_at_the_next_start(
    replicas: Replicas, nats: NatsServer, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    first, ends_first = await replicas.one()
    client, wanted = Client(), symbols("fast", "BTC/USD", contents=(TRADES,))
    stream = Stream(first, bearers.viewer, client, wanted)
    await stream.until(lambda: len(client.trades.get("BTC/USD", ())) > 20)
    await nats.kill()
    stored = len(await stored_trades(database, "BTC/USD"))
    await until_stored(database, "BTC/USD", stored + 50)
    await ends_first.aclose()
    await nats.start()
    second, _ = await replicas.one()
    stream = Stream(second, bearers.viewer, client, wanted, cursor=client.cursor)
    had = len(client.trades["BTC/USD"])
    await stream.until(lambda: len(client.trades["BTC/USD"]) > had + 20)
    ids = np.array(client.trades["BTC/USD"])
    (at,) = np.flatnonzero(np.diff(ids) != 1)
    (gap,) = (one for one in client.gaps if one.cause == gap_pb2.GAP_CAUSE_OVERLOAD)
    assert await stored_within(database, gap) == list(range(ids[at] + 1, ids[at + 1])), "the gap is what is missing"
    stream.call.cancel()


def _holds(gap: gap_pb2.Gap, first_ns: int, last_ns: int) -> bool:
    """Tell whether a gap holds a hole, and ends with it."""
    return first_ns - 60 * MINUTE_NS <= gap.start_time_ns <= first_ns and gap.end_time_ns == last_ns + 1


@asynccontextmanager
async def reading(bus: JetStreamBus, hub: Hub) -> AsyncIterator[asyncio.Task[None]]:
    """Read a bus into a hub for a while."""
    task = asyncio.create_task(bus.read(hub, PriceBoard()))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def hub_of(bus: JetStreamBus) -> Hub:
    return Hub(LiveLog(bus.epoch, position=bus.start), SystemClock())


async def send(bus: JetStreamBus, count: int, size: int) -> None:
    """Send bars, whose bytes nobody looks into, each in a message of its own."""
    for number in range(count):
        bus.publish(BARS, bytes([number % 256]) * size, 1)
        await bus._send_all()


async def test_a_stream_of_which_everything_has_grown_too_old_lets_feeds_begin(nats: NatsServer) -> None:
    async with AsyncExitStack() as stack:
        first = await open_bus(nats.url, SystemClock(), max_age_s=1.0)
        stack.push_async_callback(first.close)
        await send(first, 1, 10)
        async with asyncio.timeout(90):
            while (await first._connection.jsm().stream_info(STREAM)).state.messages:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        second = await open_bus(nats.url, SystemClock())
        stack.push_async_callback(second.close)
        async with reading(second, hub_of(second)), asyncio.timeout(90):
            await second.caught_up.wait()


async def test_what_the_bus_dropped_before_a_replica_read_it_ends_the_streams_of_that_replica(
    nats: NatsServer,
) -> None:
    async with AsyncExitStack() as stack:
        bus = await open_bus(nats.url, SystemClock(), max_bytes=64 * 1024)
        stack.push_async_callback(bus.close)
        hub = hub_of(bus)
        reader = hub.join(frozenset({BARS}), Policy.CONFLATE)
        async with reading(bus, hub):
            await send(bus, 3, 100)
            await until(lambda: hub.rows_published == 3)
        cursor = hub.log.head
        await send(bus, 200, 1024)
        async with reading(bus, hub):
            await until(lambda: hub.log.position > cursor.position)
        with pytest.raises(errors.CursorExpired) as told:
            reader.take()
        earliest = Cursor.parse(told.value.metadata["earliest_cursor"])
        with pytest.raises(errors.CursorExpired):
            hub.replay(frozenset({BARS}), cursor)
        rest = b"".join(past.payload for past in hub.replay(frozenset({BARS}), earliest))
        assert rest[-1] == 199
        assert 0 < len(rest) < 64 * 1024


async def test_a_stream_that_was_made_anew_is_not_taken_for_the_former_one(nats: NatsServer) -> None:
    async with AsyncExitStack() as stack:
        bus = await open_bus(nats.url, SystemClock())
        stack.push_async_callback(bus.close)
        await send(bus, 2, 10)
        await bus._connection.jsm().delete_stream(STREAM)
        other = await open_bus(nats.url, SystemClock())
        stack.push_async_callback(other.close)
        assert other.epoch != bus.epoch
        with pytest.raises(errors.FailedPrecondition, match="start every DataHub again"):
            await bus.read(hub_of(bus), PriceBoard())


async def test_messages_that_are_not_ours_cost_nothing(nats: NatsServer) -> None:
    async with AsyncExitStack() as stack:
        bus = await open_bus(nats.url, SystemClock())
        stack.push_async_callback(bus.close)
        hub = hub_of(bus)
        async with reading(bus, hub):
            await bus._stream.publish(SUBJECT, b"something else")
            await send(bus, 1, 10)
            await until(lambda: hub.rows_published == 1)


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(90):
        while not condition():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)
