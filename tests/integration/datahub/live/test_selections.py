"""What a stream selects, by common symbol, index and filter, and where it begins: at a time, a count, a cursor."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar_proto.datahub.v1 import market_data_pb2, price_pb2, stream_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.datahub.live.client import TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market, without_a_hole
from tests.integration.services.conftest import Bearers, as_

PAIRS = ("BTC/USD", "ETH/USD", "DOT/USD")


async def mapped(database: Database) -> None:
    """Map Bitcoin and Ether to common symbols, and make an index of them."""
    await database.execute(
        """insert into registry.common_symbols (symbol) values ('BTC'), ('ETH');
           insert into registry.asset_mapping (asset_id, code_id, common_symbol_id, origin)
           select a.asset_id, a.code_id, m.common_symbol_id, 'MANUAL'
           from registry.assets a join registry.common_symbols m on a.symbol = m.symbol || '/USD';
           update registry.assets set quote_currency = 'USD', base_currency = split_part(symbol, '/', 1);
           insert into registry.indices (name, type) values ('pair', 'USER');
           insert into registry.index_memberships (index_id, common_symbol_id, valid_from)
           select i.index_id, m.common_symbol_id, now() from registry.indices i, registry.common_symbols m"""
    )


def selector(**symbols: Any) -> stream_pb2.MarketDataSelector:
    """Select trades of symbols."""
    found = market_data_pb2.SymbolSelector(**symbols)
    return stream_pb2.MarketDataSelector(symbols=found, contents=[TRADES])


async def test_symbols_are_selected_by_common_symbol_index_and_filter(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, *PAIRS)
    await mapped(database)
    async with start(DATAHUB) as hub:
        first = Client()
        await Stream(hub, bearers.viewer, first, symbols("fast", *PAIRS)).until(lambda: len(first.trades) == 3)
        for wanted, expected in (
            (selector(common_symbols=market_data_pb2.CommonSymbols(symbols=["btc"])), {"BTC/USD"}),
            (selector(index=market_data_pb2.IndexMembers(index="pair")), {"BTC/USD", "ETH/USD"}),
            (selector(filter='provider = "fast" AND NOT symbol : "btc"'), {"ETH/USD", "DOT/USD"}),
            (selector(filter='quote_currency = "USD" AND base_currency = "DOT"'), {"DOT/USD"}),
        ):
            client = Client()
            stream = Stream(hub, bearers.viewer, client, wanted)
            await stream.until(lambda client=client, n=expected: client.trades.keys() >= n)  # type: ignore[misc]
            assert client.trades.keys() == expected
            stream.call.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await Stream(hub, bearers.viewer, Client(), selector(filter="colour = red")).call.read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_begins_at_a_time_or_with_the_last_rows_and_goes_on_without_a_seam(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        wanted = symbols("fast", "BTC/USD", contents=(TRADES,))
        whole = Client()
        first = Stream(hub, bearers.viewer, whole, wanted)
        await first.until(lambda: len(whole.trades.get("BTC/USD", ())) > 100)
        middle_ns = time.time_ns()
        await first.until(lambda: len(whole.trades["BTC/USD"]) > 250)

        asked = pb.GetReplayWindowRequest()
        asked.time.FromNanoseconds(middle_ns)
        window = await hub.stub(MarketDataServiceStub).GetReplayWindow(asked, **as_(bearers.viewer))
        assert window.earliest_time.ToNanoseconds() < middle_ns < window.latest_time.ToNanoseconds()
        assert window.size_bytes > 0
        assert window.target_duration.ToTimedelta() == dt.timedelta(minutes=15)
        assert window.bus == "memory"
        asked.time.FromSeconds(1)
        assert not (await hub.stub(MarketDataServiceStub).GetReplayWindow(asked, **as_(bearers.viewer))).time_cursor
        at = Timestamp()
        at.FromNanoseconds(middle_ns)
        clients = []
        for place in ({"start_time": at}, {"cursor": window.time_cursor}, {"last_count": 40}):
            client = Client()
            stream = Stream(hub, bearers.viewer, client, wanted, **place)
            await stream.until(lambda client=client: client.phases)  # type: ignore[misc]
            replayed = len(client.trades["BTC/USD"])
            await stream.until(lambda c=client, n=replayed: len(c.trades["BTC/USD"]) > n + 20)  # type: ignore[misc]
            assert client.phases == [stream_pb2.STREAM_PHASE_REPLAY]
            assert without_a_hole(client.trades["BTC/USD"])
            clients.append((client, replayed))
            stream.call.cancel()
        (by_time, since), (by_cursor, _), (_, counted) = clients
        assert by_time.trades["BTC/USD"][0] == by_cursor.trades["BTC/USD"][0]
        assert 40 <= counted < since  # whole portions of the log, whose size is what came between two flushes
        before = Client()
        early = Stream(hub, bearers.viewer, before, wanted, cursor=window.earliest_cursor)
        await early.until(lambda: len(before.trades.get("BTC/USD", ())) > 200)
        assert before.trades["BTC/USD"][:50] == whole.trades["BTC/USD"][:50]
        early.call.cancel()
        first.call.cancel()


async def test_prices_come_from_bars_where_nothing_is_live_and_movers_are_ranked_over_a_window(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, *PAIRS)
    await database.execute(
        """insert into series (provider, symbol, interval) values ('fast', 'OLD/USD', '1d');
           insert into bar_last (series_id, open_time, close_time, open, high, low, close, volume, origin, known_at)
           select series_id, '2026-01-05', '2026-01-06', 1, 2, 1, 1.5, 9, 1, now()
           from series where symbol = 'OLD/USD'"""
    )
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        client = Client()
        stream = Stream(
            hub, bearers.viewer, client, symbols("fast", *PAIRS, contents=(stream_pb2.STREAM_CONTENT_CLOSED_BARS,))
        )
        await stream.until(lambda: len(client.bars) == 3)
        stream.call.cancel()
        wanted = symbols("fast", "OLD/USD", "BTC/USD", "NO/USD").symbols
        answer = await stub.GetLatestPrices(pb.GetLatestPricesRequest(symbols=wanted), **as_(bearers.viewer))
        assert [price.series.key.symbol for price in answer.prices] == ["OLD/USD", "BTC/USD"]
        old, live = answer.prices
        assert (old.last, old.basis) == (1.5, price_pb2.PRICE_BASIS_HISTORICAL_BAR)
        assert (live.basis, live.session_vwap > 0) == (price_pb2.PRICE_BASIS_TRADE, True)
        assert live.session_low <= live.session_vwap <= live.session_high
        assert live.change == pytest.approx(live.last - live.session_open)
        assert [item.requested for item in answer.missing] == ["fast:NO/USD"]

        call = stub.WatchPrices(pb.WatchPricesRequest(symbols=[wanted]), **as_(bearers.viewer))
        shown = await call.read()
        assert {price.series.key.symbol for price in shown.prices} == {"OLD/USD", "BTC/USD"}
        assert [item.requested for item in shown.missing] == ["fast:NO/USD"]
        call.cancel()

        request = pb.ListTopMoversRequest(ranking=price_pb2.MOVER_RANKING_GAINERS)
        request.window.FromSeconds(600)
        async with asyncio.timeout(90):
            while (found := await stub.ListTopMovers(request, **as_(bearers.viewer))).compared < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # the last minute is on its way to the table
        values = [mover.ranked_value for mover in found.movers]
        assert values == sorted(values, reverse=True)
        for mover in found.movers:
            assert mover.window_change_ratio == pytest.approx(mover.ranked_value)
            assert mover.window_quote_volume > 0
        least = pb.ListTopMoversRequest(ranking=price_pb2.MOVER_RANKING_TRADES, limit=1, min_quote_volume=1.0)
        (most,) = (await stub.ListTopMovers(least, **as_(bearers.viewer))).movers
        assert (most.rank, most.ranked_value) == (1, most.price.session_trades)
