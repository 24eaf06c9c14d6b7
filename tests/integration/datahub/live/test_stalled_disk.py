"""A disk that takes no write of the journal for a while: readers go on, and nothing is missing without a word."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from datahub.bus import opening
from datahub.bus.journal import Journal
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.rpc.errors import from_rpc_error
from quasar_proto.datahub.v1 import gap_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.datahub.live.client import TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market, stored_within, until_stored, without_a_hole
from tests.integration.services.conftest import Bearers, as_, running, settings_for

SYMBOL = "BTC/USD"
WANTED = symbols("fast", SYMBOL, contents=(TRADES,))


class Disk:
    """What the journal writes through; a test lets it stand still."""

    def __init__(self) -> None:
        self._goes = threading.Event()
        self._goes.set()
        self._stuck = threading.Event()

    def write(self, file: int, data: memoryview) -> int:
        """Write to a file, some time."""
        if not self._goes.is_set():
            self._stuck.set()
            self._goes.wait(60)
        return os.write(file, data)

    async def stand_still(self) -> None:
        """Take nothing more; return once a write waits."""
        self._goes.clear()
        assert await asyncio.to_thread(self._stuck.wait, 20)

    def go_on(self) -> None:
        """Take everything again."""
        self._goes.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The disk of every DataHub of the test."""
    made = Disk()
    monkeypatch.setattr(opening, "Journal", functools.partial(Journal, write=made.write))
    yield made
    made.go_on()


async def more(stream: Stream, rows: int) -> None:
    """Read until so many more trades came."""
    had = len(stream.client.trades.get(SYMBOL, ()))
    await stream.until(lambda: len(stream.client.trades.get(SYMBOL, ())) >= had + rows)


async def test_readers_and_callers_go_on_while_the_disk_stands_still_and_a_cursor_outlives_the_next_start(
    start: Any, bearers: Bearers, database: Database, disk: Disk
) -> None:
    await fast_market(database, SYMBOL)
    client = Client()
    async with start(DATAHUB) as hub:
        stream = Stream(hub, bearers.viewer, client, WANTED)
        await more(stream, 50)
        await disk.stand_still()
        await more(stream, 100)
        newcomer = Stream(hub, bearers.viewer, Client(), WANTED)
        await more(newcomer, 50)
        window = hub.stub(MarketDataServiceStub).GetReplayWindow(pb.GetReplayWindowRequest(), **as_(bearers.viewer))
        assert (await window).latest_cursor
        cursor = client.cursor
        await more(stream, 50)
        disk.go_on()
        await more(stream, 50)
        stream.call.cancel()
        newcomer.call.cancel()
    assert without_a_hole(client.trades[SYMBOL])
    async with start(DATAHUB) as hub:
        again = Client()
        stream = Stream(hub, bearers.viewer, again, WANTED, cursor=cursor)
        await more(stream, 200)
        assert without_a_hole(again.trades[SYMBOL])
        assert again.trades[SYMBOL][0] in client.trades[SYMBOL], "right after the cursor that was given out meanwhile"
        stream.call.cancel()


async def test_after_a_kill_while_the_disk_stood_still_a_reader_is_told_what_the_journal_lacks(
    start: Any, bearers: Bearers, database: Database, database_url: str, system_context_file: Path, tmp_path: Path,
    disk: Disk,
) -> None:  # fmt: skip
    await fast_market(database, SYMBOL)
    client, home = Client(), tmp_path / "after the kill"
    async with start(DATAHUB) as hub:
        stream = Stream(hub, bearers.viewer, client, WANTED)
        await more(stream, 50)
        early, before = client.cursor, client.trades[SYMBOL][-1]
        await more(stream, 20)
        await disk.stand_still()
        await more(stream, 100)
        late = client.cursor
        lost = client.trades[SYMBOL][-1]
        await until_stored(database, SYMBOL, len(client.trades[SYMBOL]))
        shutil.copytree(tmp_path / "live", home / "live")  # what a kill leaves: nothing of what the disk did not take
        disk.go_on()
        stream.call.cancel()
    async with running(settings_for(DATAHUB, home, database_url, system_context_file)) as hub:
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await Stream(hub, bearers.viewer, Client(), WANTED, cursor=late).read()
        assert told.value.code() is grpc.StatusCode.OUT_OF_RANGE
        assert from_rpc_error(told.value).metadata["earliest_cursor"]

        again = Client()
        stream = Stream(hub, bearers.viewer, again, WANTED, cursor=early)
        await more(stream, 100)
        trades = again.trades[SYMBOL]
        assert trades[0] == before + 1
        assert lost not in trades, "the journal lacks it"
        (gap,) = (one for one in again.gaps if one.cause == gap_pb2.GAP_CAUSE_OVERLOAD)
        assert gap.state == gap_pb2.GAP_STATE_UNREPAIRABLE
        assert "read what lies between from the store" in gap.evidence
        first = next(later for earlier, later in itertools.pairwise(trades) if later > earlier + 1)
        last_kept = trades[trades.index(first) - 1]
        assert await stored_within(database, gap) == list(range(last_kept + 1, first)), "the gap is what is missing"
        stream.call.cancel()
