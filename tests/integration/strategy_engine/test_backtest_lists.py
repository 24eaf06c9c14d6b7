"""What is kept of a back-test is filtered, ordered, thinned and told as the contract says."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from quasar.database.pool import Database
from quasar_proto.ops.v1 import event_service_pb2, event_service_pb2_grpc
from quasar_proto.strategy.v1 import backtest_pb2, backtest_service_pb2_grpc, statistics_pb2
from quasar_proto.strategy.v1 import backtest_service_pb2 as pb
from tests.integration.strategy_engine.code_rows import store_example
from tests.integration.strategy_engine.conftest import Bearers, Running, as_, expected
from tests.integration.strategy_engine.test_backtests import PARAMETERS, asking, ended, terms


class Made:
    """A back-test of the cross-over that has ended, and the calls that read it."""

    def __init__(self, service: Running, bearers: Bearers) -> None:
        self.stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
        self._bearers = bearers
        self._service = service
        self.id = ""

    async def run(self, level: int, **more: Any) -> Made:
        wanted = terms()
        wanted.record_level = level  # type: ignore[assignment]  # enum values travel as plain integers
        begun = await self.stub.StartBacktest(asking(terms=wanted, **more), **as_(self._bearers.operator))
        operation = await ended(self._service, self._bearers, begun.operation.operation_id)
        assert operation.kind == "backtest.run"
        result = backtest_pb2.Backtest()
        assert operation.result.Unpack(result)
        assert (result.backtest_id, result.statistics.fills) == (begun.backtest_id, 67)
        self.id = begun.backtest_id
        return self

    async def trades(self, **more: Any) -> list[statistics_pb2.Trade]:
        request = pb.ListTradesRequest(backtest_id=self.id, **{"page_size": 1000, **more})
        answer = await self.stub.ListTrades(request, **as_(self._bearers.viewer))
        return list(answer.trades)

    async def curve(self, **more: Any) -> list[pb.ReadEquityResponse]:
        request = pb.ReadEquityRequest(backtest_id=self.id, **more)
        return [message async for message in self.stub.ReadEquity(request, **as_(self._bearers.viewer))]


async def made(service: Running, bearers: Bearers, database: Database, level: int, **more: Any) -> Made:
    await store_example(database, "sma_cross.py", "sma_cross", PARAMETERS)
    return await Made(service, bearers).run(level, **more)


async def test_records_are_ordered_and_filtered_by_what_the_contract_names(
    service: Running, bearers: Bearers, database: Database
) -> None:
    one = await made(service, bearers, database, backtest_pb2.RECORD_LEVEL_FULL)
    everything = await one.trades()
    assert [each.trade_number for each in everything] == list(range(1, len(everything) + 1))
    best = sorted((float(each.net_profit.value) for each in everything), reverse=True)
    first = await one.trades(order_by="net_profit desc", page_size=5)
    assert [float(each.net_profit.value) for each in first] == best[:5]
    listed = await one.stub.ListTrades(
        pb.ListTradesRequest(backtest_id=one.id, order_by="net_profit desc", page_size=5), **as_(bearers.viewer)
    )
    rest = await one.trades(order_by="net_profit desc", page_size=5, page_token=listed.next_page_token)
    assert [float(each.net_profit.value) for each in rest] == best[5:10]
    closed = await one.trades(filter="open = false AND net_profit < 0")
    wanted = [each for each in everything if each.HasField("exit_time") and float(each.net_profit.value) < 0]
    assert [each.trade_number for each in closed] == [each.trade_number for each in wanted]
    last = [each.trade_number for each in everything if not each.HasField("exit_time")]
    assert [each.trade_number for each in await one.trades(filter="open = true")] == last

    orders = await one.stub.ListBacktestOrders(
        pb.ListBacktestOrdersRequest(
            backtest_id=one.id, filter='side = "SELL" AND type = "MARKET"', order_by="intent_number desc", page_size=2
        ),
        **as_(bearers.viewer),
    )
    numbers = [each.intent_number for each in orders.orders]
    assert numbers == sorted(numbers, reverse=True)
    assert orders.total_size == 33
    fills = await one.stub.ListBacktestFills(
        pb.ListBacktestFillsRequest(backtest_id=one.id, filter="bar_index < 200", order_by="fill_id desc"),
        **as_(bearers.viewer),
    )
    early = [fill[0] for fill in expected("goog_sma_next_open.json")["fills"] if fill[0] < 200]
    assert [each.bar_index for each in fills.fills] == early[::-1]


async def test_back_tests_are_found_by_figures_labels_and_symbols(
    service: Running, bearers: Bearers, database: Database
) -> None:
    one = await made(service, bearers, database, backtest_pb2.RECORD_LEVEL_STATISTICS, labels={"desk": "one"})
    for text, found in (
        ('labels.desk = "one" AND statistics.win_rate > 0', True),
        ('labels.desk = "two"', False),
        ("statistics.sharpe > 100", False),
        ('symbol = "GOOG"', True),
        ('symbol = "AAPL"', False),
        ('end_time > "2020-01-01T00:00:00Z"', True),
    ):
        request = pb.ListBacktestsRequest(filter=text, order_by="statistics.max_drawdown desc, display_name")
        listed = await one.stub.ListBacktests(request, **as_(bearers.viewer))
        assert [each.backtest_id for each in listed.backtests] == [one.id] * found, text
    kept = (await one.stub.GetBacktest(pb.GetBacktestRequest(backtest_id=one.id), **as_(bearers.viewer))).backtest
    figures = kept.statistics
    assert 1 <= len(figures.drawdowns) <= 5
    assert figures.drawdowns[0].depth == pytest.approx(figures.max_drawdown)
    grown = 1.0
    for month in figures.monthly_returns:
        grown *= 1.0 + month.value
    assert grown - 1.0 == pytest.approx(figures.total_return)
    assert [each.symbol for each in figures.symbols] == ["GOOG"]
    for call in (
        one.trades(),
        one.curve(),
        one.stub.ListBacktestFills(pb.ListBacktestFillsRequest(backtest_id=one.id), **as_(bearers.viewer)),
        one.stub.ListBacktestLogs(pb.ListBacktestLogsRequest(backtest_id=one.id), **as_(bearers.viewer)),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="record_level") as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_curve_has_the_columns_asked_for_and_keeps_its_peaks_and_falls_when_it_is_thinned(
    service: Running, bearers: Bearers, database: Database
) -> None:
    one = await made(service, bearers, database, backtest_pb2.RECORD_LEVEL_TRADES)
    wanted = expected("goog_sma_next_open.json")["equity"]
    (plain,) = await one.curve()
    assert len(plain.chunk.equity) == len(wanted)
    assert (len(plain.chunk.cash), len(plain.chunk.drawdown)) == (0, 0)
    (more,) = await one.curve(columns=[statistics_pb2.EQUITY_COLUMN_CASH])
    assert len(more.chunk.cash) == len(wanted)
    (thin,) = await one.curve(max_rows=100)
    assert len(thin.chunk.equity) <= 100
    assert thin.total_rows == len(wanted)
    assert (min(thin.chunk.equity), max(thin.chunk.equity)) == pytest.approx((min(wanted), max(wanted)))
    (later,) = await one.curve(first_row=2000)
    assert (later.chunk.first_row, list(later.chunk.equity)) == (2000, list(plain.chunk.equity[2000:]))
    assert not await one.curve(first_row=len(wanted))
    with pytest.raises(grpc.aio.AioRpcError, match="max_rows") as caught:
        await one.curve(first_row=1, max_rows=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_start_end_and_deletion_are_events(service: Running, bearers: Bearers, database: Database) -> None:
    one = await made(service, bearers, database, backtest_pb2.RECORD_LEVEL_STATISTICS)
    await one.stub.DeleteBacktest(pb.DeleteBacktestRequest(backtest_id=one.id), **as_(bearers.operator))
    events = service.stub(event_service_pb2_grpc.EventServiceStub)
    request = event_service_pb2.ListEventsRequest(filter=f'subject_name = "{one.id}"')
    kinds = [each.kind for each in (await events.ListEvents(request, **as_(bearers.viewer))).events]
    assert sorted(kinds) == ["BacktestDeleted", "BacktestEnded", "BacktestStarted"]
