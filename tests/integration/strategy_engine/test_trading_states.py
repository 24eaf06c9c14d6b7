"""Trading states that were set for a time: they end by themselves, over a restart too, and that is told."""

from __future__ import annotations

import grpc
import pytest

from quasar.database.pool import Database
from quasar_proto.strategy.v1 import (
    denial_pb2,
    order_pb2,
    policy_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
    trading_service_pb2_grpc,
)
from tests.integration.strategy_engine.conftest import Bearers, Running, Start, as_
from tests.integration.strategy_engine.played_datahub import Played, serving
from tests.integration.strategy_engine.test_trading import account, know_instrument, order, refused, until

MAIN = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_ACCOUNT, id="main")
TOLD = "select message from ops.events where kind = 'TradingStateChanged' and severity = 'WARNING' order by id"


def halt(seconds: int) -> policy_service_pb2.SetTradingStateRequest:
    request = policy_service_pb2.SetTradingStateRequest(
        scope=MAIN, state=policy_pb2.TRADING_STATE_HALTED, reason="maintenance"
    )
    request.expire_time.GetCurrentTime()
    request.expire_time.seconds += seconds
    return request


async def test_a_state_ends_at_its_time_over_a_restart_and_that_is_told(
    start: Start, bearers: Bearers, database: Database, played: Played
) -> None:
    await know_instrument(database)
    asked = policy_service_pb2.GetTradingStateRequest(scope=MAIN)
    async with serving(played) as address:
        async with start(address) as before:
            trading = before.stub(trading_service_pb2_grpc.TradingServiceStub)
            await trading.CreatePaperAccount(account(), **as_(bearers.operator))
            policies = before.stub(policy_service_pb2_grpc.PolicyServiceStub)
            await policies.SetTradingState(halt(3600), **as_(bearers.operator))
            _, kept = await refused(trading, bearers, order("o-1", limit="1.00"))
            assert [each.reason for each in kept.denials] == [denial_pb2.DENIAL_REASON_TRADING_HALTED]
            # Its time comes: at once nothing is judged by it any more.
            await database.execute("update strategy.trading_states set expires_at = now()")
            placed = await trading.PlaceOrder(order("o-2", limit="1.00"), **as_(bearers.operator))
            assert placed.order.status == order_pb2.ORDER_STATUS_ACCEPTED
            told = await until(lambda: database.fetch(TOLD), lambda rows: len(rows) == 2)
            assert told[1]["message"] == ("Trading of account main is ACTIVE: the time of HALTED was over: maintenance")
            record = (await policies.GetTradingState(asked, **as_(bearers.viewer))).trading_state
            assert (record.state, record.HasField("actor")) == (policy_pb2.TRADING_STATE_ACTIVE, False)
            assert record.HasField("set_time")
            await policies.SetTradingState(halt(3600), **as_(bearers.operator))
        await database.execute("update strategy.trading_states set expires_at = now()")
        async with start(address) as after:
            await until(lambda: database.fetch(TOLD), lambda rows: len(rows) == 4)
            policies = after.stub(policy_service_pb2_grpc.PolicyServiceStub)
            record = (await policies.GetTradingState(asked, **as_(bearers.viewer))).trading_state
            assert record.effective_state == policy_pb2.TRADING_STATE_ACTIVE


async def test_an_end_that_makes_no_sense_is_refused_by_name(service: Running, bearers: Bearers) -> None:
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    active = halt(3600)
    active.state = policy_pb2.TRADING_STATE_ACTIVE
    active.scope.CopyFrom(denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_PLATFORM))
    past = halt(-60)
    past.scope.CopyFrom(active.scope)
    for request, text in ((active, "expire_time must be left out with ACTIVE"), (past, "expire_time must lie in the")):
        with pytest.raises(grpc.aio.AioRpcError, match=text) as caught:
            await policies.SetTradingState(request, **as_(bearers.operator))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
