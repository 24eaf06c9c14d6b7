"""A client of `StreamMarketData` that keeps what it got."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from quasar.convert.columns import decode_bars, decode_ticks
from quasar.model.bars import BarColumns, BarState
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import gap_pb2, market_data_pb2, stream_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.services.conftest import as_

STATES = stream_pb2.SubscriptionStatusState
TRADES = stream_pb2.STREAM_CONTENT_TRADES
CLOSED = stream_pb2.STREAM_CONTENT_CLOSED_BARS
FORMING = stream_pb2.STREAM_CONTENT_FORMING_BARS


def symbols(provider: str, *names: str, contents: tuple[Any, ...] = (), **more: Any) -> stream_pb2.MarketDataSelector:
    """Select symbols of a provider."""
    selector = stream_pb2.MarketDataSelector(contents=contents, **more)
    selector.symbols.provider_symbols.provider = provider
    selector.symbols.provider_symbols.symbols.extend(names)
    return selector


class Client:
    """What a client of one stream, or of several one after the other, has."""

    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.cursor = ""
        self.session = ""
        self.names: dict[int, values_pb2.SeriesKey] = {}
        self.trades: dict[str, list[int]] = {}
        """Ids of the trades of each symbol."""
        self.bars: dict[str, list[tuple[int, int, tuple[float, ...]]]] = {}
        """Open time, state and figures of the minutes of each symbol, as they came."""
        self.gaps: list[gap_pb2.Gap] = []
        self.statuses: list[stream_pb2.SubscriptionStatus] = []
        self.heartbeats: list[stream_pb2.StreamHeartbeat] = []
        self.phases: list[int] = []
        self.draining: list[stream_pb2.StreamDraining] = []

    def take(self, envelope: pb.StreamMarketDataResponse) -> None:
        """Keep an envelope."""
        self.sequences.append(envelope.sequence)
        self.cursor = envelope.cursor
        for opened in envelope.opened:
            self.session = opened.session_id
        self.names.update({info.series_id: info.key for info in envelope.series})
        self.gaps += envelope.gaps
        self.statuses += envelope.statuses
        self.heartbeats += envelope.heartbeats
        self.phases += [done.phase for done in envelope.completed_phases]
        self.draining += envelope.draining
        for ticks in envelope.ticks:
            self._ticks(ticks)
        for bars in envelope.bars:
            self._bars(bars)

    def _ticks(self, chunk: market_data_pb2.TickChunk) -> None:
        ids = decode_ticks(chunk.SerializeToString()).columns.trade_id
        assert ids is not None
        self.trades.setdefault(self.names[chunk.series_id].symbol, []).extend(ids.tolist())

    def _bars(self, chunk: market_data_pb2.BarChunk) -> None:
        bars: BarColumns = decode_bars(chunk.SerializeToString()).columns
        kept = self.bars.setdefault(self.names[chunk.series_id].symbol, [])
        for bar in bars.bars():
            figures = (bar.open, bar.high, bar.low, bar.close, bar.volume or 0.0, float(bar.trade_count or 0))
            kept.append((bar.open_time_ns, int(bar.state), figures))

    def closed(self, symbol: str) -> dict[int, tuple[float, ...]]:
        """Return the last figures of each minute that closed."""
        return {at: figures for at, state, figures in self.bars.get(symbol, []) if state != BarState.FORMING}

    def gap_states(self) -> list[str]:
        """Return the states of the gaps as they came."""
        return [gap_pb2.GapState.Name(gap.state).removeprefix("GAP_STATE_") for gap in self.gaps]

    def state_of(self, requested: str) -> int | None:
        """Return the last status of what was asked for."""
        return next((one.state for one in reversed(self.statuses) if one.requested == requested), None)


class Stream:
    """One call, and the client that reads it."""

    def __init__(self, hub: Any, bearer: str, client: Client, *selectors: Any, **request: Any) -> None:
        options = as_(bearer) | {"timeout": 120}
        self.call = hub.stub(MarketDataServiceStub).StreamMarketData(
            pb.StreamMarketDataRequest(selectors=selectors, **request), **options
        )
        self.client = client

    async def read(self) -> bool:
        """Read one envelope; False at the end."""
        envelope = await self.call.read()
        if envelope is grpc.aio.EOF:
            return False
        self.client.take(envelope)
        return True

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Read until something holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                assert await self.read(), "the stream ended"

    async def end(self) -> grpc.aio.AioRpcError:
        """Read to the end, and return the error that it ended with."""
        try:
            while await self.read():
                pass
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError("the stream ended without an error")
