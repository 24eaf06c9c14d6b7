"""Readers that take nothing for a while, on real connections: what they are told, and what they get in the end."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.providers.market import MINUTE_NS
from quasar.rpc.errors import from_rpc_error
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1 import stream_pb2
from tests.integration.datahub.live.client import CLOSED, TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import without_a_hole
from tests.integration.datahub.live.torrent import SYMBOL, TORRENT_ROWS, let_go, torrent
from tests.integration.services.conftest import Bearers

SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
"""The connection itself takes only some 64 KiB for a reader that does not read."""


@asynccontextmanager
async def stalled(hub: Any) -> AsyncIterator[Any]:
    """Connect once more, for a stream that nobody reads."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.server.port}", options=SMALL_WINDOW) as channel:
        yield dataclasses.replace(hub, channel=channel)


async def flowed(stream: Stream) -> list[int]:
    """Read a healthy stream until the torrent is over; return the ids of its trades."""
    trades = stream.client.trades.setdefault(SYMBOL, [])
    await stream.until(lambda: len(trades) > TORRENT_ROWS)
    return trades


async def test_a_stalled_lossless_reader_ends_with_a_cursor_and_resumes_without_a_loss(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await torrent(database)
    async with start(DATAHUB) as hub, stalled(hub) as beside:
        slow = Stream(beside, bearers.viewer, Client(), symbols("torrent", SYMBOL, contents=(TRADES,)))
        await slow.until(lambda: slow.client.trades.get(SYMBOL))
        healthy = Stream(hub, bearers.viewer, Client(), symbols("torrent", SYMBOL, contents=(TRADES,)))
        await let_go(hub, bearers.operator)
        assert without_a_hole(await flowed(healthy)), "nobody else is slowed down or cut"

        told = from_rpc_error(await slow.end())
        assert (told.reason, told.metadata["cursor"]) == ("SLOW_READER", slow.client.cursor)
        had = len(slow.client.trades[SYMBOL])
        assert had < TORRENT_ROWS / 2, "it was stalled"

        again = Stream(
            hub, bearers.viewer, slow.client, symbols("torrent", SYMBOL, contents=(TRADES,)), cursor=slow.client.cursor
        )
        last = healthy.client.trades[SYMBOL][-1]
        await again.until(lambda: slow.client.trades[SYMBOL][-1] >= last)
        assert without_a_hole(slow.client.trades[SYMBOL])
        for stream in (healthy, again):
            stream.call.cancel()


class CountingClient(Client):
    """A client that also adds up what it was told it did not get."""

    def __init__(self) -> None:
        super().__init__()
        self.first: int | None = None
        self.next = 0
        self.got = 0
        self.dropped = 0
        self.dropped_total = 0
        self.chunk = 0
        """Rows of the last chunk."""

    def take(self, envelope: pb.StreamMarketDataResponse) -> None:
        super().take(envelope)
        for chunk in envelope.ticks:
            assert chunk.first_sequence >= self.next, "in order, and nothing twice"
            self.chunk = len(chunk.event_time_ns)
            self.first = chunk.first_sequence if self.first is None else self.first
            self.next = chunk.first_sequence + self.chunk
            self.got += self.chunk
        for drop in envelope.dropped:
            assert drop.content == TRADES, "bar closes and gaps are never left out"
            self.dropped += drop.dropped
            self.dropped_total = drop.dropped_total


async def test_a_stalled_conflating_reader_gets_the_latest_every_closed_bar_and_gap_and_an_exact_count(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await torrent(database)
    wanted = symbols("torrent", SYMBOL, contents=(TRADES, CLOSED), intervals=["1min"])
    async with start(DATAHUB) as hub, stalled(hub) as beside:
        client = CountingClient()
        conflate: dict[str, Any] = {
            "delivery_policy": stream_pb2.DELIVERY_POLICY_CONFLATE,
            "flush_interval": Duration(nanos=1_000_000),
        }
        slow = Stream(beside, bearers.viewer, client, wanted, snapshot=False, **conflate)
        await slow.until(lambda: client.trades.get(SYMBOL))
        healthy = Stream(hub, bearers.viewer, Client(), wanted)
        await let_go(hub, bearers.operator)
        everything = await flowed(healthy)
        await healthy.until(lambda: "REPAIRED" in healthy.client.gap_states())

        await slow.until(lambda: client.trades[SYMBOL][-1] >= everything[-1])
        assert client.dropped > TORRENT_ROWS / 2, "it was stalled"
        assert client.first is not None
        assert client.got + client.dropped == client.next - client.first
        assert client.dropped_total == client.dropped
        # A jump from what the connection held to the latest there is: nothing old was queued in between.
        ids = client.trades[SYMBOL]
        jumps = [later - earlier for earlier, later in itertools.pairwise(ids) if later - earlier > 1]
        assert max(jumps) > TORRENT_ROWS / 2

        assert client.gap_states() == healthy.client.gap_states() == ["OPEN", "REPAIRED"]
        # Each minute closed once for either reader; the healthy one may have one more by now.
        ours, theirs = client.bars[SYMBOL], healthy.client.bars[SYMBOL]
        assert len(ours) > TORRENT_ROWS / 10_000 - 2
        opens = [at for at, _, _ in ours]
        assert opens == list(range(opens[0], opens[0] + len(opens) * MINUTE_NS, MINUTE_NS))
        both = slice(0, min(len(ours), len(theirs)) - 1)
        assert ours[both] == theirs[both]
        for stream in (healthy, slow):
            stream.call.cancel()
