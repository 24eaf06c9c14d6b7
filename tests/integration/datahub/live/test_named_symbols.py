"""What names stand for: common symbols, members of indices and filters, also when the registry changes meanwhile."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar_proto.common.v1 import errors_pb2, values_pb2
from quasar_proto.datahub.v1 import market_data_pb2, stream_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.datahub.live.client import CLOSED, STATES, TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market
from tests.integration.datahub.live.test_selections import mapped, selector
from tests.integration.datahub.registry_rows import add_provider
from tests.integration.services.conftest import Bearers, as_

PAIRS = ("BTC/USD", "ETH/USD", "DOT/USD")
HEALTH = stream_pb2.STREAM_CONTENT_FEED_HEALTH
REMOVED = STATES.SUBSCRIPTION_STATUS_STATE_REMOVED


def common(*names: str) -> market_data_pb2.CommonSymbols:
    return market_data_pb2.CommonSymbols(symbols=names)


async def also_mapped(database: Database) -> None:
    """Map a symbol of another provider, which is not live, to Bitcoin too."""
    code_id = await add_provider(database, "another")
    await database.execute("insert into registry.assets (code_id, symbol) values ($1, 'XBT')", code_id)
    await database.execute(
        """insert into registry.asset_mapping (asset_id, code_id, common_symbol_id, origin)
           select a.asset_id, a.code_id, m.common_symbol_id, 'MANUAL'
           from registry.assets a, registry.common_symbols m where a.symbol = 'XBT' and m.symbol = 'BTC'"""
    )


async def test_a_common_symbol_is_one_symbol_in_the_order_asked_for_and_an_unknown_name_is_told(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, *PAIRS)
    await mapped(database)
    await also_mapped(database)
    async with start(DATAHUB) as hub:
        client = Client()
        stream = Stream(
            hub,
            bearers.viewer,
            client,
            selector(common_symbols=common("eth", "NOPE", "btc")),
            selector(index=market_data_pb2.IndexMembers(index="nothing")),
            symbols("fast", "ABSENT"),
            symbols("nobody", "BTC/USD"),
        )
        await stream.until(lambda: len(client.trades) == 2)
        stream.call.cancel()
        told = {one.requested: one for one in client.statuses}
        assert told.keys() == {"fast:ETH/USD", "fast:BTC/USD", "NOPE", "nothing", "fast:ABSENT", "nobody:BTC/USD"}
        for name in ("NOPE", "nothing", "fast:ABSENT", "nobody:BTC/USD"):
            assert told[name].state == STATES.SUBSCRIPTION_STATUS_STATE_REJECTED
            assert told[name].reason == errors_pb2.ERROR_REASON_NOT_FOUND
        assert told["NOPE"].message == "There is no common symbol NOPE."
        assert told["nothing"].message == "There is no index nothing."

        request = pb.GetLatestPricesRequest(
            symbols=market_data_pb2.SymbolSelector(common_symbols=common("eth", "NOPE", "btc"))
        )
        answer = await hub.stub(MarketDataServiceStub).GetLatestPrices(request, **as_(bearers.viewer))
        assert [price.series.key.symbol for price in answer.prices] == ["ETH/USD", "BTC/USD"]
        assert [(one.requested, one.message) for one in answer.missing] == [("NOPE", "There is no common symbol NOPE.")]


async def test_members_of_an_index_come_and_go_in_a_running_stream_and_watchlist(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, *PAIRS)
    await mapped(database)
    # A member of a provider's index is an asset, without any mapping; and one that begins in the future is none so far.
    await database.execute(
        """delete from registry.index_memberships;
           insert into registry.index_memberships (index_id, asset_id, valid_from)
           select i.index_id, a.asset_id, now() from registry.indices i, registry.assets a where a.symbol = 'DOT/USD';
           insert into registry.index_memberships (index_id, common_symbol_id, valid_from)
           select i.index_id, m.common_symbol_id, now() + interval '1 day'
           from registry.indices i, registry.common_symbols m where m.symbol = 'ETH'"""
    )
    members = market_data_pb2.SymbolSelector(index=market_data_pb2.IndexMembers(index="pair"))
    async with start(DATAHUB) as hub:
        client = Client()
        stream = Stream(hub, bearers.viewer, client, selector(index=members.index))
        await stream.until(lambda: client.trades)
        assert client.trades.keys() == {"DOT/USD"}
        watch = hub.stub(MarketDataServiceStub).WatchPrices(
            pb.WatchPricesRequest(symbols=[members]), **as_(bearers.viewer)
        )
        (first,) = (await watch.read()).prices
        assert first.series.key.symbol == "DOT/USD"
        await database.execute(
            """update registry.index_memberships set valid_to = now() where asset_id is not null;
               insert into registry.index_memberships (index_id, common_symbol_id, valid_from)
               select i.index_id, m.common_symbol_id, now()
               from registry.indices i, registry.common_symbols m where m.symbol = 'BTC';
               notify registry_changed, 'indices/pair'"""
        )
        await stream.until(lambda: client.state_of("fast:DOT/USD") == REMOVED and client.trades.get("BTC/USD"))
        had = len(client.trades["BTC/USD"]), len(client.trades["DOT/USD"])
        await stream.until(lambda: len(client.trades["BTC/USD"]) > had[0] + 20)
        assert len(client.trades["DOT/USD"]) == had[1]
        stream.call.cancel()
        shown, removed = set[str](), list[int]()
        while not (removed and "BTC/USD" in shown):
            message = await watch.read()
            shown |= {price.series.key.symbol for price in message.prices}
            removed += message.removed_series_ids
        assert removed == [first.series.series_id]
        watch.cancel()


async def test_a_mapping_that_comes_later_is_told_and_lets_a_symbol_join_a_filter(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        client, filtered = Client(), Client()
        stream = Stream(hub, bearers.viewer, client, symbols("fast", "BTC/USD"))
        await stream.until(lambda: client.trades)
        other = Stream(
            hub, bearers.viewer, filtered, selector(filter='common_symbol = "BTC" AND asset_class = "CRYPTO"')
        )
        assert await other.read()
        await mapped(database)
        await database.execute("update registry.assets set asset_class = 'crypto'")
        await database.execute("notify registry_changed, 'assets/fast'")
        await other.until(lambda: filtered.trades.get("BTC/USD"))
        described = ""
        while described != "BTC":
            described = next((info.common_symbol for info in (await stream.call.read()).series), "")
        for each in (stream, other):
            each.call.cancel()


async def test_a_selector_gives_the_contents_that_it_names_and_health_alone_is_no_data(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    key = values_pb2.SeriesKey(provider="fast", symbol="BTC/USD")
    one = stream_pb2.SeriesKeys(keys=[key])
    async with start(DATAHUB) as hub:
        both = Client()
        stream = Stream(
            hub,
            bearers.viewer,
            both,
            stream_pb2.MarketDataSelector(series=one, contents=[TRADES, CLOSED], intervals=["1min"]),
        )
        await stream.until(lambda: both.trades.get("BTC/USD") and both.closed("BTC/USD"))
        assert {status.content for status in both.statuses} == {TRADES, CLOSED}
        stream.call.cancel()
        health = Client()
        wanted = symbols("fast", "BTC/USD", contents=(HEALTH,))
        quiet = Stream(hub, bearers.viewer, health, wanted, heartbeat_interval=Duration(seconds=1))
        await quiet.until(lambda: health.heartbeats)
        assert not health.trades
        (feed,) = health.heartbeats[0].feeds
        assert (feed.feed_id, feed.symbol_count) == ("fast/0", 1)
        quiet.call.cancel()


async def test_what_a_change_comes_to_is_answered(start: Any, bearers: Bearers, database: Database) -> None:
    await fast_market(database, *PAIRS)
    async with start(DATAHUB) as hub:
        client = Client()
        stream = Stream(hub, bearers.viewer, client, symbols("fast", "BTC/USD", contents=(TRADES,)))
        await stream.until(lambda: client.trades)
        change = pb.UpdateSubscriptionsRequest(
            session_id=client.session, add=[symbols("fast", "ETH/USD", "DOT/USD", "ABSENT")], remove_selector_ids=["s1"]
        )
        answer = await hub.stub(MarketDataServiceStub).UpdateSubscriptions(change, **as_(bearers.viewer))
        assert (list(answer.selector_ids), answer.series_count) == (["s1"], 2)
        assert answer.effective_sequence >= client.sequences[-1]
        await stream.until(lambda: client.sequences[-1] >= answer.effective_sequence)
        had = len(client.trades["BTC/USD"])
        await stream.until(lambda: len(client.trades.get("DOT/USD", ())) > 20)
        assert len(client.trades["BTC/USD"]) == had, "trades of what was removed came after the change held"
        stream.call.cancel()
