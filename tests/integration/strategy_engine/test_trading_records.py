"""What is told of orders, accounts and policies: every step once, with who asked and why."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from quasar.database.pool import Database
from quasar_proto.common.v1 import values_pb2
from quasar_proto.strategy.v1 import (
    denial_pb2,
    order_pb2,
    policy_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
    trading_pb2,
    trading_service_pb2_grpc,
)
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from tests.integration.strategy_engine.conftest import GOOG, Bearers, Running, as_
from tests.integration.strategy_engine.played_datahub import Played
from tests.integration.strategy_engine.test_backtests import ended
from tests.integration.strategy_engine.test_trading import account, know_instrument, money, order, reached, tomorrow

PATIENCE_S = 60


@pytest.fixture
async def stub(service: Running, bearers: Bearers, database: Database) -> Any:
    """A stub of the trading service, with a paper account "main" of 100,000 USD and a known instrument."""
    await know_instrument(database)
    found = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    await found.CreatePaperAccount(account(), **as_(bearers.operator))
    return found


async def refused(call: Any, code: grpc.StatusCode, text: str) -> None:
    """Check that a call fails with a code and says something."""
    with pytest.raises(grpc.aio.AioRpcError, match=text) as caught:
        await call
    assert caught.value.code() is code


async def test_a_watcher_is_told_every_step_with_the_order_as_it_was(
    stub: Any, bearers: Bearers, played: Played
) -> None:
    watching = stub.WatchOrders(pb.WatchOrdersRequest(account_id="main"), **as_(bearers.viewer))
    first = await watching.read()
    assert (first.snapshot, len(first.updates)) == (True, 0)
    placed = await stub.PlaceOrder(order("w-1"), **as_(bearers.operator))
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(800.0, 810.0))
    steps: list[pb.OrderUpdate] = []
    async with asyncio.timeout(PATIENCE_S):
        while not steps or steps[-1].order.status != order_pb2.ORDER_STATUS_FILLED:
            steps += (await watching.read()).updates
    watching.cancel()
    statuses = [order_pb2.ORDER_STATUS_PENDING_NEW, order_pb2.ORDER_STATUS_ACCEPTED, order_pb2.ORDER_STATUS_FILLED]
    assert [each.order.status for each in steps] == statuses
    assert [each.event.status for each in steps] == statuses
    assert [each.event.kind for each in steps] == ["OrderPlaced", "OrderAccepted", "OrderFilled"]
    assert steps[0].event.actor.principal == "operator"
    assert (steps[2].event.fill.price.value, steps[2].event.fill.quantity.value) == ("800.00", "10")
    assert {each.order.client_order_id for each in steps} == {placed.order.client_order_id}

    later = stub.WatchOrders(pb.WatchOrdersRequest(cursor=first.cursor, account_id="main"), **as_(bearers.viewer))
    again: list[pb.OrderUpdate] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(again) < 3:
            again += (await later.read()).updates
    later.cancel()
    assert again == steps
    nobody = stub.WatchOrders(pb.WatchOrdersRequest(account_id="nobody"), **as_(bearers.viewer))
    await refused(nobody.read(), grpc.StatusCode.NOT_FOUND, "nobody")


async def test_who_cancels_an_order_and_why_is_a_step_and_an_ended_order_is_not_cancelled(
    stub: Any, bearers: Bearers, played: Played
) -> None:
    waiting = (await stub.PlaceOrder(order("c-1", limit="1.00"), **as_(bearers.operator))).order
    asked = pb.CancelOrderRequest(client_order_id=waiting.client_order_id, reason="changed my mind")
    for _ in range(2):
        cancelled = await stub.CancelOrder(asked, **as_(bearers.operator))
        assert cancelled.order.status == order_pb2.ORDER_STATUS_CANCELLED
    request = pb.ListOrderEventsRequest(client_order_id=waiting.client_order_id)
    steps = (await stub.ListOrderEvents(request, **as_(bearers.viewer))).events
    assert [each.kind for each in steps] == ["OrderPlaced", "OrderAccepted", "OrderCancelRequested", "OrderCancelled"]
    assert "changed my mind" in steps[2].text
    assert steps[2].actor.principal == "operator"

    placed = (await stub.PlaceOrder(order("c-2"), **as_(bearers.operator))).order
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(800.0, 810.0))
    await reached(stub, bearers, placed.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    late = pb.CancelOrderRequest(client_order_id=placed.client_order_id)
    await refused(stub.CancelOrder(late, **as_(bearers.operator)), grpc.StatusCode.FAILED_PRECONDITION, "FILLED")
    listed = await stub.ListOrders(
        pb.ListOrdersRequest(filter='type = "LIMIT" AND open = false'), **as_(bearers.viewer)
    )
    assert [each.client_order_id for each in listed.orders] == [waiting.client_order_id]


async def test_a_request_id_stands_for_one_order_of_an_account_whoever_asks(stub: Any, bearers: Bearers) -> None:
    first = await stub.PlaceOrder(order("same", limit="1.00"), **as_(bearers.operator))
    again = await stub.PlaceOrder(order("same", limit="1.00"), **as_(bearers.admin))
    assert again.order.client_order_id == first.order.client_order_id
    assert first.decision.checks


async def test_closing_positions_ends_with_what_came_of_it(
    stub: Any, service: Running, bearers: Bearers, played: Played
) -> None:
    placed = (await stub.PlaceOrder(order("f-1"), **as_(bearers.operator))).order
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(800.0, 810.0))
    await reached(stub, bearers, placed.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    ask = pb.FlattenPositionsRequest(account_id="main", validate_only=True)
    preview = await stub.FlattenPositions(ask, **as_(bearers.operator))
    made, _, digest = preview.confirm_token.partition(".")
    old = pb.FlattenPositionsRequest(account_id="main", confirm_token=f"{int(made) - 121}.{digest}")
    await refused(
        stub.FlattenPositions(old, **as_(bearers.operator)), grpc.StatusCode.FAILED_PRECONDITION, "confirm_token"
    )
    real = pb.FlattenPositionsRequest(account_id="main", confirm_token=preview.confirm_token)
    begun = await stub.FlattenPositions(real, **as_(bearers.operator))
    done = await ended(service, bearers, begun.operation.operation_id)
    result = trading_pb2.FlattenResult()
    assert done.kind == "positions.flatten"
    assert done.result.Unpack(result)
    assert len(result.closing_client_order_ids) == 1


async def test_accounts_are_listed_with_what_they_hold_and_may_trade(
    stub: Any, service: Running, bearers: Bearers, played: Played
) -> None:
    other = account()
    other.account_id, other.labels["desk"], other.request_id = "other", "two", "a-2"
    other.paper.cash[0].amount.value = "5"
    await stub.CreatePaperAccount(other, **as_(bearers.operator))
    placed = (await stub.PlaceOrder(order("l-1"), **as_(bearers.operator))).order
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(800.0, 810.0))
    await reached(stub, bearers, placed.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    halt = policy_service_pb2.SetTradingStateRequest(
        scope=denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_ACCOUNT, id="other"),
        state=policy_pb2.TRADING_STATE_HALTED,
        reason="test",
    )
    await policies.SetTradingState(halt, **as_(bearers.operator))

    async def listed(**more: Any) -> list[str]:
        answer = await stub.ListAccounts(pb.ListAccountsRequest(**more), **as_(bearers.viewer))
        return [each.account_id for each in answer.accounts]

    assert await listed(order_by="equity") == ["other", "main"]
    assert await listed(filter='labels.desk = "two"') == ["other"]
    assert await listed(filter='trading_state = "HALTED" AND trading_enabled = true') == ["other"]
    assert await listed(filter='kind = "LIVE"') == []
    (main, _) = (await stub.ListAccounts(pb.ListAccountsRequest(), **as_(bearers.viewer))).accounts
    assert (main.positions, money(main.gross_exposure), money(main.day_pnl)) == (1, 8100, 100 - 8)
    assert main == (await stub.GetAccount(pb.GetAccountRequest(account_id="main"), **as_(bearers.viewer))).account

    limits = policy_pb2.PolicyLimits(max_position_quantity=values_pb2.Decimal(value="5"))
    policy = policy_pb2.Policy(policy_id="small", scope=_platform(), limits=limits, enabled=True)
    made = await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    (broken,) = made.broken_limits
    assert (broken.reason, money(broken.value), money(broken.limit)) == (
        denial_pb2.DENIAL_REASON_MAX_POSITION_QUANTITY,
        10,
        5,
    )


def _platform() -> denial_pb2.PolicyScope:
    return denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_PLATFORM)
