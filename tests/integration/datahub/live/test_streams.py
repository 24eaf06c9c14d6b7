"""Live streams from outside: the real DataHub, a real plug-in process, real sockets."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc
import pytest

from quasar.config import DATAHUB
from quasar.convert.columns import decode_ticks
from quasar.database.pool import Database
from quasar.model.bars import BarState
from quasar.model.instants import to_ns
from quasar.providers.market import MINUTE_NS, Market
from quasar.rpc.errors import from_rpc_error
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2, stream_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.datahub.live.client import CLOSED, FORMING, STATES, TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market, market_bars, stored_bars, until_stored, without_a_hole
from tests.integration.services.conftest import Bearers, as_


async def flowing(hub: Any, bearer: str, *names: str, **request: Any) -> Stream:
    """Open a stream of trades once trades come."""
    stream = Stream(hub, bearer, Client(), symbols("fast", *names, contents=(TRADES,)), **request)
    await stream.until(lambda: all(stream.client.trades.get(name) for name in names))
    return stream


async def test_trades_forming_and_closed_bars_are_those_of_the_market(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        wanted = symbols("fast", "BTC/USD", contents=(TRADES, FORMING), intervals=["1min"])
        client = Client()
        stream = Stream(hub, bearers.viewer, client, wanted, snapshot=True)
        await stream.until(lambda: len(client.closed("BTC/USD")) >= 4)
        assert client.sequences == list(range(1, len(client.sequences) + 1))
        # A second one where the subscription was only seen after the stream began.
        assert set(client.phases) == {stream_pb2.STREAM_PHASE_SNAPSHOT}
        assert without_a_hole(client.trades["BTC/USD"])
        closed = client.closed("BTC/USD")
        assert closed == {at: market_bars("BTC/USD", list(closed))[at] for at in closed}
        assert BarState.FORMING in {state for _, state, _ in client.bars["BTC/USD"]}
        stream.call.cancel()


async def test_an_unknown_symbol_gets_its_status_and_the_stream_goes_on(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD", "NOBODY")
    async with start(DATAHUB) as hub:
        client = Client()
        wanted = symbols("fast", "BTC/USD", "ABSENT", "NOBODY")
        stream = Stream(hub, bearers.viewer, client, wanted, symbols("fast", "BTC/USD", intervals=["7min"]))
        await stream.until(lambda: client.trades.get("BTC/USD"))
        await stream.until(lambda: client.state_of("fast:BTC/USD") == STATES.SUBSCRIPTION_STATUS_STATE_ACTIVE)
        assert client.state_of("fast:ABSENT") == STATES.SUBSCRIPTION_STATUS_STATE_REJECTED
        assert client.state_of("fast:BTC/USD@7min") == STATES.SUBSCRIPTION_STATUS_STATE_REJECTED
        (refused,) = (one for one in client.statuses if one.requested == "fast:ABSENT")
        assert "create one with live = true" in refused.message


async def test_what_is_added_and_has_no_data_so_far_ends_its_snapshot_too(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        stream = await flowing(hub, bearers.viewer, "BTC/USD", snapshot=False)
        client = stream.client
        had = len(client.phases)
        added = symbols("fast", "BTC/USD", contents=(stream_pb2.STREAM_CONTENT_GAPS,), selector_id="quiet")
        change = pb.UpdateSubscriptionsRequest(session_id=client.session, add=[added])
        await hub.stub(MarketDataServiceStub).UpdateSubscriptions(change, **as_(bearers.viewer))
        await stream.until(lambda: len(client.phases) > had)
        assert client.phases[had:] == [stream_pb2.STREAM_PHASE_SNAPSHOT]
        stream.call.cancel()


async def test_a_running_stream_is_changed_without_a_break(start: Any, bearers: Bearers, database: Database) -> None:
    await fast_market(database, "BTC/USD", "ETH/USD")
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        stream = await flowing(hub, bearers.viewer, "BTC/USD")
        client = stream.client
        added = symbols("fast", "ETH/USD", contents=(TRADES,), selector_id="more")
        change = pb.UpdateSubscriptionsRequest(session_id=client.session, add=[added])
        assert list((await stub.UpdateSubscriptions(change, **as_(bearers.viewer))).selector_ids) == ["s1", "more"]
        await stream.until(lambda: len(client.trades.get("ETH/USD", ())) > 20)
        assert without_a_hole(client.trades["BTC/USD"])
        assert without_a_hole(client.trades["ETH/USD"])
        for refused, code in (
            (change, grpc.StatusCode.ALREADY_EXISTS),
            (pb.UpdateSubscriptionsRequest(session_id="nobody", add=[added]), grpc.StatusCode.NOT_FOUND),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await stub.UpdateSubscriptions(refused, **as_(bearers.viewer))
            assert told.value.code() is code
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await stub.UpdateSubscriptions(change, **as_(bearers.operator))
        assert told.value.code() is grpc.StatusCode.NOT_FOUND, "the stream belongs to somebody else"
        change = pb.UpdateSubscriptionsRequest(session_id=client.session, remove_selector_ids=["s1"])
        await stub.UpdateSubscriptions(change, **as_(bearers.viewer))
        removed = STATES.SUBSCRIPTION_STATUS_STATE_REMOVED
        await stream.until(lambda: client.state_of("fast:BTC/USD") == removed)
        had, other = len(client.trades["BTC/USD"]), len(client.trades["ETH/USD"])
        await stream.until(lambda: len(client.trades["ETH/USD"]) > other + 20)
        assert len(client.trades["BTC/USD"]) == had


async def test_clients_that_are_cut_at_random_lose_nothing_and_get_nothing_twice(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD", "ETH/USD")
    chance = random.Random(11)

    async def often_cut(hub: Any, client: Client) -> None:
        wanted = symbols("fast", "BTC/USD", "ETH/USD", contents=(TRADES, CLOSED), intervals=["1min"])
        for _ in range(25):
            place = {"cursor": client.cursor} if client.cursor else {"snapshot": True}
            stream = Stream(hub, bearers.viewer, client, wanted, **place)
            for _ in range(chance.randint(1, 12)):
                await stream.read()
            stream.call.cancel()
            await asyncio.sleep(chance.random() * 0.1)

    async with start(DATAHUB) as hub:
        (await flowing(hub, bearers.viewer, "BTC/USD", "ETH/USD")).call.cancel()
        clients = [Client() for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(often_cut(hub, client))
        for client in clients:
            assert without_a_hole(client.trades["BTC/USD"])
            assert without_a_hole(client.trades["ETH/USD"])
            times = [at for at, _, _ in client.bars["BTC/USD"]]
            assert times == sorted(set(times))
        last = max(client.trades["BTC/USD"][-1] for client in clients)
        first = (await until_stored(database, "BTC/USD", 1))[0]
        assert without_a_hole(await until_stored(database, "BTC/USD", int(last - first) + 1))


async def test_an_idle_stream_has_heartbeats_that_tell_how_the_feed_is(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        (await flowing(hub, bearers.viewer, "BTC/USD")).call.cancel()
        client = Client()
        request = pb.StreamMarketDataRequest()
        request.heartbeat_interval.FromSeconds(1)
        wanted = symbols("fast", "BTC/USD", contents=(stream_pb2.STREAM_CONTENT_GAPS,))
        stream = Stream(hub, bearers.viewer, client, wanted, heartbeat_interval=request.heartbeat_interval)
        await stream.until(lambda: len(client.heartbeats) >= 3)
        assert {feed.provider for feed in client.heartbeats[-1].feeds} == {"fast"}
        assert client.heartbeats[-1].feeds[0].symbol_count == 1
        assert not client.trades


async def test_a_stop_ends_streams_with_a_cursor_to_resume_from(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        stream = await flowing(hub, bearers.viewer, "BTC/USD")
        ending = asyncio.create_task(hub.server.drain())
        error = await stream.end()
        await ending
        told = from_rpc_error(error)
        assert told.reason == "DRAINING"
        assert told.metadata["cursor"] == stream.client.draining[-1].cursor == stream.client.cursor


async def test_over_a_restart_a_cursor_goes_on_every_trade_is_stored_once_and_bars_stay_exact(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD", "ETH/USD")
    client = Client()
    wanted = symbols("fast", "BTC/USD", contents=(TRADES,))
    for _ in range(3):
        async with start(DATAHUB) as hub:
            place = {"cursor": client.cursor} if client.cursor else {"snapshot": True}
            stream = Stream(hub, bearers.viewer, client, wanted, **place)
            had = len(client.trades.get("BTC/USD", ()))
            await stream.until(lambda had=had: len(client.trades.get("BTC/USD", ())) > had + 150)  # type: ignore[misc]
    assert without_a_hole(client.trades["BTC/USD"])
    for symbol in ("BTC/USD", "ETH/USD"):
        assert without_a_hole(await until_stored(database, symbol, 1))
        bars = await stored_bars(database, symbol)
        assert len(bars) > 4
        assert bars == market_bars(symbol, list(bars))


async def test_prices_are_had_in_one_call_and_as_a_watchlist(start: Any, bearers: Bearers, database: Database) -> None:
    await fast_market(database, "BTC/USD", "ETH/USD")
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        (await flowing(hub, bearers.viewer, "BTC/USD", "ETH/USD")).call.cancel()
        wanted = symbols("fast", "BTC/USD", "ETH/USD", "ABSENT").symbols
        answer = await stub.GetLatestPrices(pb.GetLatestPricesRequest(symbols=wanted), **as_(bearers.viewer))
        assert {price.series.key.symbol for price in answer.prices} == {"BTC/USD", "ETH/USD"}
        assert all(price.last > 0 and price.session_trades > 0 for price in answer.prices)
        assert [item.requested for item in answer.missing] == ["fast:ABSENT"]
        call = stub.WatchPrices(pb.WatchPricesRequest(symbols=[wanted]), **as_(bearers.viewer))
        first, second = await call.read(), await call.read()
        assert len(first.prices) == 2
        assert second.prices
        call.cancel()
        movers = await stub.ListTopMovers(pb.ListTopMoversRequest(limit=1), **as_(bearers.viewer))
        assert [mover.rank for mover in movers.movers] == [1]


async def test_stored_ticks_are_read_in_columns_with_a_cursor_and_as_pages(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD", "ETH/USD")
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        (await flowing(hub, bearers.viewer, "BTC/USD", "ETH/USD")).call.cancel()
        await until_stored(database, "ETH/USD", 120)
        stored = (await until_stored(database, "BTC/USD", 120)).tolist()[:120]
        span = values_pb2.TimeRange()
        first = await database.fetchval("select min(event_time) from ticks join series using (series_id)")
        trades = Market().trades("BTC/USD", to_ns(first) - MINUTE_NS, to_ns(first) + 10 * MINUTE_NS)
        assert trades.trade_id is not None
        last = trades[trades.trade_id == stored[-1]]
        span.end.FromNanoseconds(int(last.event_time_ns[0]) + 1_000)
        keys = [values_pb2.SeriesKey(provider="fast", symbol=name) for name in ("BTC/USD", "ABSENT", "ETH/USD")]
        request = pb.ReadTicksRequest(range=span, batch_rows=37)
        request.series.extend(market_data_pb2.SeriesReference(key=key) for key in keys)
        messages = [message async for message in stub.ReadTicks(request, **as_(bearers.viewer))]
        whole = [ticks_of(message) for message in messages]
        btc = [one for part in whole[:4] for one in part]
        assert btc == stored
        ended = {end.index: end for message in messages for end in message.ended}
        assert (ended[0].rows, ended[1].error.code) == (120, grpc.StatusCode.NOT_FOUND.value[0])
        request.cursor = messages[1].cursor
        rest = [message async for message in stub.ReadTicks(request, **as_(bearers.viewer))]
        assert [ticks_of(message) for message in rest] == whole[2:]
        newest = pb.ReadTicksRequest(range=span, last_count=5, series=request.series[:1])
        (part,) = [m async for m in stub.ReadTicks(newest, **as_(bearers.viewer)) if m.ticks]
        assert ticks_of(part) == stored[-5:]
        page = pb.ListTicksRequest(series=request.series[0], range=span, page_size=50)
        rows: list[int] = []
        while True:
            answer = await stub.ListTicks(page, **as_(bearers.viewer))
            for tick in answer.ticks:
                fetched = market_data_pb2.TICK_FLAG_REFILLED in tick.flags
                assert tick.HasField("receive_time") != fetched
                assert tick.publish_time.ToNanoseconds() >= tick.receive_time.ToNanoseconds()
                assert tick.HasField("publish_time")
            rows += [int(tick.trade_id) for tick in answer.ticks]
            page.page_token = answer.next_page_token
            if not page.page_token:
                break
        assert rows == stored[::-1]


def ticks_of(message: pb.ReadTicksResponse) -> list[int]:
    """Return the trade ids of an answer."""
    found: list[int] = []
    for chunk in message.ticks:
        ids = decode_ticks(chunk.SerializeToString()).columns.trade_id
        assert ids is not None
        found += ids.tolist()
    return found
