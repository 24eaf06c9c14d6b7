"""The writer of a live stream: at once after a silence, in batches under load, nothing lost or out of order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from quasar.convert.plugin_batches import LIVE_TICKS, taken_apart
from quasar.plugins.host.live import LiveStream
from quasar.plugins.host.live_messages import LiveMessages
from quasar.plugins.live_call import decode
from quasar.provider import ConnectionNotice, RejectedRow, Tick
from quasar.sdk.notices import ConnectionState

NAMES = {1: ("A", "")}


def ids(message: bytes) -> list[int]:
    return [
        number
        for chunk in decode(message, NAMES).tick_chunks
        if chunk.columns.trade_id is not None
        for number in chunk.columns.trade_id.tolist()
    ]


def stream(write: Callable[[bytes], Awaitable[None]], batch_rows: int = 4096) -> LiveStream:
    return LiveStream({"A": 1}, {}, LiveMessages({"A": 1}, {}, write).send, time.time_ns, batch_rows)


def tick(number: int) -> tuple[str, Tick]:
    return ("A", Tick(number, price=1.0, trade_id=number))


async def test_the_first_tick_after_a_silence_is_not_held_back() -> None:
    written: asyncio.Queue[bytes] = asyncio.Queue()
    sink = stream(written.put)
    running = asyncio.create_task(sink.run(30.0))
    await asyncio.sleep(0)
    for number in (1, 2):
        sink.put(tick(number))  # both came in one message of the vendor: they leave in one
    async with asyncio.timeout(15.0):  # far less than the 30 s for which it may gather
        assert ids(await written.get()) == [1, 2]
    running.cancel()


async def test_ticks_that_follow_wait_for_a_batch_but_no_longer_than_they_may() -> None:
    written: list[bytes] = []

    async def write(message: bytes) -> None:
        written.append(message)

    sink = stream(write)
    running = asyncio.create_task(sink.run(0.05))
    began = time.monotonic()
    for number in range(200):
        sink.put(tick(number))
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.2)
    elapsed_s = time.monotonic() - began
    running.cancel()
    assert [number for message in written for number in ids(message)] == list(range(200))
    assert len(written) < 10 + elapsed_s / 0.05
    assert len(taken_apart(written[0], (LIVE_TICKS,))[0][LIVE_TICKS]) == 1


async def test_a_full_batch_goes_without_waiting_for_its_time() -> None:
    written: list[bytes] = []

    async def write(message: bytes) -> None:
        written.append(message)

    sink = stream(write, 10)
    for number in range(25):
        sink.put(tick(number))
        await sink.ready()
    assert [len(ids(message)) for message in written] == [10, 10]


async def test_trades_from_before_a_break_are_not_sent_as_if_they_came_after_it() -> None:
    written: list[bytes] = []

    async def write(message: bytes) -> None:
        written.append(message)

    sink = stream(write)
    sink.put(tick(1))
    sink.put(ConnectionNotice(ConnectionState.DISCONNECTED))
    sink.put(ConnectionNotice(ConnectionState.CONNECTED))
    sink.put(tick(2))
    assert sink.rows == 2
    await sink.flush()
    assert sink.rows == 0
    # A reader applies the notices of a message before its rows.
    before, after = written
    assert ids(before) == [1]
    assert not decode(before, NAMES).notices
    assert ids(after) == [2]
    states = [notice.state for notice in decode(after, NAMES).notices if isinstance(notice, ConnectionNotice)]
    assert states == [ConnectionState.DISCONNECTED, ConnectionState.CONNECTED]


async def test_a_vendor_that_sends_what_nobody_can_read_with_each_row_costs_one_message_more_and_not_one_each() -> None:
    written: list[bytes] = []

    async def write(message: bytes) -> None:
        written.append(message)

    sink = stream(write)
    for number in range(50):
        sink.put(tick(number))
        sink.put(RejectedRow("unknown", {}))
    await sink.flush()
    assert [ids(message) for message in written] == [[0], list(range(1, 50))]


async def test_what_comes_while_parted_batches_are_sent_leaves_by_itself() -> None:
    written: asyncio.Queue[bytes] = asyncio.Queue()
    room = asyncio.Semaphore(0)

    async def write(message: bytes) -> None:
        written.put_nowait(message)
        await room.acquire()

    sink = stream(write)
    sink.put(tick(1))
    sink.put(ConnectionNotice(ConnectionState.DISCONNECTED))
    sink.put(tick(2))
    running = asyncio.create_task(sink.run(0.01))
    async with asyncio.timeout(30.0):
        assert ids(await written.get()) == [1]
        sink.put(tick(3))  # the second batch still waits for the reader
        room.release()
        assert ids(await written.get()) == [2]
        room.release()
        assert ids(await written.get()) == [3]
    running.cancel()
