"""Which bars a stream brings: those that are built from ticks, those that the vendor pushes, or the one of both."""

from __future__ import annotations

import asyncio
from typing import Any

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.model.bars import BarState
from quasar_proto.common.v1 import errors_pb2
from quasar_proto.datahub.v1 import market_data_pb2
from tests.integration.datahub.live.client import CLOSED, FORMING, Client, Stream, symbols
from tests.integration.datahub.live.feeds import live
from tests.integration.datahub.live.test_other_bars import _BOTH, _MANIFEST
from tests.integration.datahub.registry_rows import add_provider
from tests.integration.services.conftest import Bearers

BUILT = market_data_pb2.BAR_SOURCE_LIVE_TICKS
PUSHED = market_data_pb2.BAR_SOURCE_LIVE_PROVIDER
HISTORY = market_data_pb2.BAR_SOURCE_HISTORICAL
START_NS = 29_000_000 * 60_000_000_000
WRONG_NS = START_NS + 2 * 60_000_000_000
"""The minute whose close the vendor of the test pushes wrong."""
_PUSHER = """
import numpy as np

from quasar.model.bars import BarColumns, BarState
from quasar.provider import Provider

MINUTE_NS = 60_000_000_000


class Pusher(Provider):
    '''Pushes the bar of the present minute again and again as it grows, and no trades.'''

    name = "pusher"
    intervals = ("1min",)
    calendar = "24/7"

    async def live(self, feed):
        volume = 1.0
        while True:
            await self.clock.sleep(0.2)
            begin = self.clock.time_ns() // MINUTE_NS * MINUTE_NS
            price, volume = np.array([10.0]), volume + 1.0
            yield "A", "1min", BarColumns(
                open_time_ns=np.array([begin]),
                close_time_ns=np.array([begin + MINUTE_NS]),
                open=price,
                high=price,
                low=price,
                close=price,
                volume=np.array([volume]),
                state=np.array([BarState.FORMING], np.uint8),
            )
"""


async def test_a_reader_gets_the_bars_of_the_source_that_it_names(
    start: Any, bearers: Bearers, database: Database
) -> None:
    code_id = await add_provider(database, "both", _BOTH.format(start_ns=START_NS).encode(), _MANIFEST)
    await live(database, code_id, "BTC/USD")
    async with start(DATAHUB) as hub:
        clients = {source: Client() for source in (BUILT, PUSHED, HISTORY, market_data_pb2.BAR_SOURCE_MERGED)}
        streams = [
            Stream(
                hub,
                bearers.viewer,
                client,
                symbols("both", "BTC/USD", contents=(CLOSED,), intervals=["1min"], bar_source=source),
                last_count=100,
            )
            for source, client in clients.items()
        ]
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                refused = stream.client is clients[HISTORY]
                have = (lambda c: c.statuses) if refused else (lambda c: WRONG_NS in c.closed("BTC/USD"))
                group.create_task(stream.until(lambda c=stream.client, have=have: have(c), 40))  # type: ignore[misc]
        closes = {
            source: client.closed("BTC/USD")[WRONG_NS][3] for source, client in clients.items() if source != HISTORY
        }
        high = clients[BUILT].closed("BTC/USD")[WRONG_NS][1]
        assert closes[PUSHED] == high != closes[BUILT]
        assert closes[market_data_pb2.BAR_SOURCE_MERGED] == closes[BUILT]
        await streams[2].until(lambda: clients[HISTORY].statuses[-1].reason == errors_pb2.ERROR_REASON_INVALID_ARGUMENT)
        for stream in streams:
            stream.call.cancel()


async def test_a_bar_that_only_the_vendor_forms_is_seen_as_it_grows(
    start: Any, bearers: Bearers, database: Database
) -> None:
    manifest = {"name": "pusher", "kind": "CODE_KIND_PROVIDER", "class_name": "Pusher", "intervals": ["1min"]}
    code_id = await add_provider(database, "pusher", _PUSHER.encode(), manifest)
    await live(database, code_id, "A")
    async with start(DATAHUB) as hub:
        client = Client()
        wanted = symbols("pusher", "A", contents=(FORMING,), intervals=["1min"])
        stream = Stream(hub, bearers.viewer, client, wanted)
        await stream.until(lambda: len(client.bars.get("A", ())) >= 3)
        states = [state for _, state, _ in client.bars["A"]]
        assert states.count(BarState.FORMING) >= 2, "a minute may end meanwhile"
        volumes = [figures[4] for _, _, figures in client.bars["A"]]
        assert volumes == sorted(volumes)
        stream.call.cancel()
