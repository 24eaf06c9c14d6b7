"""What runs keep over trouble: signals that they told, a pause over a crash, and books over a lost database."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from quasar.database.pool import Database
from quasar.model.ticks import TickColumns
from quasar_proto.datahub.v1 import market_data_service_pb2 as market_pb
from quasar_proto.ops.v1 import system_service_pb2 as system_pb
from quasar_proto.ops.v1 import system_service_pb2_grpc
from quasar_proto.strategy.v1 import order_pb2, strategy_pb2, strategy_service_pb2_grpc, trading_service_pb2_grpc
from quasar_proto.strategy.v1 import strategy_service_pb2 as pb
from quasar_proto.strategy.v1 import trading_service_pb2 as trading_pb
from tests.integration.strategy_engine.code_rows import store_strategy
from tests.integration.strategy_engine.conftest import GOOG, Bearers, Running, Start, as_, goog_bars
from tests.integration.strategy_engine.played_datahub import Played, serving
from tests.integration.strategy_engine.test_instances import (
    HISTORY,
    Market,
    in_state,
    instance,
    market,
    running_again,
)
from tests.integration.strategy_engine.test_trading import account, order, reached, stub, tomorrow, until

__all__ = ["market", "stub"]
TELLER = b"""
from quasar.strategy import Strategy

class Teller(Strategy):
    def on_bar(self, bar):
        self.signal("long", strength=0.5, price=bar.close, label="cross-up", values={"open": bar.open})
"""
TICKER = b"""
from quasar.strategy import Strategy

class Ticker(Strategy):
    def on_tick(self, tick):
        self.log(f"tick {tick.price:g}")
"""
BUYER = b"""
from quasar.strategy import Strategy

class Buyer(Strategy):
    def on_bar(self, bar):
        self.buy(1)
