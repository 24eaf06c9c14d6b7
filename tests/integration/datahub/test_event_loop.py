"""The event loop of the DataHub is never held for long, however much is collected, read and imported at once.

What counts is the processor time of each turn of the loop, not the wall clock: on a busy machine every turn takes long.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from datahub.ingest.delivery import Delivery
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.quality.checker import Checker
from datahub.series.series import SeriesName
from datahub.store import quality_table, series_table
from datahub.stream.pauses import shorten
from quasar.clock import SystemClock
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.model.bars import BarColumns
from quasar.model.instants import NS_PER_MINUTE, TimeRange, to_ns
from quasar.ops.events import Events
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as collection
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as market
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.datahub.registry_rows import add_provider, subscribe
from tests.integration.services.conftest import Bearers, as_

LONGEST_S = 0.1
"""What a turn may work."""
LONGEST_WITH_GARBAGE_S = 0.25
"""What a turn may take together with a look at every object, which may fall into any turn."""
MINUTES = 120_000
STRETCH = 80_000
"""More slots than are checked at once, so that work on the loop would show."""
SYMBOLS = ("WHOLE", "HOLES", "BAD")
RAGGED = b'''
import numpy as np

from quasar.provider import BarColumns, Provider

MINUTE = 60_000_000_000
ROWS = 40_000


class Ragged(Provider):
    """Every minute of WHOLE has a bar, every third of HOLES has none, and every second of BAD is wrong."""

    name = "ragged"
    intervals = ("1min",)
    calendar = "24/7"
    concurrency = 3

    async def bars(self, request):
        for start in range(request.start_ns, request.end_ns, ROWS * MINUTE):
            times = np.arange(start, min(start + ROWS * MINUTE, request.end_ns), MINUTE, dtype=np.int64)
            number = times // MINUTE
            if request.symbol == "HOLES":
                times, number = times[number % 3 > 0], number[number % 3 > 0]
            price = 100.0 + number % 1000 / 100
            low = price - 1
            if request.symbol == "BAD":
                low = np.where(number % 2 > 0, price + 9, low)
            yield BarColumns(times, price, price + 1, low, price, np.full(len(times), 7.0))
'''
MANIFEST = {
    "name": "ragged",
    "kind": "CODE_KIND_PROVIDER",
    "class_name": "Ragged",
    "capabilities": ["PROVIDER_CAPABILITY_HISTORICAL"],
    "intervals": ["1min"],
    "default_calendar": "24/7",
    "concurrency": 3,
}


class Turns:
    """The turns of an event loop and the processor time that the longest took."""

    def __init__(self) -> None:
        self.count = 0
        self.longest_s = 0.0
        self.longest_with_garbage_s = 0.0
        self.longest = ""
        self._thread = threading.get_ident()
        self._garbage_s = 0.0
        self._look_s = 0.0

    def collector(self, phase: str, _told: Any) -> None:
        """Take the collector's time; it may look in other threads as well, whose time is theirs."""
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._look_s = time.thread_time()
        else:
            self._garbage_s += time.thread_time() - self._look_s

    def begins(self) -> None:
        self._garbage_s = 0.0

    def took(self, handle: Any, spent_s: float) -> None:
        self.count += 1
        work_s = spent_s - self._garbage_s
        self.longest_with_garbage_s = max(self.longest_with_garbage_s, spent_s)
        if work_s > self.longest_s:
            self.longest_s, self.longest = work_s, f"{handle!r} of {_coroutine(handle)}"

    def assert_short(self) -> None:
        assert self.longest_s < LONGEST_S, f"{self.longest} held the loop for {self.longest_s:.3f} s"
        assert self.longest_with_garbage_s < LONGEST_WITH_GARBAGE_S


def _coroutine(handle: Any) -> str:
    """Name what a turn ran, down to where it stands now."""
    task = getattr(getattr(handle, "_callback", None), "__self__", None)
    waiting: Any = task.get_coro() if isinstance(task, asyncio.Task) else None
    names = []
    while waiting is not None and hasattr(waiting, "__qualname__"):
        names.append(waiting.__qualname__)
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "ag_await", None)
    return " > ".join(names) or repr(task)


