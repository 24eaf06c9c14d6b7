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


async def test_states_policies_and_denials_are_found_by_the_fields_of_the_contract(
    service: Running, bearers: Bearers, database: Database
) -> None:
    await know_instrument(database)
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    await trading.CreatePaperAccount(account(), **as_(bearers.operator))
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    platform = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_PLATFORM)
    for scope, name, most in ((MAIN, "small", 0), (platform, "wide", 10)):
        policy = policy_pb2.Policy(policy_id=name, display_name=name.title(), scope=scope, enabled=True)
        policy.limits.max_open_orders = most
        await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
        await refused(trading, bearers, order(f"o-{name}", limit="1.00"))
    for scope, state in ((platform, policy_pb2.TRADING_STATE_ACTIVE), (MAIN, policy_pb2.TRADING_STATE_REDUCE_ONLY)):
        request = policy_service_pb2.SetTradingStateRequest(scope=scope, state=state, reason="test")
        await policies.SetTradingState(request, **as_(bearers.operator))

    async def states(**asked: str) -> list[int]:
        request = policy_service_pb2.ListTradingStatesRequest(page_size=1, **asked)
        found = []
        while True:
            page = await policies.ListTradingStates(request, **as_(bearers.viewer))
            found += [each.scope.kind for each in page.trading_states]
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    account_, all_ = denial_pb2.SCOPE_KIND_ACCOUNT, denial_pb2.SCOPE_KIND_PLATFORM
    assert await states() == [account_, all_]
    assert await states(order_by="set_time") == [all_, account_]
    assert await states(filter='state != "ACTIVE"') == [account_]
    assert await states(filter="scope.kind = PLATFORM") == [all_]

    asked = policy_service_pb2.ListPoliciesRequest(filter="scope.kind = ACCOUNT", order_by="display_name desc")
    found = (await policies.ListPolicies(asked, **as_(bearers.viewer))).policies
    assert [each.policy_id for each in found] == ["small"]

    async def denied(**asked: str) -> int:
        request = policy_service_pb2.ListDenialsRequest(**asked)  # type: ignore[arg-type]  # texts
        return len((await policies.ListDenials(request, **as_(bearers.viewer))).denials)

    assert await denied(filter="policy_id = small AND side = BUY AND origin = MANUAL") == 2
    assert await denied(filter="policy_id = wide") == await denied(filter="scope.kind = PLATFORM") == 0
    oldest = policy_service_pb2.ListDenialsRequest(order_by="time", page_size=1)
    first = await policies.ListDenials(oldest, **as_(bearers.viewer))
    oldest.page_token = first.next_page_token
    second = await policies.ListDenials(oldest, **as_(bearers.viewer))
    assert first.denials[0].denial_id < second.denials[0].denial_id
