"""A snapshot has the latest of a symbol also when nothing trades any more and the log has forgotten it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from datahub.ingest.room import Room
from datahub.live.bars import BuiltBar
from datahub.live.storage import LiveStore
from datahub.series.series import SeriesName
from datahub.store import series_table
from quasar.clock import SystemClock
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.model.bars import Bar, BarState
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns
from quasar.providers.market import MINUTE_NS
from quasar_proto.datahub.v1 import stream_pb2
from tests.integration.datahub.live.client import CLOSED, TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import live
from tests.integration.datahub.registry_rows import add_provider
from tests.integration.services.conftest import Bearers

_SILENT = """
from quasar.provider import Provider


class Silent(Provider):
    '''A market that is closed for a while: connected, and nothing comes.'''

    name = "silent"
    intervals = ("1min",)
    calendar = "24/7"

    async def live(self, feed):
        while True:
            await self.clock.sleep(1.0)
            for nothing in ():
                yield nothing
"""
_MANIFEST = {"name": "silent", "kind": "CODE_KIND_PROVIDER", "class_name": "Silent", "intervals": ["1min"]}


async def store_yesterday(database: Database) -> int:
    """Store trades and a bar of a day ago, as a former life of the DataHub did; return the open time of the bar."""
    clock = SystemClock()
    begin = clock.time_ns() // MINUTE_NS * MINUTE_NS - 1440 * MINUTE_NS
    names = [SeriesName("silent", "A", code) for code in ("", "1min")]
    async with database.transaction() as connection:
        ticks, bars = (found := await series_table.ensure(connection, names))[names[0]], found[names[1]]
    store = LiveStore(database, Room(database), clock)
    times = np.array([begin + 1, begin + 2])
    trades = TickColumns(times, np.array([5.0, 6.0]), np.ones(2), trade_id=np.array([7, 8]), publish_time_ns=times)
    store.add_ticks(ticks.series_id, trades, 41)
    end, closed = begin + MINUTE_NS, BarState.CLOSED
    bar = Bar(begin, 5.0, 6.0, 5.0, 6.0, 2.0, close_time_ns=end, state=closed, trade_count=2)
    store.add_bars([BuiltBar(bars.series_id, Interval.parse("1min"), bar)])
    await store.flush()
    return begin


async def test_after_a_restart_a_snapshot_has_the_last_trade_and_bar_of_a_closed_market(
    start: Any, bearers: Bearers, database: Database
) -> None:
    begin = await store_yesterday(database)
    code_id = await add_provider(database, "silent", _SILENT.encode(), _MANIFEST)
    await live(database, code_id, "A")
    async with start(DATAHUB) as hub:
        client, wanted = Client(), symbols("silent", "A", contents=(TRADES, CLOSED), intervals=["1min"])
        async with asyncio.timeout(30):
            while not (client.trades and client.bars):  # the subscription is read a moment after the start
                await asyncio.sleep(0.2)
                client = Client()
                stream = Stream(hub, bearers.viewer, client, wanted)
                await stream.until(lambda: client.phases)  # noqa: B023  # awaited here
                stream.call.cancel()
        assert client.trades == {"A": [8]}
        assert client.closed("A") == {begin: (5.0, 6.0, 5.0, 6.0, 2.0, 2.0)}
        assert set(client.phases) == {stream_pb2.STREAM_PHASE_SNAPSHOT}
