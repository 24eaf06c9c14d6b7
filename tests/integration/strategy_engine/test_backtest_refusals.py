"""What a back-test cannot do as it is asked is said at once, with the field; nothing is left out without a word."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from quasar.database.pool import Database
from quasar_proto.common.v1 import code_pb2
from quasar_proto.strategy.v1 import backtest_pb2, backtest_service_pb2_grpc, execution_model_pb2
from quasar_proto.strategy.v1 import backtest_service_pb2 as pb
from tests.integration.strategy_engine.code_rows import store_example
from tests.integration.strategy_engine.conftest import Bearers, Running, as_
from tests.integration.strategy_engine.status_details import details_of
from tests.integration.strategy_engine.test_backtests import IDLE, PARAMETERS, asking, ended, found, terms, universe

Change = Callable[[backtest_pb2.BacktestTerms], object]


def _borrowing(wanted: backtest_pb2.BacktestTerms) -> None:
    wanted.execution.margin.borrow_rate.value = "0.05"


def _maintenance(wanted: backtest_pb2.BacktestTerms) -> None:
    wanted.execution.margin.maintenance_ratio.value = "0.25"


def _late(wanted: backtest_pb2.BacktestTerms) -> None:
    wanted.execution.fill.latency.FromMilliseconds(50)


def _lucky(wanted: backtest_pb2.BacktestTerms) -> None:
    wanted.execution.fill.touch_fill_probability = 0.5


def _clamped(wanted: backtest_pb2.BacktestTerms) -> None:
    wanted.execution.slippage.clamp_to_bar = True


def _by_path(wanted: backtest_pb2.BacktestTerms) -> None:
    wanted.execution.fill.path = execution_model_pb2.INTRABAR_PATH_OPEN_HIGH_LOW_CLOSE


def _closed(wanted: backtest_pb2.BacktestTerms) -> None:
    wanted.close_at_end = True


def _enforced(wanted: backtest_pb2.BacktestTerms) -> None:
    wanted.execution.market_rules.enforce = True


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_borrowing, "margin.borrow_rate"),
        (_maintenance, "margin.maintenance_ratio"),
        (_late, "fill.latency"),
        (_lucky, "fill.touch_fill_probability"),
        (_clamped, "slippage.clamp_to_bar"),
        (_by_path, "fill.path"),
        (_closed, "close_at_end"),
        (_enforced, "market_rules.enforce"),
    ],
)
async def test_terms_that_the_engine_does_not_know_are_refused_before_anything_runs(
    service: Running, bearers: Bearers, database: Database, change: Change, field: str
) -> None:
    await store_example(database, "sma_cross.py", "sma_cross", PARAMETERS)
    wanted = terms()
    change(wanted)
    stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
    with pytest.raises(grpc.aio.AioRpcError, match=field) as caught:
        await stub.StartBacktest(asking(terms=wanted), **as_(bearers.operator))
    assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)
    assert not (await stub.ListBacktests(pb.ListBacktestsRequest(), **as_(bearers.viewer))).backtests


async def test_source_that_cannot_be_read_is_rejected_with_the_report(service: Running, bearers: Bearers) -> None:
    source = backtest_pb2.InlineSource(content=b"class Broken(\n", file_name="broken.py")
    stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
    with pytest.raises(grpc.aio.AioRpcError, match=r"broken\.py:1") as caught:
        await stub.StartBacktest(asking(code=backtest_pb2.StrategyCode(source=source)), **as_(bearers.admin))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (report,) = details_of(caught.value, code_pb2.ValidationReport)
    assert not report.passed
    assert report.findings[0].line == 1
    assert not (await stub.ListBacktests(pb.ListBacktestsRequest(), **as_(bearers.viewer))).backtests


async def test_a_back_test_that_takes_too_long_fails_and_says_so(service: Running, bearers: Bearers) -> None:
    slow = IDLE.replace(b'self.log("seen")', b'__import__("time").sleep(0.5)')
    source = backtest_pb2.InlineSource(content=slow, file_name="slow.py")
    wanted = terms()
    wanted.max_wall_time.FromSeconds(1)
    stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
    code = backtest_pb2.StrategyCode(source=source)
    begun = await stub.StartBacktest(asking(code=code, terms=wanted), **as_(bearers.admin))
    await ended(service, bearers, begun.operation.operation_id)
    shown = await found(stub, bearers, begun.backtest_id)
    assert shown.state == backtest_pb2.BACKTEST_STATE_FAILED
    assert "max_wall_time" in shown.error


async def test_a_check_says_what_a_back_test_would_see_and_begins_none(
    service: Running, bearers: Bearers, database: Database
) -> None:
    await store_example(database, "sma_cross.py", "sma_cross", PARAMETERS)
    stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
    wanted = terms()
    wanted.range.end.FromJsonString("2005-01-01T00:00:00Z")
    shown = (await stub.StartBacktest(asking(terms=wanted, validate_only=True), **as_(bearers.operator))).backtest
    assert [(each.symbol, each.bars) for each in shown.series] == [("GOOG", 94)]
    assert dict(shown.parameters) == PARAMETERS
    wanted.range.end.FromJsonString("2000-01-01T00:00:00Z")
    with pytest.raises(grpc.aio.AioRpcError, match="GOOG") as caught:
        await stub.StartBacktest(asking(terms=wanted, validate_only=True), **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    unknown = asking(universe=universe("NONE"), validate_only=True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.StartBacktest(unknown, **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert not (await stub.ListBacktests(pb.ListBacktestsRequest(), **as_(bearers.viewer))).backtests