"""


async def begun(service: Running, bearers: Bearers, strategy: str) -> tuple[Any, str]:
    """Create and start an instance named like its strategy, and return the stub with the id of its run."""
    name = strategy.replace("_", "-")
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    await trading.CreatePaperAccount(account(), **as_(bearers.operator))
    strategies = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    await strategies.CreateInstance(instance(strategy, name), **as_(bearers.operator))
    started = await strategies.StartInstance(pb.StartInstanceRequest(instance_id=name), **as_(bearers.operator))
    await in_state(service, bearers, strategy_pb2.INSTANCE_STATE_RUNNING, name)
    return strategies, started.run.run_id


async def log_lines(strategies: Any, bearers: Bearers, run_id: str) -> list[str]:
    """Return what a run has logged."""
    listed = await strategies.GetRunLogs(pb.GetRunLogsRequest(run_id=run_id), **as_(bearers.viewer))
    return [line.message for line in listed.lines]


async def test_signals_are_telemetry_and_the_last_one_stands_in_the_summary(
    service: Running, bearers: Bearers, played: Played, market: Market, database: Database
) -> None:
    await store_strategy(database, "teller", TELLER)
    strategies, run_id = await begun(service, bearers, "teller")
    await played.until_opened(1)
    await market.feed(HISTORY + 2)

    async def told() -> list[strategy_pb2.TelemetryEntry]:
        listed = await strategies.ListRunEvents(pb.ListRunEventsRequest(run_id=run_id), **as_(bearers.viewer))
        return [each for each in listed.entries if each.kind == strategy_pb2.TELEMETRY_KIND_SIGNAL]

    entries = await until(told, lambda found: len(found) == 2)
    last, close = entries[-1].signal, float(goog_bars().close[HISTORY + 1])
    assert (last.symbol, last.label, last.strength, last.price) == ("GOOG", "cross-up", 0.5, close)
    assert last.direction == strategy_pb2.SIGNAL_DIRECTION_LONG
    assert dict(last.values) == {"open": float(goog_bars().open[HISTORY + 1])}

    async def shown() -> strategy_pb2.Instance:
        answer = await strategies.GetInstance(pb.GetInstanceRequest(instance_id="teller"), **as_(bearers.viewer))
        found: strategy_pb2.Instance = answer.instance
        return found

    found = await until(shown, lambda one: one.summary.last_signal.price == close)
    assert found.summary.last_signal == last
    assert found.summary.last_signal_time == entries[-1].event_time
    run = (await strategies.GetRun(pb.GetRunRequest(run_id=run_id), **as_(bearers.viewer))).run
    assert run.metrics.signals == 2


async def test_a_paused_run_stays_paused_when_its_process_is_killed(
    service: Running, bearers: Bearers, played: Played, market: Market, database: Database
) -> None:
    await store_strategy(database, "buyer", BUYER)
    strategies, _ = await begun(service, bearers, "buyer")
    await played.until_opened(1)
    await strategies.PauseInstance(pb.PauseInstanceRequest(instance_id="buyer"), **as_(bearers.operator))
    system = service.stub(system_service_pb2_grpc.SystemServiceStub)

    async def process() -> int:
        listed = await system.ListPluginProcesses(system_pb.ListPluginProcessesRequest(), **as_(bearers.admin))
        return next((each.pid for each in listed.processes if each.name == "buyer"), 0)

    former = await until(process, bool)
    os.kill(former, signal.SIGKILL)
    await until(process, lambda pid: pid not in (0, former))
    again = await in_state(service, bearers, strategy_pb2.INSTANCE_STATE_PAUSED, "buyer")
    assert again.enabled

    async def fed() -> strategy_pb2.RunMetrics:
        await market.feed(market.fed + 1)
        listed = await strategies.ListRuns(pb.ListRunsRequest(), **as_(bearers.viewer))
        metrics: strategy_pb2.RunMetrics = listed.runs[0].metrics
        return metrics

    seen = await until(fed, lambda metrics: metrics.intents >= 1)
    assert seen.orders == 0
    await strategies.ResumeInstance(pb.ResumeInstanceRequest(instance_id="buyer"), **as_(bearers.operator))
    await until(fed, lambda metrics: metrics.orders >= 1)


async def test_an_instance_that_vanished_ends_no_other_run(
    service: Running, bearers: Bearers, played: Played, market: Market, database: Database
) -> None:
    await store_strategy(database, "teller", TELLER)
    _, run_id = await begun(service, bearers, "teller")
    strategies = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    others = await processes(service, bearers)
    await strategies.CreateInstance(instance("teller", "gone"), **as_(bearers.operator))
    await strategies.StartInstance(pb.StartInstanceRequest(instance_id="gone"), **as_(bearers.operator))
    await in_state(service, bearers, strategy_pb2.INSTANCE_STATE_RUNNING, "gone")
    (own,) = await processes(service, bearers) - others
    await database.execute("update strategy.instances set deleted_at = now() where instance_id = 'gone'")
    os.kill(own, signal.SIGKILL)
    await market.feed(HISTORY + 1)
    await until(lambda: processes(service, bearers), lambda found: found == others)
    await market.feed(HISTORY + 2)

    async def told() -> int:
        run = (await strategies.GetRun(pb.GetRunRequest(run_id=run_id), **as_(bearers.viewer))).run
        return int(run.metrics.signals)

    assert await until(told, lambda signals: signals >= 2) == 2
    # Whoever starts runs is there as well.
    await strategies.CreateInstance(instance("teller", "later"), **as_(bearers.operator))
    await strategies.StartInstance(pb.StartInstanceRequest(instance_id="later"), **as_(bearers.operator))
    await in_state(service, bearers, strategy_pb2.INSTANCE_STATE_RUNNING, "later")


async def processes(service: Running, bearers: Bearers) -> set[int]:
    """Return the ids of the processes that run strategies."""
    system = service.stub(system_service_pb2_grpc.SystemServiceStub)
    listed = await system.ListPluginProcesses(system_pb.ListPluginProcessesRequest(), **as_(bearers.admin))
    return {each.pid for each in listed.processes if each.pid}


async def test_a_run_counts_on_over_a_restart_of_the_service(
    start: Start, bearers: Bearers, played: Played, market: Market, database: Database
) -> None:
    await store_strategy(database, "teller", TELLER)

    async def fed(service: Running, run_id: str, bars: int) -> strategy_pb2.RunMetrics:
        await market.feed(market.fed + bars)
        strategies = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)

        async def counted() -> strategy_pb2.RunMetrics:
            metrics: strategy_pb2.RunMetrics = (
                await strategies.GetRun(pb.GetRunRequest(run_id=run_id), **as_(bearers.viewer))
            ).run.metrics
            return metrics

        return await until(counted, lambda found: found.bars == market.fed - HISTORY)

    async with serving(played) as address:
        async with start(address) as before:
            _, run_id = await begun(before, bearers, "teller")
            await played.until_opened(1)
            assert (await fed(before, run_id, 2)).signals == 2
        async with start(address) as after:
            await running_again(after, bearers, run_id)
            assert (await fed(after, run_id, 3)).signals == 5


async def test_a_bar_that_closes_while_the_history_is_read_is_shown(
    service: Running, bearers: Bearers, played: Played, market: Market, database: Database
) -> None:
    async def closes(request: market_pb.ReadBarsRequest) -> None:
        if request.last_count > 1:
            await market.feed(HISTORY + 1)

    played.after_read = closes
    strategies, run_id = await begun(service, bearers, "sma_cross")
    await market.feed(HISTORY + 2)

    async def shown() -> int:
        run = (await strategies.GetRun(pb.GetRunRequest(run_id=run_id), **as_(bearers.viewer))).run
        return int(run.metrics.bars)

    assert await until(shown, lambda bars: bars >= 2) == 2


async def test_a_run_is_told_when_live_data_was_lost(
    service: Running, bearers: Bearers, played: Played, market: Market, database: Database
) -> None:
    strategies, run_id = await begun(service, bearers, "sma_cross")
    await played.until_opened(1)
    await market.feed(HISTORY + 1)
    played.expired = True
    await played.cut_streams()

    (line,) = await until(lambda: log_lines(strategies, bearers, run_id), bool)
    assert "live data was lost" in line


async def test_ticks_fill_orders_at_once_and_reach_strategies_that_hear_of_them(
    service: Running, bearers: Bearers, played: Played, market: Market, database: Database
) -> None:
    await store_strategy(database, "ticker", TICKER, wants_ticks=True)
    strategies, run_id = await begun(service, bearers, "ticker")
    await played.until_opened(1)
    now = time.time_ns()
    trades = TickColumns(event_time_ns=[now, now + 10**9], price=[801.5, 802.5], size=[1.0, 2.0])  # type: ignore[arg-type]  # lists become columns
    await played.feed(GOOG, trades)

    lines = await until(lambda: log_lines(strategies, bearers, run_id), lambda found: len(found) == 2)
    assert lines == ["tick 801.5", "tick 802.5"]
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    placed = await trading.PlaceOrder(order("t-1"), **as_(bearers.operator))
    later = TickColumns(event_time_ns=[time.time_ns() + 2 * 10**9], price=[803.5])  # type: ignore[arg-type]  # see above
    await played.feed(GOOG, later)
    filled = await reached(trading, bearers, placed.order.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    assert [(fill.quantity.value, fill.price.value) for fill in filled.fills] == [("10", "803.50")]


async def test_instances_are_counted_over_all_pages_and_changed_once_for_an_etag(
    service: Running, bearers: Bearers, market: Market, database: Database
) -> None:
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    await trading.CreatePaperAccount(account(), **as_(bearers.operator))
    strategies = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    for name in ("one", "two", "three"):
        await strategies.CreateInstance(instance(name=name), **as_(bearers.operator))
    page = await strategies.ListInstances(pb.ListInstancesRequest(page_size=2), **as_(bearers.viewer))
    assert (len(page.instances), page.total_size) == (2, 3)
    former = page.instances[0]
    former.display_name = "changed"
    request = pb.UpdateInstanceRequest(instance=former, update_mask=FieldMask(paths=["display_name"]))
    await strategies.UpdateInstance(request, **as_(bearers.operator))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await strategies.UpdateInstance(request, **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.ABORTED


async def test_a_fill_that_could_not_be_recorded_is_made_again_once(
    stub: Any, bearers: Bearers, played: Played, database: Database
) -> None:
    placed = await stub.PlaceOrder(order("f-1"), **as_(bearers.operator))
    await played.until_opened(1)
    waiting = (
        "select pid from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'quasar-strategy' "
        "and query like '%strategy.fills%'"
    )
    async with database.transaction() as connection:
        await connection.execute("lock table strategy.fills in access exclusive mode")
        await played.feed(GOOG, tomorrow(800.0, 805.0))
        pid = await until(lambda: database.fetchval(waiting), bool)
        await database.execute("select pg_terminate_backend($1)", pid)
    filled = await reached(stub, bearers, placed.order.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    assert [(fill.quantity.value, fill.price.value) for fill in filled.fills] == [("10", "800.00")]
    accounts = (await stub.ListAccounts(trading_pb.ListAccountsRequest(), **as_(bearers.viewer))).accounts
    assert float(accounts[0].balances[0].total.value) == 100_000 - 8_000 - 8
