"""Changes of orders that work: in their place in the book, through policy, and once for one request."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from quasar import errors
from quasar.database.pool import Database
from quasar.rpc.errors import from_rpc_error
from quasar_proto.common.v1 import values_pb2
from quasar_proto.strategy.v1 import (
    denial_pb2,
    order_pb2,
    policy_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
    strategy_pb2,
    strategy_service_pb2,
    strategy_service_pb2_grpc,
    trading_service_pb2_grpc,
)
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from tests.integration.strategy_engine.code_rows import store_strategy
from tests.integration.strategy_engine.conftest import GOOG, Bearers, Running, as_, goog_bars
from tests.integration.strategy_engine.played_datahub import Played
from tests.integration.strategy_engine.test_instances import (
    HISTORY,
    Market,
    fills_of,
    in_state,
    instance,
    market,
)
from tests.integration.strategy_engine.test_trading import account, order, reached, stub, tomorrow

__all__ = ["market", "stub"]


def change(order_id: str, quantity: str = "", limit: str = "", **more: Any) -> pb.ReplaceOrderRequest:
    wanted = order_pb2.OrderChange()
    if quantity:
        wanted.quantity.value = quantity
    if limit:
        wanted.limit_price.value = limit
    return pb.ReplaceOrderRequest(client_order_id=order_id, change=wanted, **more)


WALKER = b"""
from quasar.strategy import Strategy

class Walker(Strategy):
    order = None
    bars = 0
    def on_bar(self, bar):
        self.bars += 1
        if self.order is None:
            self.order = self.buy(10, limit=1.0)
        elif self.order.status.value == "ACCEPTED" and self.bars == 2:
            self.replace(self.order, quantity=13)
        elif self.order.status.value == "ACCEPTED":
            self.replace(self.order, quantity=12, limit=5000.0)
