"""Back-tests through the public calls: what goes in over a socket, and what comes out of the database."""

from __future__ import annotations

import hashlib
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from quasar.database.pool import Database
from quasar_proto.common.v1 import values_pb2
from quasar_proto.ops.v1 import operation_pb2, operation_service_pb2, operation_service_pb2_grpc
from quasar_proto.strategy.v1 import backtest_pb2, backtest_service_pb2_grpc, universe_pb2
from quasar_proto.strategy.v1 import backtest_service_pb2 as pb
from tests.integration.strategy_engine.code_rows import store_example
from tests.integration.strategy_engine.conftest import GOOG, Bearers, Running, as_, expected, goog_bars
from tests.integration.strategy_engine.played_datahub import Played

IDLE = b"""from quasar.strategy import Strategy

class Idle(Strategy):
    def on_bar(self, bar):
        self.log("seen")
"""
BAD = b"""from quasar.strategy import Strategy

class Bad(Strategy):
    def on_bar(self, bar):
        1 / 0
"""
PARAMETERS = {"fast": 10, "slow": 30, "quantity": 100}


def universe(symbol: str = GOOG[1]) -> universe_pb2.Universe:
    key = values_pb2.SeriesKey(provider=GOOG[0], symbol=symbol, interval=GOOG[2])
    return universe_pb2.Universe(selectors=[universe_pb2.SeriesSelector(series=key)])


def terms(cash: str = "100000") -> backtest_pb2.BacktestTerms:
    found = backtest_pb2.BacktestTerms(
        cash=values_pb2.Money(amount=values_pb2.Decimal(value=cash), currency="USD"),
        record_level=backtest_pb2.RECORD_LEVEL_FULL,
    )
    found.execution.commission.rate.rate.value = "0.001"
    return found


def asking(**more: Any) -> pb.StartBacktestRequest:
    code = backtest_pb2.StrategyCode(strategy=backtest_pb2.StrategyRef(name="sma_cross"))
    return pb.StartBacktestRequest(**{"code": code, "universe": universe(), "terms": terms(), **more})


async def ended(service: Running, bearers: Bearers, operation_id: str) -> operation_pb2.Operation:
    """Watch an operation until it has ended."""
    stub = service.stub(operation_service_pb2_grpc.OperationServiceStub)
    request = operation_service_pb2.WatchOperationRequest(operation_id=operation_id)
    async for message in stub.WatchOperation(request, **as_(bearers.viewer)):
        last = message.operation
    found: operation_pb2.Operation = last
    return found


async def found(stub: Any, bearers: Bearers, backtest_id: str) -> backtest_pb2.Backtest:
    """Return a back-test as it stands."""
    answer = await stub.GetBacktest(pb.GetBacktestRequest(backtest_id=backtest_id), **as_(bearers.viewer))
    shown: backtest_pb2.Backtest = answer.backtest
    return shown


async def test_a_cross_over_on_goog_gives_the_trades_that_other_engines_give(
    service: Running, bearers: Bearers, database: Database, played: Played
) -> None:
    sha256 = await store_example(database, "sma_cross.py", "sma_cross", PARAMETERS)
    wanted, bars = expected("goog_sma_next_open.json"), goog_bars()
    stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
    begun = await stub.StartBacktest(asking(display_name="cross"), **as_(bearers.operator))
    operation = await ended(service, bearers, begun.operation.operation_id)
    assert operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED, operation.error.message

    listed = await stub.ListBacktestFills(
        pb.ListBacktestFillsRequest(backtest_id=begun.backtest_id, page_size=1000), **as_(bearers.viewer)
    )
    got = [
        [
            int((bars.open_time_ns == fill.fill_time.ToNanoseconds()).argmax()),
            1 if fill.side == 1 else -1,
            int(fill.quantity.value),
            float(fill.price.value),
            float(fill.commission.amount.value),
        ]
        for fill in listed.fills
    ]
    assert listed.total_size == len(wanted["fills"]) == 67
    assert got == wanted["fills"]

    curve = []
    request = pb.ReadEquityRequest(backtest_id=begun.backtest_id)
    async for message in stub.ReadEquity(request, **as_(bearers.viewer)):
        curve += message.chunk.equity
        assert (message.total_rows, message.currency) == (len(bars), "USD")
    assert curve == pytest.approx(wanted["equity"], abs=1e-6)

    figures = (
        await stub.GetStatistics(pb.GetStatisticsRequest(backtest_id=begun.backtest_id), **as_(bearers.viewer))
    ).statistics
    assert float(figures.final_equity.value) == pytest.approx(179225.725, abs=1e-9)
    assert (figures.fills, figures.trades) == (67, 33)
    trades = await stub.ListTrades(pb.ListTradesRequest(backtest_id=begun.backtest_id), **as_(bearers.viewer))
    assert trades.total_size == 33

    shown = await found(stub, bearers, begun.backtest_id)
    assert shown.state == backtest_pb2.BACKTEST_STATE_SUCCEEDED
    assert (shown.code_version, shown.code_sha256) == (1, sha256)
    assert shown.series[0].bars == len(bars)
    assert dict(shown.parameters) == PARAMETERS
    assert played.asked[0].series[0].key.symbol == "GOOG"

    renamed = await stub.UpdateBacktest(
        pb.UpdateBacktestRequest(
            backtest_id=begun.backtest_id,
            display_name="<b>Cross & over</b>",
            labels={"left": "out"},
            update_mask=FieldMask(paths=["display_name"]),
        ),
        **as_(bearers.operator),
    )
    assert (renamed.backtest.display_name, dict(renamed.backtest.labels)) == ("<b>Cross & over</b>", {})
    report = await stub.GetBacktestReport(
        pb.GetBacktestReportRequest(backtest_id=begun.backtest_id), **as_(bearers.viewer)
    )
    page = report.content.decode()
    assert report.content_type.startswith("text/html")
    assert report.file_name.startswith("b-cross-over-b-")
    assert "&lt;b&gt;Cross &amp; over&lt;/b&gt;" in page
    assert "179225.725" in page
    assert "<polyline" in page
    assert page.count("<tr>") == 1 + 33
    assert "http" not in page


