"""A live provider that trickles until it is let go and then brings more than a stalled reader may have waiting."""

from __future__ import annotations

import time
from typing import Any

from quasar.database.pool import Database
from quasar_proto.datahub.v1 import provider_service_pb2 as pb
from quasar_proto.datahub.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.integration.datahub.live.feeds import live
from tests.integration.datahub.registry_rows import add_provider
from tests.integration.services.conftest import as_

SYMBOL = "BTC/USD"
TORRENT_ROWS = 300_000
"""Some 18 MiB as they are sent; a reader may have 8 MiB waiting."""
STEP_NS = 6_000_000
"""Time from trade to trade."""

_SOURCE = """
import asyncio

import numpy as np

from quasar.provider import GapCause, GapNotice, Provider, TickColumns

BASE_NS = {base_ns}
STEP_NS = {step_ns}
ROWS = {rows}
PIECE = 2_000


def trades(first, after):
    ids = np.arange(first, after, dtype=np.int64)
    return TickColumns(BASE_NS + ids * STEP_NS, 100.0 + ids % 7, np.ones(len(ids)), trade_id=ids)


class Torrent(Provider):
    '''Trades that count up, 6 ms apart, ahead of the clock: bars of a minute close by their trades alone.'''

    name = "torrent"
    intervals = ("1min",)
    calendar = "24/7"

    async def ticks(self, request):
        first = -(-(request.start_ns - BASE_NS) // STEP_NS)
        after = -(-(request.end_ns - BASE_NS) // STEP_NS)
        if after > max(0, first):
            yield trades(max(0, first), after)

    async def live(self, feed):
        next_id = left = 0
        while True:
            try:
                async with asyncio.timeout(0.02):
                    left = ROWS if (await feed.changed()).resync else left
            except TimeoutError:
                pass
            rows = PIECE if left else 10
            if rows == PIECE:
                left -= PIECE
                if left == ROWS // 2:
                    next_id += 500  # they are fetched from the history
                    yield GapNotice("BTC/USD", cause=GapCause.FEED_INTERRUPTED, detail="500 trades were missed")
            yield "BTC/USD", trades(next_id, next_id + rows)
            next_id += rows
"""
_MANIFEST: dict[str, Any] = {
    "name": "torrent",
    "kind": "CODE_KIND_PROVIDER",
    "class_name": "Torrent",
    "intervals": ["1min"],
    "capabilities": ["PROVIDER_CAPABILITY_LIVE_TICKS", "PROVIDER_CAPABILITY_HISTORICAL_TICKS"],
}


async def torrent(database: Database, *, stored: bool = False) -> None:
    """Subscribe to live data of the torrent; its ticks are stored if wished."""
    source = _SOURCE.format(base_ns=time.time_ns() + 600_000_000_000, rows=TORRENT_ROWS, step_ns=STEP_NS).encode()
    await live(database, await add_provider(database, "torrent", source, _MANIFEST), SYMBOL)
    await database.execute("update registry.provider_subscription set store_ticks = $1", stored)


async def let_go(hub: Any, bearer: str) -> None:
    """Let the torrent begin: it takes the wish for a resynchronisation as a signal."""
    request = pb.ReconnectFeedRequest(feed_id="torrent/0", symbols=[SYMBOL])
    await hub.stub(ProviderServiceStub).ReconnectFeed(request, **as_(bearer))