@contextmanager
def watched() -> Iterator[Turns]:
    """Measure every turn of the loop of this thread, with the collector set as in the DataHub's process."""
    turns, run, thresholds = Turns(), asyncio.Handle._run, gc.get_threshold()

    def measured(handle: asyncio.Handle) -> None:
        turns.begins()
        begun = time.thread_time()
        run(handle)
        turns.took(handle, time.thread_time() - begun)

    shorten()
    gc.callbacks.append(turns.collector)
    asyncio.Handle._run = measured  # type: ignore[method-assign,assignment]  # nowhere else to look from
    try:
        yield turns
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        gc.callbacks.remove(turns.collector)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


async def collected(database: Database) -> None:
    statement = "select count(*) from collection_runs where trigger = 'INITIAL' and finished_at is not null"
    async with asyncio.timeout(60):
        while await database.fetchval(statement) < len(SYMBOLS):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_the_event_loop_goes_on_while_much_is_collected_and_read(
    start: Any, bearers: Bearers, database: Database
) -> None:
    begin = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0) - dt.timedelta(minutes=MINUTES)
    code_id = await add_provider(database, "ragged", RAGGED, MANIFEST)
    await subscribe(database, code_id, *SYMBOLS, start=begin, cron="0 0 1 1 *")
    with watched() as turns:
        async with start(DATAHUB) as hub:
            await collected(database)
            references = [
                market_data_pb2.SeriesReference(
                    key=values_pb2.SeriesKey(provider="ragged", symbol=symbol, interval="1min")
                )
                for symbol in SYMBOLS
            ]
            read = market.ReadBarsRequest(series=references, batch_rows=20_000)
            bars = hub.stub(MarketDataServiceStub)
            rows = 0
            async for message in bars.ReadBars(read, **as_(bearers.viewer)):
                rows += sum(len(chunk.open_time_ns) for chunk in message.bars)
            asked = collection.GetCoverageRequest(series=references)
            await hub.stub(CollectionServiceStub).GetCoverage(asked, **as_(bearers.viewer))
    # A minute may end while the service starts, so each series may have a few bars more.
    assert rows == pytest.approx(MINUTES + MINUTES * 2 // 3 + MINUTES // 2, abs=20)
    assert await database.fetchval("select count(*) from gaps") == pytest.approx(MINUTES // 3 + MINUTES // 2, abs=20)
    assert await database.fetchval("select count(*) from quarantine") == pytest.approx(MINUTES // 2, abs=20)
    assert turns.count > 1_000
    turns.assert_short()


async def test_the_event_loop_goes_on_while_a_series_with_very_many_findings_is_checked(database: Database) -> None:
    clock = SystemClock()
    writer = BarWriter(database, Room(database), clock)
    async with database.transaction() as connection:
        name = SeriesName("ragged", "BOTH", "1min")
        series = (await series_table.ensure(connection, [name], {"ragged": "24/7"}))[name]
    begin_ns = to_ns(dt.datetime(2026, 1, 5, tzinfo=dt.UTC))
    span = TimeRange(begin_ns, begin_ns + STRETCH * NS_PER_MINUTE)
    number = np.arange(STRETCH, dtype=np.int64)
    number = number[number % 3 > 0]
    price = 100.0 + number % 1000 / 100
    low = np.where(number % 4 > 1, price + 9, price - 1)
    columns = BarColumns(begin_ns + number * NS_PER_MINUTE, price, price + 1, low, price, np.full(len(number), 7.0))
    checker = Checker(database, writer, Events(database, "datahub", clock), clock)
    with watched() as turns:
        await writer.store(Delivery(series=series, columns=columns, requested=span, answered=span))
        async with database.acquire() as connection:
            extent = await quality_table.extent(connection, series.series_id)
        assert extent is not None
        found = await checker.check(series, span, extent)
    assert found.new["MISSING"] >= STRETCH // 3
    assert found.new["QUARANTINED"] == pytest.approx(STRETCH // 3, rel=0.01)
    turns.assert_short()