async def test_two_back_tests_are_set_side_by_side(service: Running, bearers: Bearers, database: Database) -> None:
    await store_example(database, "sma_cross.py", "sma_cross", PARAMETERS)
    stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
    until = terms()
    until.range.end.FromJsonString("2020-01-01T00:00:00Z")
    faster, slower = asking(terms=until), asking(terms=until)
    slower.parameters.update({"slow": 60})
    begun = [await stub.StartBacktest(each, **as_(bearers.operator)) for each in (faster, slower)]
    for each in begun:
        await ended(service, bearers, each.operation.operation_id)
    ids = [each.backtest_id for each in begun]
    wanted = pb.CompareBacktestsRequest(backtest_ids=ids, figures=["final_equity", "trades"], max_rows=100)
    found = await stub.CompareBacktests(wanted, **as_(bearers.viewer))
    equity, trades = found.figures
    assert (equity.name, equity.values[0].value) == ("final_equity", pytest.approx(179225.725))
    assert not equity.values[0].HasField("difference")
    assert equity.values[1].difference == pytest.approx(equity.values[1].value - equity.values[0].value)
    assert trades.values[0].value == 33
    assert [(row.path, [value.number_value for value in row.values]) for row in found.settings] == [
        ("parameters.slow", [30, 60])
    ]
    assert [len(curve.value) for curve in found.curves] == [len(found.time_ns)] * 2 == [100, 100]
    assert found.curves[0].value[-1] == pytest.approx(1.79225725)
    assert [row.value[n] for n, row in enumerate(found.correlations)] == pytest.approx([1.0, 1.0])
    assert 0 < found.correlations[0].value[1] < 1
    wanted.figures.append("nonsense")
    with pytest.raises(grpc.aio.AioRpcError, match="nonsense") as caught:
        await stub.CompareBacktests(wanted, **as_(bearers.viewer))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_same_request_id_begins_one_back_test(service: Running, bearers: Bearers, database: Database) -> None:
    await store_example(database, "sma_cross.py", "sma_cross", PARAMETERS)
    stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
    first = await stub.StartBacktest(asking(request_id="r-1"), **as_(bearers.operator))
    again = await stub.StartBacktest(asking(request_id="r-1"), **as_(bearers.operator))
    assert (first.backtest_id, first.operation.operation_id) == (again.backtest_id, again.operation.operation_id)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.StartBacktest(asking(request_id="r-1", terms=terms("5")), **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    await ended(service, bearers, first.operation.operation_id)
    listed = await stub.ListBacktests(pb.ListBacktestsRequest(), **as_(bearers.viewer))
    assert [each.backtest_id for each in listed.backtests] == [first.backtest_id]
    await stub.DeleteBacktest(pb.DeleteBacktestRequest(backtest_id=first.backtest_id), **as_(bearers.operator))
    listed = await stub.ListBacktests(pb.ListBacktestsRequest(), **as_(bearers.viewer))
    assert not listed.backtests


async def test_inline_source_runs_for_administrators_only(service: Running, bearers: Bearers) -> None:
    stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
    source = IDLE
    code = backtest_pb2.StrategyCode(source=backtest_pb2.InlineSource(content=source, file_name="idle.py"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.StartBacktest(asking(code=code), **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    begun = await stub.StartBacktest(asking(code=code), **as_(bearers.admin))
    operation = await ended(service, bearers, begun.operation.operation_id)
    assert operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED, operation.error.message
    request = pb.ListBacktestLogsRequest(backtest_id=begun.backtest_id, page_size=3)
    lines = await stub.ListBacktestLogs(request, **as_(bearers.viewer))
    assert [line.message for line in lines.lines] == ["seen"] * 3
    assert lines.next_page_token
    assert begun.backtest.code_sha256 == hashlib.sha256(source).hexdigest()


async def test_a_strategy_that_raises_fails_its_back_test_with_file_and_line(
    service: Running, bearers: Bearers
) -> None:
    stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
    source = (
        b"from quasar.strategy import Strategy\n\nclass Bad(Strategy):\n    def on_bar(self, bar):\n        1 / 0\n"
    )
    code = backtest_pb2.StrategyCode(source=backtest_pb2.InlineSource(content=source, file_name="bad.py"))
    begun = await stub.StartBacktest(asking(code=code), **as_(bearers.admin))
    operation = await ended(service, bearers, begun.operation.operation_id)
    assert operation.state == operation_pb2.OPERATION_STATE_FAILED
    shown = await found(stub, bearers, begun.backtest_id)
    assert shown.state == backtest_pb2.BACKTEST_STATE_FAILED
    assert "ZeroDivisionError" in shown.error
    assert "bad.py:5" in shown.error


async def test_a_series_that_does_not_exist_fails_the_back_test_and_names_it(
    service: Running, bearers: Bearers, database: Database
) -> None:
    await store_example(database, "sma_cross.py", "sma_cross", PARAMETERS)
    stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
    begun = await stub.StartBacktest(asking(universe=universe("NONE")), **as_(bearers.operator))
    operation = await ended(service, bearers, begun.operation.operation_id)
    assert operation.state == operation_pb2.OPERATION_STATE_FAILED
    assert "no such series" in operation.error.message
