"""Two years of days and two weeks of minutes, recorded, collected through the real providers in their processes.

Local servers play EODHD and Kraken, the Files provider reads recorded candles of LEAN and others. Afterwards every slot
is classified, and what is removed behind the back of the platform comes back without an operator.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from datahub.collection.answers import BarSource
from datahub.ingest.ledger import ranges_of
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.providers.entry import ProviderEntry
from datahub.providers.source import ProviderSource
from datahub.quality.checker import Checker
from datahub.quality.watch import QualityWatch
from datahub.series.series import Series
from datahub.store import quality_table, series_table
from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar.model.coverage import SlotState
from quasar.model.instants import TimeRange, to_ns
from quasar.ops.events import Events
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind, read_manifest
from quasar.plugins.pool import PluginPool
from quasar.plugins.process import ProcessSettings
from quasar.providers import BUILTIN
from quasar.providers.eodhd import Eodhd
from quasar.providers.files import Files
from quasar.providers.kraken import Kraken
from quasar.testing.clock import FakeClock
from quasar.testing.vendors import DEMO_TOKEN, EodhdServer, KrakenServer
from tests.integration.datahub.recorded_sources import RecordedKrakenExchange, eodhd_rows, fill_folder
from tests.integration.datahub.registry_rows import add_provider, subscribe
from tests.integration.datahub.test_collection import House

CLASSES: dict[str, Any] = {"eodhd": Eodhd, "kraken": Kraken, "files": Files}


@dataclass(frozen=True)
class Recording:
    """A stretch of one recorded series."""

    provider: str
    symbol: str
    interval: str
    exchange: str
    start: dt.datetime
    now: dt.datetime
    """What the clock shows when it is collected."""
    bars: int
    """Of the recording in the stretch."""
    missing: int
    """Slots that the calendar expects and the recording lacks: halts, minutes without a trade, lost days."""

    def __str__(self) -> str:
        return f"{self.provider}-{self.symbol}-{self.interval}"


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[arg-type, misc]


RECORDINGS = (
    Recording("eodhd", "BHP.AU", "1d", "XASX", utc(2023, 10, 3), utc(2025, 10, 3, 20), 507, 0),
    Recording("files", "GOOG", "1d", "XNAS", utc(2011, 3, 1), utc(2013, 3, 2, 12), 504, 0),
    Recording("files", "SPY", "1d", "ARCX", utc(2012, 3, 1), utc(2014, 3, 1, 12), 502, 0),
    Recording("files", "6EH4", "1min", "XCME", utc(2024, 1, 8), utc(2024, 1, 22), 13555, 160),
    Recording("files", "GBPUSD", "1min", "FOREX", utc(2012, 2, 6), utc(2012, 2, 20), 14350, 50),
    Recording("files", "SPY", "1min", "ARCX", utc(2013, 10, 7), utc(2013, 10, 12), 2432, 780),
    Recording("files", "ADA/BTC", "5min", "", utc(2018, 1, 11), utc(2018, 1, 25), 3992, 40),
    Recording("kraken", "BTC/USDT", "1min", "", utc(2025, 11, 10, 12, 17), utc(2025, 11, 11), 495, 0),
)


class RecordedHouse(House):
    """Collection over a clock of the past, with providers in processes of their own and quality checks beside it."""

    def __init__(self, database: Database, clock: FakeClock, pool: PluginPool, places: dict[str, Any]) -> None:
        super().__init__(database, clock, BarWriter(database, Room(database), clock))
        self._pool = pool
        self._places = places
        self.watch = QualityWatch(
            database, Checker(database, self.writer, Events(database, "datahub", clock), clock), clock
        )
        self.providers = {}

    async def add(self, name: str) -> int:
        """Make a built-in provider known."""
        manifest = read_manifest(Kind.PROVIDER, CLASSES[name])
        self.providers[name] = ProviderEntry(name=name, version=1, manifest=manifest)
        return await add_provider(self.database, name)

    async def source_of(self, provider: str) -> BarSource:
        """Return the running provider."""
        place = self._places[provider]
        code = CodeVersion(kind=Kind.PROVIDER, name=provider, version=1, builtin=BUILTIN[provider], **place)
        return ProviderSource(await self._pool.provider(code))

    async def series(self) -> Series:
        async with self.database.acquire() as connection:
            (row,) = await connection.fetch("select series_id from series where interval <> ''")
            return (await series_table.by_ids(connection, [row["series_id"]]))[row["series_id"]]

    async def add_subscription(self, recording: Recording) -> None:
        """Want a recording, on a schedule that does not fire in the course of a test."""
        await subscribe(
            self.database,
            await self.add(recording.provider),
            recording.symbol,
            interval=recording.interval,
            start=recording.start,
            exchange=recording.exchange,
            cron="0 0 1 1 *",
        )
        await self.subscriptions.refresh(self.providers)

    async def every_slot_is_classified(self, recording: Recording) -> None:
        """Every slot that the calendar expects is in the ledger once, and the ledger has what is stored as stored."""
        series = await self.series()
        end_ns = series.interval.floor_ns(to_ns(recording.now))
        slots = series.calendar.expected_slots(series.interval, to_ns(recording.start), end_ns)
        async with self.database.acquire() as connection:
            ledger = await quality_table.ledger(connection, series.series_id, TimeRange(0, end_ns))
        assert all(row.end_ns <= after.start_ns for row, after in itertools.pairwise(ledger))
        assert ranges_of(ledger, *SlotState).contains(slots).all()
        counts: dict[SlotState, int] = defaultdict(int)
        for row in ledger:
            counts[row.state] += row.slots
        assert counts[SlotState.OBSERVED] + counts[SlotState.REPAIRED] == recording.bars
        assert counts[SlotState.GAP] + counts[SlotState.UNREPAIRABLE] == recording.missing

    async def remove(self, rows: list[tuple[Any, ...]]) -> None:
        """Take bars out behind the back of the platform: of the beginning, the middle and the end; ledger rows too."""
        tenth = max(1, len(rows) // 10)
        for first in (tenth // 2, len(rows) // 2, len(rows) - tenth):
            await self.database.execute(
                "delete from historical_data where open_time between $1 and $2",
                rows[first][0],
                rows[first + tenth - 1][0],
            )
        await self.database.execute("delete from coverage where start_time <= $1", rows[tenth // 4][0])

    async def rows(self) -> list[tuple[Any, ...]]:
        """Every stored bar with its figures."""
        found = await self.database.fetch(
            "select open_time, close_time, open, high, low, close, volume, adjusted_close from historical_data "
            "order by open_time"
        )
        return [tuple(row) for row in found]

    async def round(self) -> None:
        """Let time pass, and do what the platform does by itself in it: checks, plans, runs."""
        await self.clock.advance(11 * 60)
        while await self.watch.once() is not None:
            pass
        await self.plan()
        await self.work()


@pytest_asyncio.fixture(loop_scope="session")
async def places(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """The vendors, and how each provider is led to its own."""
    folder = tmp_path / "bars"
    folder.mkdir()
    fill_folder(folder)
    async with EodhdServer(eodhd_rows()) as eodhd, KrakenServer(RecordedKrakenExchange()) as kraken:
        yield {
            "eodhd": {"secrets": {"api_token": DEMO_TOKEN}, "preferences": {"base_url": eodhd.base_url}},
            "kraken": {"preferences": {"rest_url": kraken.rest_url, "websocket_url": kraken.websocket_url}},
            "files": {"preferences": {"folder": str(folder)}},
        }


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
async def test_a_recording_is_collected_classified_and_repaired(
    database: Database, tmp_path: Path, places: dict[str, Any], recording: Recording
) -> None:
    clock = FakeClock(recording.now)
    async with AsyncExitStack() as stack:
        settings = ProcessSettings(service="datahub")
        pool = await stack.enter_async_context(PluginPool(tmp_path / "code", settings=settings, clock=SystemClock()))
        house = RecordedHouse(database, clock, pool, places)
        await house.add_subscription(recording)
        await house.plan()
        (run,) = await house.work()
        assert (run["inserted"], run["quarantined"], run["slots_gap"]) == (recording.bars, 0, recording.missing)
        await house.every_slot_is_classified(recording)
        collected = await house.rows()
        await house.round()

        await house.remove(collected)
        assert len(await house.rows()) < len(collected)
        for _ in range(4):
            await house.round()
            if await house.rows() == collected:
                break
        assert await house.rows() == collected
        await house.every_slot_is_classified(recording)
        lost = await database.fetchval("select sum((data->>'slots')::bigint) from ops.events where kind = 'BarsLost'")
        assert lost >= len(collected) // 5
