"""What a run told is filtered, ordered and resumed as the contract says; its figures are those of its marks."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from quasar.database.pool import Database
from quasar_proto.ops.v1 import event_service_pb2, event_service_pb2_grpc
from quasar_proto.strategy.v1 import (
    denial_pb2,
    policy_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
    strategy_pb2,
    strategy_service_pb2_grpc,
    trading_service_pb2,
    trading_service_pb2_grpc,
)
from quasar_proto.strategy.v1 import strategy_service_pb2 as pb
from tests.integration.strategy_engine.code_rows import store_strategy
from tests.integration.strategy_engine.conftest import Bearers, Running, as_, expected
from tests.integration.strategy_engine.played_datahub import Played
from tests.integration.strategy_engine.test_instances import (
    Market,
    create_and_start,
    fills_of,
    in_state,
    instance,
    market,
)
from tests.integration.strategy_engine.test_trading import account

__all__ = ["market"]

TALKER = b"""from quasar.strategy import Strategy

class Talker(Strategy):
    def on_bar(self, bar):
        self.log("calm", level="debug")
        self.log("look out", level="warning")
        if not self.open_orders:
            self.buy(1, limit=1)
"""


def strategies(service: Running) -> Any:
    """Return the stub of the service."""
    return service.stub(strategy_service_pb2_grpc.StrategyServiceStub)


async def refused(call: Any, code: grpc.StatusCode, text: str) -> None:
    """Check that a call fails with a code and says something."""
    with pytest.raises(grpc.aio.AioRpcError, match=text) as caught:
        await call
    assert caught.value.code() is code


async def talking(service: Running, bearers: Bearers, market: Market, database: Database) -> str:
    """Run the talker over two bars, wait until both were shown, and return the id of its run."""
    await store_strategy(database, "talker", TALKER)
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    await trading.CreatePaperAccount(account(), **as_(bearers.operator))
    stub = strategies(service)
    await stub.CreateInstance(instance("talker", "talker"), **as_(bearers.operator))
    started = await stub.StartInstance(pb.StartInstanceRequest(instance_id="talker"), **as_(bearers.operator))
    await in_state(service, bearers, strategy_pb2.INSTANCE_STATE_RUNNING, "talker")
    await market.feed(31)
    lines = 0
    request = pb.WatchRunRequest(run_id=started.run.run_id, after_sequence=0, kinds=[strategy_pb2.TELEMETRY_KIND_LOG])
    watching = stub.WatchRun(request, **as_(bearers.viewer))
    async for message in watching:
        lines += len(message.entries)
        if lines >= 4:
            break
    watching.cancel()
    run_id: str = started.run.run_id
    return run_id


async def test_lines_and_entries_are_filtered_and_ordered(
    service: Running, bearers: Bearers, market: Market, database: Database
) -> None:
    run_id, stub = await talking(service, bearers, market, database), strategies(service)

    async def lines(**more: Any) -> list[tuple[int, str]]:
        request = pb.GetRunLogsRequest(run_id=run_id, **more)
        return [(each.sequence, each.message) for each in (await stub.GetRunLogs(request, **as_(bearers.viewer))).lines]

    assert await lines() == [(1, "calm"), (2, "look out"), (3, "calm"), (4, "look out")]
    assert await lines(filter='level >= "warning"') == [(2, "look out"), (4, "look out")]
    assert await lines(filter='message : "LOOK"', order_by="sequence desc") == [(4, "look out"), (2, "look out")]
    await refused(lines(filter='colour = "red"'), grpc.StatusCode.INVALID_ARGUMENT, "colour")

    async def entries(**more: Any) -> list[Any]:
        request = pb.ListRunEventsRequest(run_id=run_id, page_size=1000, **more)
        return list((await stub.ListRunEvents(request, **as_(bearers.viewer))).entries)

    everything = await entries()
    assert [each.sequence for each in await entries(order_by="sequence desc")] == [
        each.sequence for each in reversed(everything)
    ]
    orders = await entries(filter='kind = "ORDER" AND symbol = "GOOG"')
    assert orders
    assert {each.order.spec.symbol for each in orders} == {"GOOG"}
    late = everything[2].sequence
    assert [each.sequence for each in await entries(filter=f"sequence > {late}")] == [
        each.sequence for each in everything[3:]
    ]


async def test_a_run_is_watched_from_a_place_that_is_there_or_not_at_all(
    service: Running, bearers: Bearers, market: Market, database: Database
) -> None:
    run_id, stub = await talking(service, bearers, market, database), strategies(service)

    async def watched(after: int) -> None:
        async for _ in stub.WatchRun(pb.WatchRunRequest(run_id=run_id, after_sequence=after), **as_(bearers.viewer)):
            return

    await refused(watched(10_000), grpc.StatusCode.INVALID_ARGUMENT, "after_sequence")
    await database.execute("delete from ops.events where run_id = $1 and run_sequence <= 2", run_id)
    await refused(watched(1), grpc.StatusCode.OUT_OF_RANGE, "no longer kept")
    await watched(2)


async def test_orders_of_a_run_go_with_it_unless_they_are_to_stay(
    service: Running, bearers: Bearers, market: Market, database: Database
) -> None:
    await talking(service, bearers, market, database)
    stub, trading = strategies(service), service.stub(trading_service_pb2_grpc.TradingServiceStub)

    async def open_orders() -> int:
        request = trading_service_pb2.ListOrdersRequest(filter="open = true")
        return len((await trading.ListOrders(request, **as_(bearers.viewer))).orders)

    keep = pb.StopInstanceRequest(instance_id="talker", action=strategy_pb2.STOP_ACTION_KEEP)
    await stub.StopInstance(keep, **as_(bearers.operator))
    assert await open_orders() == 1
    await stub.StopInstance(pb.StopInstanceRequest(instance_id="talker"), **as_(bearers.operator))
    assert await open_orders() == 1, "what has stopped before stays as it was left"
    delete = pb.DeleteInstanceRequest(instance_id="talker")
    await refused(stub.DeleteInstance(delete, **as_(bearers.operator)), grpc.StatusCode.FAILED_PRECONDITION, "1 open")
    start = pb.StartInstanceRequest(instance_id="talker", request_id="again")
    second = await stub.StartInstance(start, **as_(bearers.operator))
    await in_state(service, bearers, strategy_pb2.INSTANCE_STATE_RUNNING, "talker")
    resume = pb.ResumeInstanceRequest(instance_id="talker")
    await refused(stub.ResumeInstance(resume, **as_(bearers.operator)), grpc.StatusCode.FAILED_PRECONDITION, "paused")
    await stub.StopInstance(pb.StopInstanceRequest(instance_id="talker"), **as_(bearers.operator))
    assert await open_orders() == 0
    third = await stub.StartInstance(start, **as_(bearers.operator))
    assert third.run.run_id == second.run.run_id, "a repeated request begins no second run"
    assert third.instance.state == strategy_pb2.INSTANCE_STATE_STOPPED
    deleted = await stub.DeleteInstance(delete, **as_(bearers.operator))
    assert deleted.runs == 2


async def test_the_figures_of_a_run_are_those_of_its_fills_and_marks(
    service: Running, bearers: Bearers, played: Played, market: Market
) -> None:
    run_id, stub = await create_and_start(service, bearers), strategies(service)
    await played.until_opened(1)
    wanted = [fill for fill in expected("goog_sma_next_open.json")["fills"] if fill[0] < 130]
    await market.feed(130)
    assert await fills_of(service, bearers, len(wanted)) == wanted
    await stub.StopInstance(pb.StopInstanceRequest(instance_id="cross"), **as_(bearers.operator))
    request = pb.GetRunMetricsRequest(run_id=run_id, include_statistics=True)
    answer = await stub.GetRunMetrics(request, **as_(bearers.viewer))
    paid = sum(fill[4] for fill in wanted)
    metrics, figures = answer.metrics, answer.statistics
    assert float(metrics.commission.value) == pytest.approx(paid)
    assert metrics.HasField("equity")
    assert float(metrics.peak_equity.value) >= float(metrics.equity.amount.value)
    assert metrics.max_drawdown <= metrics.drawdown <= 0
    assert (figures.fills, figures.trades, figures.open_trades) == (len(wanted), len(wanted) // 2, len(wanted) % 2)
    assert float(figures.commission.value) == pytest.approx(paid)
    assert figures.final_equity == metrics.equity.amount
    assert float(figures.initial_equity.value) == 100_000
    assert (await stub.GetRun(pb.GetRunRequest(run_id=run_id), **as_(bearers.viewer))).run.metrics == metrics
    trips = pb.ListRunTradesRequest(run_id=run_id, filter="open = false", order_by="net_profit desc")
    profits = [float(each.net_profit.value) for each in (await stub.ListRunTrades(trips, **as_(bearers.viewer))).trades]
    assert len(profits) == len(wanted) // 2
    assert profits == sorted(profits, reverse=True)
    runs = pb.ListRunsRequest(filter='mode = "PAPER" AND account_id = "main" AND code_version = 1', order_by="end_time")
    (listed,) = (await stub.ListRuns(runs, **as_(bearers.viewer))).runs
    assert (listed.run_id, len(listed.series)) == (run_id, 0)


async def test_an_instance_is_changed_by_path_and_the_change_is_told_with_before_and_after(
    service: Running, bearers: Bearers, market: Market
) -> None:
    trading, stub = service.stub(trading_service_pb2_grpc.TradingServiceStub), strategies(service)
    await trading.CreatePaperAccount(account(), **as_(bearers.operator))
    wanted = instance()
    wanted.instance.labels["desk"] = "one"
    created = await stub.CreateInstance(wanted, **as_(bearers.operator))
    asked_for = pb.GetInstanceRequest(instance_id="cross", resolve_universe=True)
    got = await stub.GetInstance(asked_for, **as_(bearers.viewer))
    assert [(each.symbol, each.currency, each.alias) for each in got.series] == [("GOOG", "USD", "main")]
    assert list(created.series) == list(got.series)
    change = strategy_pb2.Instance(instance_id="cross", seed=7)
    change.parameters.update({"fast": 5, "slow": 99})

    def update(*paths: str) -> Any:
        request = pb.UpdateInstanceRequest(instance=change, update_mask=FieldMask(paths=paths))
        return stub.UpdateInstance(request, **as_(bearers.operator))

    changed = (await update("parameters.fast", "seed")).instance
    assert (dict(changed.parameters)["fast"], dict(changed.parameters)["slow"], changed.seed) == (5, 30, 7)
    await refused(update(), grpc.StatusCode.INVALID_ARGUMENT, "update_mask")
    await refused(update("schedule"), grpc.StatusCode.UNIMPLEMENTED, "schedule")
    events = service.stub(event_service_pb2_grpc.EventServiceStub)
    request = event_service_pb2.ListEventsRequest(filter='kind = "InstanceUpdated"')
    (told,) = (await events.ListEvents(request, **as_(bearers.viewer))).events
    data = dict(told.data)
    assert (data["before"]["parameters"]["fast"], data["after"]["parameters"]["fast"]) == (10, 5)
    for text, found in (
        ('labels.desk = "one" AND enabled = false AND code_version = 0', True),
        ('labels.desk = "two"', False),
    ):
        listed = await stub.ListInstances(pb.ListInstancesRequest(filter=text), **as_(bearers.viewer))
        assert [each.instance_id for each in listed.instances] == ["cross"] * found
    dear = strategy_pb2.Instance(instance_id="cross")
    dear.capital.amount.value, dear.capital.currency = "1000", "EUR"
    asked = pb.UpdateInstanceRequest(instance=dear, update_mask=FieldMask(paths=["capital"]))
    await refused(
        stub.UpdateInstance(asked, **as_(bearers.operator)), grpc.StatusCode.INVALID_ARGUMENT, "capital.currency"
    )


async def test_a_run_is_told_of_a_trading_state_that_applies_to_it(
    service: Running, bearers: Bearers, market: Market
) -> None:
    run_id = await create_and_start(service, bearers)
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    halt = policy_service_pb2.SetTradingStateRequest(
        scope=denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_ACCOUNT, id="main"),
        state=policy_pb2.TRADING_STATE_HALTED,
        reason="lunch",
    )
    await policies.SetTradingState(halt, **as_(bearers.operator))
    request = pb.ListRunEventsRequest(run_id=run_id, filter='kind = "TRADING_STATE"')
    (entry,) = (await strategies(service).ListRunEvents(request, **as_(bearers.viewer))).entries
    told = entry.trading_state
    assert (told.scope.id, told.former_state, told.state, told.reason) == (
        "main",
        policy_pb2.TRADING_STATE_ACTIVE,
        policy_pb2.TRADING_STATE_HALTED,
        "lunch",
    )
    start = pb.StartInstanceRequest(instance_id="cross", validate_only=True)
    await strategies(service).StopInstance(pb.StopInstanceRequest(instance_id="cross"), **as_(bearers.operator))
    await refused(
        strategies(service).StartInstance(start, **as_(bearers.operator)),
        grpc.StatusCode.FAILED_PRECONDITION,
        "HALTED",
    )
