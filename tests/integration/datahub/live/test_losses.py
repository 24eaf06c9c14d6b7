"""Live data that is lost is told where operators look: as an event, in the metrics, and as the state of the service."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable
from typing import Any

import pytest

from datahub.bus import opening
from datahub.bus.journal_writer import JournalWriter
from datahub.live import losses, storage
from datahub.live.losses import AGAIN_S, SHOWN_S, Losses, Place
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.ops.events import Event, Events
from quasar.testing.clock import FakeClock
from quasar_proto.ops.v1 import event_service_pb2, system_pb2, system_service_pb2
from quasar_proto.ops.v1.event_service_pb2_grpc import EventServiceStub
from quasar_proto.ops.v1.system_service_pb2_grpc import SystemServiceStub
from tests.integration.datahub.live.client import TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market, stored_trades
from tests.integration.datahub.live.test_stalled_disk import SYMBOL, WANTED, Disk, disk, more
from tests.integration.services.conftest import Bearers, as_

__all__ = ["disk"]
OVERLOADS = "select * from gaps where cause = 'OVERLOAD'"


async def lost(hub: Any, bearer: str) -> Any:
    """Wait for the event of a loss and return it."""
    stub, request = hub.stub(EventServiceStub), event_service_pb2.ListEventsRequest(filter='kind = "LiveDataLost"')
    async with asyncio.timeout(30):
        while not (found := await stub.ListEvents(request, **as_(bearer))).events:  # noqa: ASYNC110  # a list
            await asyncio.sleep(0.05)
    return found.events[-1]


async def part_of(hub: Any, bearer: str) -> Any:
    """Return what the service says of its live data."""
    answer = await hub.stub(SystemServiceStub).GetSystemInfo(system_service_pb2.GetSystemInfoRequest(), **as_(bearer))
    return next(part for part in answer.system_info.parts if part.name == "live data")


async def figures(hub: Any, bearer: str) -> dict[str, float]:
    """Return the gauges of the service."""
    call = hub.stub(SystemServiceStub).WatchMetrics(system_service_pb2.WatchMetricsRequest(), **as_(bearer))
    found = dict((await call.read()).metrics.gauges)
    call.cancel()
    return found


async def test_what_a_slow_disk_leaves_out_of_the_journal_is_an_event_a_figure_and_a_state(
    start: Any, bearers: Bearers, database: Database, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "JournalWriter", functools.partial(JournalWriter, max_bytes=4_000))
    monkeypatch.setattr(losses, "LOOK_S", 0.1)
    await fast_market(database, SYMBOL)
    async with start(DATAHUB) as hub:
        stream = Stream(hub, bearers.viewer, Client(), WANTED)
        await more(stream, 20)
        assert (await figures(hub, bearers.viewer))["live_lost_journal"] == 0
        await disk.stand_still()
        await more(stream, 300)
        event = await lost(hub, bearers.viewer)
        assert (event.subject_type, event.subject_name) == ("live_data", "journal")
        assert "missing in the journal of the live log: the disk was too slow" in event.message
        assert (await figures(hub, bearers.viewer))["live_lost_journal"] >= event.data["lost"] > 0
        part = await part_of(hub, bearers.viewer)
        assert part.state == system_pb2.PART_STATE_DEGRADED
        assert "the disk was too slow" in part.detail
        disk.go_on()
        stream.call.cancel()


async def test_ticks_for_which_no_room_is_left_are_told_and_the_gap_is_what_is_not_stored(
    start: Any, bearers: Bearers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LARGEST_BACKLOG", 120)
    monkeypatch.setattr(losses, "LOOK_S", 0.1)
    await fast_market(database, SYMBOL)
    async with start(DATAHUB) as hub:
        client = Client()
        stream = Stream(hub, bearers.viewer, client, symbols("fast", SYMBOL, contents=(TRADES,)))
        await more(stream, 20)
        async with database.transaction() as connection:
            await connection.execute("lock table ticks in access exclusive mode")
            await more(stream, 300)
        await more(stream, 100)
        event = await lost(hub, bearers.viewer)
        assert event.subject_name == "store"
        assert "ticks were not stored" in event.message
        assert (await figures(hub, bearers.viewer))["live_lost_store"] >= event.data["lost"]
        async with asyncio.timeout(30):
            while not (gaps := await database.fetch(OVERLOADS)):  # noqa: ASYNC110  # the table tells nobody
                await asyncio.sleep(0.05)
        ids = (await stored_trades(database, SYMBOL)).tolist()
        stream.call.cancel()
    missing = sorted(set(range(ids[0], ids[-1])) - set(ids))
    assert set(missing) < set(client.trades[SYMBOL]), "readers had them"
    assert client.gaps == [], "so that they are not told of it"
    assert {gap["state"] for gap in gaps} == {"UNREPAIRABLE"}
    assert sum(int(re.findall(r"(\d+) ticks were not stored", str(gap["evidence"]))[0]) for gap in gaps) == len(missing)
    times = await database.fetch(
        "select event_time, trade_id from ticks where trade_id in ($1, $2)", missing[0] - 1, missing[-1] + 1
    )
    before, after = sorted(row["event_time"] for row in times)
    assert before <= min(gap["start_time"] for gap in gaps) <= max(gap["end_time"] for gap in gaps) <= after


class Told:
    """Losses at one place, and what was told of them."""

    def __init__(self, database: Database) -> None:
        self.clock = FakeClock()
        self.count = 0
        self.problem = ""
        self.shown = ""
        self._events = Events(database, "datahub", self.clock)
        place = Place("bus", "rows were left out.", lambda: self.count, lambda: self.problem)
        self.losses = Losses([place], database, self._events, self.clock, self._show)
        self._show("")

    def _show(self, text: str) -> None:
        self.shown = text

    async def look(self, seconds: float = 0.0) -> None:
        """Let time pass, look and tell."""
        await self.clock.advance(seconds)
        self.losses.look()
        await self.losses.write()

    async def events(self) -> list[Event]:
        """Return what was recorded, oldest first."""
        return (await self._events.list(order_by="event_id"))[0]


async def told_of(world: Told, pick: Callable[[Event], Any]) -> list[Any]:
    return [pick(event) for event in await world.events()]


async def test_a_loss_that_goes_on_is_one_event_a_minute_and_none_is_left_out(database: Database) -> None:
    world = Told(database)
    await world.look()
    assert (await world.events(), world.shown) == ([], "")
    for count in (5, 7, 20):
        world.count = count
        await world.look(1.0)
    assert world.shown == "20 rows were left out."
    assert await told_of(world, lambda one: (one.data["lost"], one.data["lost_total"])) == [(5, 5)]
    await world.look(AGAIN_S)
    assert await told_of(world, lambda one: (one.data["lost"], one.message)) == [
        (5, "5 rows were left out."),
        (15, "15 rows were left out."),
    ]
    await world.look(AGAIN_S)
    assert len(await world.events()) == 2
    await world.look(SHOWN_S)
    assert world.shown == ""


async def test_a_log_that_is_not_kept_is_told_once_until_it_is_kept_again(database: Database) -> None:
    world = Told(database)
    world.problem = "the disk is full"
    await world.look()
    await world.look(1.0)
    assert world.shown == "the disk is full"
    world.problem = ""
    await world.look(1.0)
    assert world.shown == ""
    world.problem = "the disk is full"
    await world.look(1.0)
    assert await told_of(world, lambda one: (one.kind, one.message)) == [("LiveLogNotKept", "the disk is full")] * 2
