"""The journal beside the event loop, over a disk that takes its time."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from datahub.bus import journal_writer
from datahub.bus.journal import Journal
from datahub.bus.journal_writer import JournalWriter
from datahub.stream.hub import PATIENCE_S, Hub
from datahub.stream.log import Cursor, LiveLog
from datahub.stream.reader import Policy, Reader
from datahub.stream.topic import Content, Topic
from quasar import errors
from quasar.clock import SystemClock

BTC = Topic(7, Content.TRADES)
TOPICS = frozenset({BTC})
NOW = 1_800_000_000_000_000_000


class Disk:
    """A disk that a test holds up."""

    def __init__(self) -> None:
        self.goes = threading.Event()
        self.goes.set()
        self.waits = threading.Event()

    def write(self, file: int, data: memoryview) -> int:
        """Write when the disk goes."""
        if not self.goes.is_set():
            self.waits.set()
            assert self.goes.wait(30)
        return os.write(file, data)

    async def stuck(self) -> None:
        """Wait until a write is held up."""
        assert await asyncio.to_thread(self.waits.wait, 10)


class Life:
    """One life of a hub over a journal that is written beside it."""

    def __init__(self, folder: Path, disk: Disk, max_bytes: int) -> None:
        journal = Journal(folder, NOW, write=disk.write)
        self.writer = JournalWriter(journal, max_bytes=max_bytes)
        self.hub = Hub(LiveLog(journal.epoch, position=journal.start, lost=journal.lost), SystemClock(), self.writer)
        self.hub.restore(journal.entries, journal.kept)
        self.reader = self.hub.join(TOPICS, Policy.LOSSLESS)

    def publish(self, *numbers: int) -> None:
        """Publish numbers."""
        for number in numbers:
            self.hub.publish(BTC, number.to_bytes(4, "big"), 1)

    async def read(self, count: int) -> list[int]:
        """Read until so many numbers came."""
        return await read(self.reader, count)

    def after(self, cursor: Cursor) -> list[int]:
        """Return the numbers that the log has after a cursor."""
        return [number for portion in self.hub.replay(TOPICS, cursor) for number in numbers(portion.payload)]

    async def kept(self) -> None:
        """Wait until everything that a reader may have is kept."""
        async with asyncio.timeout(90):
            while self.writer.kept < self.hub.log.position:  # noqa: ASYNC110  # the disk tells nobody
                await asyncio.sleep(0.005)


async def read(reader: Reader, count: int) -> list[int]:
    got: list[int] = []
    async with asyncio.timeout(90):
        while len(got) < count:
            await reader.wait(10.0)
            if portion := reader.take():
                got += numbers(portion.payload)
    return got


def numbers(payload: bytes) -> list[int]:
    return [int.from_bytes(payload[at : at + 4], "big") for at in range(0, len(payload), 4)]


@asynccontextmanager
async def life(folder: Path, disk: Disk, *, max_bytes: int = 1 << 20) -> AsyncIterator[Life]:
    """Run a hub; it ends in order, where the disk lets it."""
    one = Life(folder, disk, max_bytes)
    running = asyncio.create_task(one.hub.run())
    try:
        yield one
    finally:
        running.cancel()
        await asyncio.wait([running])
        await one.writer.close()


async def test_readers_get_what_is_kept_and_a_restart_goes_on_there(tmp_path: Path) -> None:
    async with life(tmp_path, Disk()) as first:
        first.publish(*range(100))
        assert await first.read(100) == list(range(100))
        assert first.writer.kept == first.hub.log.position
        cursor = first.reader.cursor
        first.publish(100, 101)
    async with life(tmp_path, Disk()) as second:
        assert second.after(cursor) == [100, 101]


async def test_a_reader_waits_for_a_slow_disk_only_so_long_and_loses_nothing_when_it_goes_on(tmp_path: Path) -> None:
    disk = Disk()
    async with life(tmp_path, disk) as first:
        disk.goes.clear()
        begun = asyncio.get_running_loop().time()
        first.publish(1)
        assert await first.read(1) == [1]
        assert asyncio.get_running_loop().time() - begun >= PATIENCE_S, "it waits for the disk at first"
        first.publish(2)
        begun = asyncio.get_running_loop().time()
        assert await first.read(1) == [2]
        assert asyncio.get_running_loop().time() - begun < PATIENCE_S, "and then no more"
        assert first.writer.kept < first.hub.log.position
        disk.goes.set()
        await first.kept()
        first.publish(3)
        assert await first.read(1) == [3]
        cursor = Cursor(first.hub.log.epoch, 0)
    async with life(tmp_path, Disk()) as second:
        assert second.after(cursor) == [1, 2, 3]


async def test_what_a_stuck_disk_has_no_room_for_is_a_counted_hole_and_the_journal_begins_anew_behind_it(
    tmp_path: Path,
) -> None:
    disk = Disk()
    async with life(tmp_path, disk, max_bytes=4_000) as first:
        first.publish(0)
        await first.read(1)
        before = first.reader.cursor
        disk.goes.clear()
        first.publish(1)
        await disk.stuck()
        for number in range(2, 1_002, 10):
            first.publish(*range(number, number + 10))
            first.hub.settle()
        assert await first.read(1_001) == list(range(1, 1_002)), "readers miss nothing"
        assert first.writer.waiting_bytes <= 4_000
        lost = first.writer.lost_rows
        assert 500 < lost < 1_000
        assert first.after(before) == list(range(1, 1_002)), "neither do those that come back to this process"
        disk.goes.set()
        await first.kept()
    async with life(tmp_path, Disk()) as second:
        with pytest.raises(errors.CursorExpired) as expired:
            second.after(before)
        earliest = Cursor.parse(expired.value.metadata["earliest_cursor"])
        assert second.after(earliest) == list(range(2 + lost, 1_002))


async def test_a_disk_that_never_comes_back_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_writer, "LAST_S", 0.1)
    disk = Disk()
    async with life(tmp_path, disk) as first:
        disk.goes.clear()
        first.publish(1)
        await disk.stuck()
    disk.goes.set()  # the thread ends


async def test_what_is_not_kept_so_far_is_in_no_snapshot_and_reaches_a_newcomer_once(tmp_path: Path) -> None:
    disk = Disk()
    async with life(tmp_path, disk) as one:
        one.publish(1)
        await one.read(1)
        disk.goes.clear()
        one.publish(2)
        await disk.stuck()
        newcomer = one.hub.join(TOPICS, Policy.LOSSLESS)
        (latest,) = one.hub.snapshot(TOPICS)
        assert numbers(latest.payload) == [1]
        disk.goes.set()
        assert await read(newcomer, 1) == [2]


async def test_a_series_that_was_given_up_while_it_was_being_kept_is_in_no_later_snapshot(tmp_path: Path) -> None:
    disk = Disk()
    async with life(tmp_path, disk) as one:
        disk.goes.clear()
        one.publish(1)
        await disk.stuck()
        one.hub.forget([BTC.series_id])
        disk.goes.set()
        await one.read(1)
        assert one.hub.snapshot(TOPICS) == []
        one.publish(2)
        await one.read(1)
        assert len(one.hub.snapshot(TOPICS)) == 1
