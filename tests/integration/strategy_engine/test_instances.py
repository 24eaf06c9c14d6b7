"""Instances in paper mode through the public calls: live bars in, the trades of the back-test out."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from quasar.database.pool import Database
from quasar_proto.common.v1 import values_pb2
from quasar_proto.strategy.v1 import (
    denial_pb2,
    order_pb2,
    policy_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
    portfolio_pb2,
    portfolio_service_pb2,
    portfolio_service_pb2_grpc,
    strategy_pb2,
    strategy_service_pb2_grpc,
    trading_service_pb2,
    trading_service_pb2_grpc,
)
from quasar_proto.strategy.v1 import strategy_service_pb2 as pb
from tests.integration.strategy_engine.code_rows import EXAMPLES, store_example, store_strategy
from tests.integration.strategy_engine.conftest import GOOG, Bearers, Running, Start, as_, expected, goog_bars
from tests.integration.strategy_engine.played_datahub import Played, serving
from tests.integration.strategy_engine.test_backtests import BAD, PARAMETERS, universe
from tests.integration.strategy_engine.test_trading import account, know_instrument, until

PATIENCE_S = 60
HISTORY = 29
"""Bars before the first one on which SMA(30) says something."""


def instance(strategy: str = "sma_cross", name: str = "cross") -> pb.CreateInstanceRequest:
    wanted = strategy_pb2.Instance(
        instance_id=name,
        strategy=strategy,
        mode=strategy_pb2.TRADING_MODE_PAPER,
        universe=universe(),
        account_id="main",
    )
    if strategy == "sma_cross":
        wanted.parameters.update(PARAMETERS)
    return pb.CreateInstanceRequest(instance=wanted)


async def in_state(service: Running, bearers: Bearers, state: int, name: str = "cross") -> strategy_pb2.Instance:
    """Watch instances until one has a state, and return it."""
    stub = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    watching = stub.WatchInstances(pb.WatchInstancesRequest(), **as_(bearers.viewer))
    async with asyncio.timeout(PATIENCE_S):
        async for message in watching:
            if any(one.instance_id == name and one.state == state for one in message.instances):
                break
    watching.cancel()
    answer = await stub.GetInstance(pb.GetInstanceRequest(instance_id=name), **as_(bearers.viewer))
    found: strategy_pb2.Instance = answer.instance
    return found


class Market:
    """Feeds the bars of GOOG one by one; what was fed is history for whoever begins later."""

    def __init__(self, played: Played) -> None:
        self._played = played
        self._all = goog_bars()
        self.fed = HISTORY
        self._remember()

    def _remember(self) -> None:
        self._played.bars = {GOOG: self._all[: self.fed]}

    async def feed(self, until: int) -> None:
        while self.fed < until:
            await self._played.feed(GOOG, self._all[self.fed : self.fed + 1])
            self.fed += 1
        self._remember()


@pytest.fixture
async def market(played: Played, database: Database) -> Market:
    """GOOG with 29 bars of history, in a platform that knows the instrument and the strategy."""
    await know_instrument(database)
    await store_example(database, "sma_cross.py", "sma_cross", PARAMETERS)
    return Market(played)


async def fills_of(service: Running, bearers: Bearers, count: int) -> list[list[Any]]:
    """Wait for so many fills, and return them as the known results have them."""
    stub = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    request = trading_service_pb2.ListFillsRequest(page_size=1000, order_by="fill_time")
    watching = stub.WatchOrders(trading_service_pb2.WatchOrdersRequest(), **as_(bearers.viewer))
    async with asyncio.timeout(PATIENCE_S):
        async for _ in watching:
            found = (await stub.ListFills(request, **as_(bearers.viewer))).fills
            if len(found) >= count:
                break
    watching.cancel()
    times = goog_bars().open_time_ns
    return [
        [
            int((times == fill.fill_time.ToNanoseconds()).argmax()),
            1 if fill.side == order_pb2.ORDER_SIDE_BUY else -1,
            int(fill.quantity.value),
            float(fill.price.value),
            float(fill.commission.amount.value),
        ]
        for fill in found
    ]


async def create_and_start(service: Running, bearers: Bearers) -> str:
    """Create account and instance, start it, wait until it runs, and return the id of the run."""
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    await trading.CreatePaperAccount(account(), **as_(bearers.operator))
    stub = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    await stub.CreateInstance(instance(), **as_(bearers.operator))
    started = await stub.StartInstance(pb.StartInstanceRequest(instance_id="cross"), **as_(bearers.operator))
    await in_state(service, bearers, strategy_pb2.INSTANCE_STATE_RUNNING)
    run_id: str = started.run.run_id
    return run_id


async def summary_is_right(service: Running, bearers: Bearers, fills: list[list[Any]], equity: float) -> None:
    """Check what the instance shows at a glance against its fills and its worth."""
    stub = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    listed = (await stub.ListInstances(pb.ListInstancesRequest(), **as_(bearers.viewer))).instances
    got = await stub.GetInstance(pb.GetInstanceRequest(instance_id="cross"), **as_(bearers.viewer))
    assert [(each.instance_id, each.summary.equity) for each in listed] == [("cross", got.instance.summary.equity)]
    assert got.instance.code_version == 1
    shown = got.instance.summary
    assert float(shown.equity.amount.value) == pytest.approx(equity, abs=1e-6)
    assert shown.equity.currency == "USD"
    total = float(shown.realised_pnl.amount.value) + float(shown.unrealised_pnl.amount.value)
    assert float(shown.total_pnl.amount.value) == pytest.approx(total)
    assert float(shown.day_pnl.amount.value) == pytest.approx(total)
    assert (shown.fills_today, shown.denials_today, shown.open_orders) == (len(fills), 0, 0)
    assert shown.positions == 1
    assert 0 < len(shown.equity_sparkline) <= 60
    assert shown.trading_state == policy_pb2.TRADING_STATE_ACTIVE
    assert shown.last_data_time.ToNanoseconds() > goog_bars().open_time_ns[fills[-1][0] - 2]


async def test_a_paper_run_makes_the_trades_of_the_back_test_through_a_cut_stream_and_tells_them(
    service: Running, bearers: Bearers, played: Played, market: Market
) -> None:
    run_id = await create_and_start(service, bearers)
    await played.until_opened(1)
    await market.feed(90)
    wanted = [fill for fill in expected("goog_sma_next_open.json")["fills"] if fill[0] < 200]
    await fills_of(service, bearers, 3)
    await played.cut_streams()
    await market.feed(200)
    assert await fills_of(service, bearers, len(wanted)) == wanted
    assert len(played.opened) >= 2
    assert played.opened[-1].cursor

    stub = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    request = pb.ListRunEventsRequest(run_id=run_id, page_size=1000)
    entries = (await stub.ListRunEvents(request, **as_(bearers.viewer))).entries
    assert [each.sequence for each in entries] == list(range(1, len(entries) + 1))
    kinds = [each.kind for each in entries]
    assert kinds.count(strategy_pb2.TELEMETRY_KIND_FILL) == len(wanted)
    assert kinds.count(strategy_pb2.TELEMETRY_KIND_INTENT) == len(wanted)
    listed = await stub.ListRunTrades(pb.ListRunTradesRequest(run_id=run_id, page_size=2), **as_(bearers.viewer))
    assert [each.trade_number for each in listed.trades] == [1, 2]
    assert listed.next_page_token
    bought, sold = wanted[0], wanted[1]
    profit = (sold[3] - bought[3]) * bought[2] - bought[4] - sold[4]
    assert float(listed.trades[0].net_profit.value) == pytest.approx(profit)
    metrics = (await stub.GetRunMetrics(pb.GetRunMetricsRequest(run_id=run_id), **as_(bearers.viewer))).metrics
    assert (metrics.fills, metrics.orders, metrics.denied_orders) == (len(wanted), len(wanted), 0)
    portfolio = service.stub(portfolio_service_pb2_grpc.PortfolioServiceStub)
    scope = portfolio_pb2.PortfolioScope(instance_id="cross")
    wanted_equity = expected("goog_sma_next_open.json")["equity"][199]
    watching = portfolio.WatchPortfolio(
        portfolio_service_pb2.WatchPortfolioRequest(scope=scope, omit_positions=True), **as_(bearers.viewer)
    )
    async with asyncio.timeout(PATIENCE_S):
        async for message in watching:
            shown = message.portfolio.figures.equity.value
            if shown and float(shown) == pytest.approx(wanted_equity, abs=1e-6):
                break
    watching.cancel()
    await summary_is_right(service, bearers, wanted, wanted_equity)

    stopped = await stub.StopInstance(pb.StopInstanceRequest(instance_id="cross"), **as_(bearers.operator))
    assert stopped.instance.state == strategy_pb2.INSTANCE_STATE_STOPPED
    await summary_is_right(service, bearers, wanted, wanted_equity)
    run = (await stub.GetRun(pb.GetRunRequest(run_id=run_id), **as_(bearers.viewer))).run
    assert run.state == strategy_pb2.RUN_STATE_STOPPED
    watched = [
        entry.sequence
        async for message in stub.WatchRun(pb.WatchRunRequest(run_id=run_id, after_sequence=2), **as_(bearers.viewer))
        for entry in message.entries
    ]
    assert watched == list(range(3, run.last_sequence + 1))


async def running_again(service: Running, bearers: Bearers, run_id: str) -> None:
    """Wait until a run has been set up for the second time: what closes before that is history to it."""
    stub = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    states = [strategy_pb2.TELEMETRY_KIND_STATE]
    watching = stub.WatchRun(pb.WatchRunRequest(run_id=run_id, after_sequence=0, kinds=states), **as_(bearers.viewer))
    times = 0
    async with asyncio.timeout(PATIENCE_S):
        async for message in watching:
            times += sum(entry.state.state == strategy_pb2.RUN_STATE_RUNNING for entry in message.entries)
            if times == 2:
                break
    watching.cancel()


async def test_a_run_goes_on_after_a_restart_of_the_service_with_its_positions(
    start: Start, bearers: Bearers, played: Played, market: Market
) -> None:
    wanted = [fill for fill in expected("goog_sma_next_open.json")["fills"] if fill[0] < 130]
    async with serving(played) as address:
        async with start(address) as before:
            run_id = await create_and_start(before, bearers)
            await played.until_opened(1)
            await market.feed(60)
            await fills_of(before, bearers, 1)
        async with start(address) as after:
            await running_again(after, bearers, run_id)
            await market.feed(130)
            assert await fills_of(after, bearers, len(wanted)) == wanted
            stub = after.stub(strategy_service_pb2_grpc.StrategyServiceStub)
            runs = (await stub.ListRuns(pb.ListRunsRequest(), **as_(bearers.viewer))).runs
            assert [run.run_id for run in runs] == [run_id]


async def test_a_paused_instance_trades_nothing_until_it_is_resumed(
    service: Running, bearers: Bearers, played: Played, market: Market
) -> None:
    run_id = await create_and_start(service, bearers)
    await played.until_opened(1)
    stub = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    await stub.PauseInstance(pb.PauseInstanceRequest(instance_id="cross"), **as_(bearers.operator))
    await market.feed(32)
    async with asyncio.timeout(PATIENCE_S):
        async for message in stub.WatchRun(
            pb.WatchRunRequest(run_id=run_id, after_sequence=0, kinds=[strategy_pb2.TELEMETRY_KIND_INTENT]),
            **as_(bearers.viewer),
        ):
            if message.entries:
                break
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    looked = trading_service_pb2.ListOrdersRequest()
    denied = await until(lambda: trading.ListOrders(looked, **as_(bearers.viewer)), lambda found: found.orders)
    assert {each.status for each in denied.orders} == {order_pb2.ORDER_STATUS_DENIED}
    reasons = [denial.reason for each in denied.orders for denial in each.denials]
    assert set(reasons) == {denial_pb2.DENIAL_REASON_STRATEGY_NOT_RUNNING}
    resumed = await stub.ResumeInstance(pb.ResumeInstanceRequest(instance_id="cross"), **as_(bearers.operator))
    assert resumed.instance.state == strategy_pb2.INSTANCE_STATE_RUNNING
    await market.feed(40)
    assert (await fills_of(service, bearers, 1))[0][1] == 1


async def test_starting_what_runs_changes_nothing_and_a_halted_instance_is_not_started(
    service: Running, bearers: Bearers, played: Played, market: Market
) -> None:
    stub = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    run_id = await create_and_start(service, bearers)
    asked = pb.StartInstanceRequest(instance_id="cross")
    again = await asyncio.gather(*(stub.StartInstance(asked, **as_(bearers.operator)) for _ in range(3)))
    assert {each.run.run_id for each in again} == {run_id}
    assert {each.instance.state for each in again} == {strategy_pb2.INSTANCE_STATE_RUNNING}
    listed = await stub.ListRuns(pb.ListRunsRequest(), **as_(bearers.viewer))
    assert len(listed.runs) == 1
    await stub.StopInstance(pb.StopInstanceRequest(instance_id="cross"), **as_(bearers.operator))
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    halt = policy_service_pb2.SetTradingStateRequest(
        scope=denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_STRATEGY, id="cross"),
        state=policy_pb2.TRADING_STATE_HALTED,
        reason="test",
    )
    await policies.SetTradingState(halt, **as_(bearers.operator))
    with pytest.raises(grpc.aio.AioRpcError, match="HALTED") as caught:
        await stub.StartInstance(asked, **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    halt.state = policy_pb2.TRADING_STATE_ACTIVE
    await policies.SetTradingState(halt, **as_(bearers.operator))
    both = await asyncio.gather(*(stub.StartInstance(asked, **as_(bearers.operator)) for _ in range(3)))
    (second,) = {each.run.run_id for each in both}
    assert second != run_id
    await in_state(service, bearers, strategy_pb2.INSTANCE_STATE_RUNNING)


async def test_an_error_of_the_strategy_is_told_with_file_and_line_and_the_run_goes_on(
    service: Running, bearers: Bearers, played: Played, market: Market, database: Database
) -> None:
    await store_strategy(database, "bad", BAD)
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    await trading.CreatePaperAccount(account(), **as_(bearers.operator))
    stub = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    await stub.CreateInstance(instance("bad", "bad"), **as_(bearers.operator))
    started = await stub.StartInstance(pb.StartInstanceRequest(instance_id="bad"), **as_(bearers.operator))
    await in_state(service, bearers, strategy_pb2.INSTANCE_STATE_RUNNING, "bad")
    await played.until_opened(1)
    await market.feed(31)
    request = pb.WatchRunRequest(run_id=started.run.run_id, after_sequence=0, kinds=[strategy_pb2.TELEMETRY_KIND_LOG])
    lines: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        async for message in stub.WatchRun(request, **as_(bearers.viewer)):
            lines += [entry.log.message for entry in message.entries]
            if len(lines) >= 2:
                break
    assert all("ZeroDivisionError" in line and "bad.py:5" in line for line in lines)
    logs = await stub.GetRunLogs(pb.GetRunLogsRequest(run_id=started.run.run_id), **as_(bearers.viewer))
    assert len(logs.lines) == 2


async def test_instances_are_created_once_changed_with_an_etag_and_deleted(
    service: Running, bearers: Bearers, market: Market
) -> None:
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    await trading.CreatePaperAccount(account(), **as_(bearers.operator))
    stub = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    created = (await stub.CreateInstance(instance(), **as_(bearers.operator))).instance
    assert created.code_version == 1
    assert not created.summary.HasField("equity")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CreateInstance(instance(), **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    created.display_name = "Cross"
    request = pb.UpdateInstanceRequest(instance=created, update_mask=FieldMask(paths=["display_name"]))
    changed = (await stub.UpdateInstance(request, **as_(bearers.operator))).instance
    assert changed.display_name == "Cross"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.UpdateInstance(request, **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.ABORTED
    listed = await stub.ListInstances(pb.ListInstancesRequest(filter='strategy = "sma_cross"'), **as_(bearers.viewer))
    assert [each.instance_id for each in listed.instances] == ["cross"]
    await stub.DeleteInstance(pb.DeleteInstanceRequest(instance_id="cross"), **as_(bearers.operator))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetInstance(pb.GetInstanceRequest(instance_id="cross"), **as_(bearers.viewer))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_validation_passes_good_code_and_places_the_error_in_bad_code(service: Running, bearers: Bearers) -> None:
    stub = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    good = pb.ValidateStrategyRequest(content=(EXAMPLES / "sma_cross.py").read_bytes(), file_name="sma_cross.py")
    report = (await stub.ValidateStrategy(good, **as_(bearers.admin))).report
    assert report.passed, list(report.findings)
    assert report.manifest.name == "sma_cross"
    assert {field.path for field in report.manifest.preferences} == set(PARAMETERS)
    bad = pb.ValidateStrategyRequest(content=b"class Broken(\n", file_name="broken.py", static_only=True)
    report = (await stub.ValidateStrategy(bad, **as_(bearers.admin))).report
    assert not report.passed
    assert report.findings[0].line == 1


async def test_apply_code_names_the_instances_that_take_it_up_at_their_next_start(
    service: Running, bearers: Bearers, played: Played, market: Market
) -> None:
    stub = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    request = pb.ApplyCodeRequest(active_version=1)
    request.code.kind, request.code.name = values_pb2.CODE_KIND_STRATEGY, "sma_cross"
    assert (await stub.ApplyCode(request, **as_(bearers.admin))).state == pb.CODE_APPLY_STATE_NOT_RUNNING
    await create_and_start(service, bearers)
    answer = await stub.ApplyCode(request, **as_(bearers.admin))
    assert (answer.state, list(answer.instance_ids)) == (pb.CODE_APPLY_STATE_AT_NEXT_START, ["cross"])