"""


async def failed(call: Any) -> errors.QuasarError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_changed_order_fills_on_its_new_terms(stub: Any, bearers: Bearers, played: Played) -> None:
    placed = (await stub.PlaceOrder(order("c-1", limit="500.00"), **as_(bearers.operator))).order
    shown = await stub.ReplaceOrder(change(placed.client_order_id, "15", validate_only=True), **as_(bearers.operator))
    assert (shown.decision.allowed, shown.order.spec.quantity.value) == (True, "10")
    asked = change(placed.client_order_id, "15", "799.00", revision=placed.revision, request_id="r-1")
    changed = (await stub.ReplaceOrder(asked, **as_(bearers.operator))).order
    assert (changed.spec.quantity.value, changed.spec.limit_price.value) == ("15", "799.00")
    assert (changed.client_order_id, changed.revision) == (placed.client_order_id, placed.revision + 1)
    again = (await stub.ReplaceOrder(asked, **as_(bearers.operator))).order
    assert again == changed
    asked.change.quantity.value = "16"
    assert isinstance(await failed(stub.ReplaceOrder(asked, **as_(bearers.operator))), errors.AlreadyExists)
    stale = change(placed.client_order_id, "16", revision=placed.revision)
    assert isinstance(await failed(stub.ReplaceOrder(stale, **as_(bearers.operator))), errors.EtagMismatch)
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(798.0, 810.0))
    filled = await reached(stub, bearers, placed.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    assert [(fill.quantity.value, fill.price.value) for fill in filled.fills] == [("15", "798.00")]
    final = await failed(stub.ReplaceOrder(change(placed.client_order_id, "20"), **as_(bearers.operator)))
    assert isinstance(final, errors.FailedPrecondition)
    assert final.metadata["status"] == "FILLED"


async def test_a_change_that_policy_denies_leaves_the_order_as_it_was(
    stub: Any, service: Running, bearers: Bearers
) -> None:
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    scope = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_ACCOUNT, id="main")
    limits = policy_pb2.PolicyLimits(max_order_quantity=values_pb2.Decimal(value="12"))
    policy = policy_pb2.Policy(policy_id="small", scope=scope, limits=limits, enabled=True)
    await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    placed = (await stub.PlaceOrder(order("c-2", limit="500.00"), **as_(bearers.operator))).order
    error = await failed(stub.ReplaceOrder(change(placed.client_order_id, "13"), **as_(bearers.operator)))
    assert isinstance(error, errors.PolicyDenied)
    assert [error.metadata[name] for name in ("reasons", "limit", "value")] == ["MAX_ORDER_QUANTITY", "12", "13"]
    kept = await stub.GetOrder(pb.GetOrderRequest(client_order_id=placed.client_order_id), **as_(bearers.viewer))
    assert kept.order == placed
    listed = await policies.ListDenials(policy_service_pb2.ListDenialsRequest(), **as_(bearers.viewer))
    (record,) = listed.denials
    assert (record.client_order_id, record.change.quantity.value) == (placed.client_order_id, "13")
    bound = await stub.ReplaceOrder(change(placed.client_order_id, "12"), **as_(bearers.operator))
    assert bound.order.spec.quantity.value == "12"


async def test_a_price_that_the_order_does_not_have_and_an_unknown_order_are_refused(
    stub: Any, bearers: Bearers
) -> None:
    placed = (await stub.PlaceOrder(order("c-3"), **as_(bearers.operator))).order
    error = await failed(stub.ReplaceOrder(change(placed.client_order_id, limit="5.00"), **as_(bearers.operator)))
    assert error.metadata["reasons"] == "INVALID_ORDER"
    assert "limit_price must be absent for MARKET" in error.message
    unknown = change("00000000-0000-0000-0000-000000000000", "5")
    assert isinstance(await failed(stub.ReplaceOrder(unknown, **as_(bearers.operator))), errors.NotFound)


async def test_a_strategy_changes_its_order_and_is_told_when_policy_denied_it(
    service: Running, bearers: Bearers, played: Played, market: Market, database: Database
) -> None:
    await store_strategy(database, "walker", WALKER)
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    await trading.CreatePaperAccount(account(), **as_(bearers.operator))
    strategies = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    await strategies.CreateInstance(instance("walker", "walker"), **as_(bearers.operator))
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    scope = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_STRATEGY, id="walker")
    limits = policy_pb2.PolicyLimits(max_order_quantity=values_pb2.Decimal(value="12"))
    policy = policy_pb2.Policy(policy_id="small", scope=scope, limits=limits, enabled=True)
    await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    asked = strategy_service_pb2.StartInstanceRequest(instance_id="walker")
    run_id = (await strategies.StartInstance(asked, **as_(bearers.operator))).run.run_id
    await in_state(service, bearers, strategy_pb2.INSTANCE_STATE_RUNNING, "walker")
    await played.until_opened(1)
    await market.feed(HISTORY + 4)
    ((row, side, quantity, price, _),) = await fills_of(service, bearers, 1)
    assert (row, side, quantity, price) == (HISTORY + 3, 1, 12, goog_bars().open[HISTORY + 3])
    listed = await trading.ListOrders(pb.ListOrdersRequest(), **as_(bearers.viewer))
    (only,) = listed.orders
    assert only.spec.quantity.value == "12"
    logs = await strategies.GetRunLogs(strategy_service_pb2.GetRunLogsRequest(run_id=run_id), **as_(bearers.viewer))
    assert [line.message.split(":")[1].strip() for line in logs.lines] == ["MAX_ORDER_QUANTITY"]
    asked_trades = strategy_service_pb2.ListRunTradesRequest(run_id=run_id)
    (trade,) = (await strategies.ListRunTrades(asked_trades, **as_(bearers.viewer))).trades
    assert not trade.HasField("exit_time")
    close = goog_bars().close[HISTORY + 3]
    assert float(trade.gross_profit.value) == pytest.approx((close - price) * 12)
