"""What the engine does when a limit on losses is reached: once, with an event, and as far as the policy asks."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import grpc
import pytest

from quasar.database.pool import Database
from quasar.model.bars import BarColumns
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
    strategy_service_pb2_grpc,
)
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from tests.integration.strategy_engine.code_rows import store_example
from tests.integration.strategy_engine.conftest import GOOG, Bearers, Running, as_
from tests.integration.strategy_engine.played_datahub import Played
from tests.integration.strategy_engine.test_backtests import PARAMETERS
from tests.integration.strategy_engine.test_instances import instance
from tests.integration.strategy_engine.test_trading import (
    money,
    order,
    reached,
    refused,
    stub,
    tomorrow,
    until,
)

__all__ = ["stub"]
ENGINE = order_pb2.ORDER_ORIGIN_ENGINE
MAIN = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_ACCOUNT, id="main")


async def guarded(service: Running, bearers: Bearers, action: int) -> Any:
    """Bound the daily loss of the account by 500 USD, and return the stub of the policies."""
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    limits = policy_pb2.PolicyLimits(
        currency="USD",
        max_daily_loss=values_pb2.Decimal(value="500"),
        loss_action=action,  # type: ignore[arg-type]  # enum values travel as plain integers
    )
    policy = policy_pb2.Policy(policy_id="losses", scope=MAIN, limits=limits, enabled=True)
    await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    return policies


async def test_a_loss_is_measured_in_the_currency_of_its_limit_or_the_limit_is_refused(
    stub: Any, service: Running, bearers: Bearers, played: Played, database: Database
) -> None:
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)

    async def limited(policy_id: str, euros: str) -> None:
        limits = policy_pb2.PolicyLimits(currency="EUR", max_daily_loss=values_pb2.Decimal(value=euros))
        policy = policy_pb2.Policy(policy_id=policy_id, scope=MAIN, limits=limits, enabled=True)
        await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))

    with pytest.raises(grpc.aio.AioRpcError, match=r"limits.currency must be USD.*main.*EUR/USD") as caught:
        await limited("unknown", "500")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    pair = ("files", "EUR/USD", "1d")
    await database.execute("insert into datahub.series (provider, symbol, interval) values ($1, $2, $3)", *pair)
    rate = BarColumns([0], open=[1.25], high=[1.25], low=[1.25], close=[1.25], volume=[1.0])  # type: ignore[arg-type]  # lists become columns
    played.bars = {**played.bars, pair: rate}
    await limited("high", "1000")
    await limited("low", "500")
    await lose(stub, bearers, played)  # about 1,080 USD
    record = await set_to(policies, bearers, policy_pb2.TRADING_STATE_REDUCE_ONLY)
    assert (record.trigger.policy_id, record.trigger.unit) == ("low", "EUR")
    assert money(record.trigger.value) == (1000 + 80) * 0.8
    assert [row["policy_id"] for row in await database.fetch("select policy_id from strategy.loss_breaches")] == ["low"]


async def test_the_trading_day_begins_at_midnight_of_the_zone_of_the_policy(
    stub: Any, service: Running, bearers: Bearers, database: Database
) -> None:
    now = dt.datetime.now(dt.UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    zone = f"Etc/GMT+{hour.hour}" if hour.hour <= 12 else f"Etc/GMT-{24 - hour.hour}"  # there this hour is the first
    columns = "scope, scope_id, time, currency, equity"
    insert = f"insert into strategy.equity ({columns}) values ('ACCOUNT', 'main', $1, 'USD', $2)"
    await database.execute(insert, hour - dt.timedelta(seconds=1), 200_000)
    await database.execute(insert, hour - dt.timedelta(days=1, hours=1), 100_000)
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    for policy_id, name in (("utc", ""), ("zoned", zone)):
        limits = policy_pb2.PolicyLimits(
            currency="USD", max_daily_loss=values_pb2.Decimal(value="50000"), day_time_zone=name
        )
        policy = policy_pb2.Policy(policy_id=policy_id, scope=MAIN, limits=limits, enabled=True)
        await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    _, kept = await refused(stub, bearers, order("o-1", "1", limit="1.00"))
    denied = [each for each in kept.denials if each.reason == denial_pb2.DENIAL_REASON_MAX_DAILY_LOSS]
    # At midnight of UTC the two days are one.
    assert [each.policy_id for each in denied] == (["utc", "zoned"] if hour.hour == 0 else ["zoned"])
    assert {money(each.value) for each in denied} == {100_000}


async def test_where_each_strategy_counts_by_itself_only_the_one_that_lost_is_held(
    stub: Any, service: Running, bearers: Bearers, played: Played, database: Database
) -> None:
    await store_example(database, "sma_cross.py", "sma_cross", PARAMETERS)
    strategies = service.stub(strategy_service_pb2_grpc.StrategyServiceStub)
    for name in ("loser", "other"):
        await strategies.CreateInstance(instance(name=name), **as_(bearers.operator))
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    limits = policy_pb2.PolicyLimits(currency="USD", max_daily_loss=values_pb2.Decimal(value="500"))
    policy = policy_pb2.Policy(
        policy_id="each",
        scope=denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_PLATFORM),
        granularity=policy_pb2.POLICY_GRANULARITY_EACH_INSTRUMENT,
        limits=limits,
        enabled=True,
    )
    with pytest.raises(grpc.aio.AioRpcError, match=r"policy\.granularity must be another one") as caught:
        await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    policy.granularity = policy_pb2.POLICY_GRANULARITY_EACH_STRATEGY
    made = await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    assert made.policy.granularity == policy_pb2.POLICY_GRANULARITY_EACH_STRATEGY
    for name, quantity in (("loser", "100"), ("other", "10")):
        bought = await stub.PlaceOrder(order(f"b-{name}", quantity, instance_id=name), **as_(bearers.operator))
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(400.0, 400.0))
    await reached(stub, bearers, bought.order.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    await played.feed(GOOG, tomorrow(395.0, 390.0, 2))

    async def states() -> list[policy_pb2.TradingStateRecord]:
        asked = policy_service_pb2.ListTradingStatesRequest()
        return list((await policies.ListTradingStates(asked, **as_(bearers.viewer))).trading_states)

    (record,) = await until(states, bool)
    assert (record.scope.kind, record.scope.id) == (denial_pb2.SCOPE_KIND_STRATEGY, "loser")
    assert (record.state, record.trigger.policy_id) == (policy_pb2.TRADING_STATE_REDUCE_ONLY, "each")
    _, kept = await refused(stub, bearers, order("more", "1", limit="1.00", instance_id="loser"))
    assert denial_pb2.DENIAL_REASON_MAX_DAILY_LOSS in [each.reason for each in kept.denials]
    passed = await stub.PlaceOrder(order("fine", "1", limit="1.00", instance_id="other"), **as_(bearers.operator))
    assert passed.order.status == order_pb2.ORDER_STATUS_ACCEPTED


async def test_a_state_that_was_set_for_a_time_holds_on_when_a_limit_is_reached_meanwhile(
    stub: Any, service: Running, bearers: Bearers, played: Played
) -> None:
    policies = await guarded(service, bearers, policy_pb2.LOSS_ACTION_REDUCE_ONLY)
    bought = await stub.PlaceOrder(order("b-1", "100"), **as_(bearers.operator))
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(800.0, 800.0))
    await reached(stub, bearers, bought.order.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    halt = policy_service_pb2.SetTradingStateRequest(scope=MAIN, state=policy_pb2.TRADING_STATE_HALTED, reason="lunch")
    halt.expire_time.GetCurrentTime()
    halt.expire_time.seconds += 3600
    told = (await policies.SetTradingState(halt, **as_(bearers.operator))).trading_state
    assert told.expire_time == halt.expire_time
    await played.feed(GOOG, tomorrow(795.0, 790.0, 2))
    asked = policy_service_pb2.GetTradingStateRequest(scope=MAIN)

    async def look() -> policy_pb2.TradingStateRecord:
        found: policy_pb2.TradingStateRecord = (
            await policies.GetTradingState(asked, **as_(bearers.viewer))
        ).trading_state
        return found

    record = await until(look, lambda found: found.cause == denial_pb2.DENIAL_REASON_MAX_DAILY_LOSS)
    assert (record.state, record.HasField("expire_time")) == (policy_pb2.TRADING_STATE_HALTED, False)


async def lose(stub: Any, bearers: Bearers, played: Played) -> None:
    """Buy 100 at 800 and see the price fall by 10, which costs about 1,080."""
    bought = await stub.PlaceOrder(order("b-1", "100"), **as_(bearers.operator))
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(800.0, 800.0))
    await reached(stub, bearers, bought.order.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    await stub.PlaceOrder(order("waits", "1", limit="1.00"), **as_(bearers.operator))
    await stub.PlaceOrder(order("target", "100", side=2, limit="900.00"), **as_(bearers.operator))
    await played.feed(GOOG, tomorrow(795.0, 790.0, 2))


async def set_to(policies: Any, bearers: Bearers, state: int) -> policy_pb2.TradingStateRecord:
    """Wait until the account has a trading state, and return its record."""
    asked = policy_service_pb2.GetTradingStateRequest(scope=MAIN)

    async def look() -> policy_pb2.TradingStateRecord:
        found: policy_pb2.TradingStateRecord = (
            await policies.GetTradingState(asked, **as_(bearers.viewer))
        ).trading_state
        return found

    return await until(look, lambda record: record.state == state)


async def open_orders(stub: Any, bearers: Bearers) -> dict[str, order_pb2.Order]:
    listed = await stub.ListOrders(pb.ListOrdersRequest(filter='account_id = "main"'), **as_(bearers.viewer))
    return {each.client_order_id: each for each in listed.orders if not each.HasField("final_time")}


async def test_reaching_a_limit_lets_only_what_reduces_pass_and_takes_back_what_would_enlarge(
    stub: Any, service: Running, bearers: Bearers, played: Played
) -> None:
    policies = await guarded(service, bearers, policy_pb2.LOSS_ACTION_UNSPECIFIED)
    await lose(stub, bearers, played)
    record = await set_to(policies, bearers, policy_pb2.TRADING_STATE_REDUCE_ONLY)
    assert (record.cause, record.HasField("actor")) == (denial_pb2.DENIAL_REASON_MAX_DAILY_LOSS, False)
    assert (money(record.trigger.limit), record.trigger.policy_id) == (500, "losses")
    assert "main" in record.reason
    (kept,) = (await until(lambda: open_orders(stub, bearers), lambda left: len(left) == 1)).values()
    assert kept.spec.side == order_pb2.ORDER_SIDE_SELL
    await refused(stub, bearers, order("more", "1", limit="1.00"))


async def test_a_limit_acts_once_and_an_operator_takes_the_state_back(
    stub: Any, service: Running, bearers: Bearers, played: Played, database: Database
) -> None:
    policies = await guarded(service, bearers, policy_pb2.LOSS_ACTION_HALT)
    await lose(stub, bearers, played)
    await set_to(policies, bearers, policy_pb2.TRADING_STATE_HALTED)
    await until(lambda: open_orders(stub, bearers), lambda left: not left)
    again = policy_service_pb2.SetTradingStateRequest(
        scope=MAIN, state=policy_pb2.TRADING_STATE_ACTIVE, reason="looked at"
    )
    told = (await policies.SetTradingState(again, **as_(bearers.operator))).trading_state
    assert (told.state, told.cause, told.actor.principal) == (policy_pb2.TRADING_STATE_ACTIVE, 0, "operator")
    await asyncio.sleep(2.5)  # two looks at losses
    asked = policy_service_pb2.GetTradingStateRequest(scope=MAIN)
    still = (await policies.GetTradingState(asked, **as_(bearers.viewer))).trading_state
    assert still.state == policy_pb2.TRADING_STATE_ACTIVE
    _, denied = await refused(stub, bearers, order("more", "1", limit="1.00"))
    assert [each.reason for each in denied.denials] == [denial_pb2.DENIAL_REASON_MAX_DAILY_LOSS]
    reducing = await stub.PlaceOrder(order("less", "100", side=2), **as_(bearers.operator))
    assert reducing.order.status == order_pb2.ORDER_STATUS_ACCEPTED
    count = "select count(*) from ops.events where kind = 'TradingStateChanged' and severity = 'WARNING'"
    assert await database.fetchval(count) == 2


async def test_a_limit_may_close_what_is_held(stub: Any, service: Running, bearers: Bearers, played: Played) -> None:
    policies = await guarded(service, bearers, policy_pb2.LOSS_ACTION_FLATTEN)
    await lose(stub, bearers, played)
    await set_to(policies, bearers, policy_pb2.TRADING_STATE_HALTED)
    left = await until(lambda: open_orders(stub, bearers), lambda left: [o.origin for o in left.values()] == [ENGINE])
    (closing,) = left.values()
    assert closing.spec.reduce_only
    await played.feed(GOOG, tomorrow(785.0, 785.0, 3))
    await reached(stub, bearers, closing.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    portfolio = service.stub(portfolio_service_pb2_grpc.PortfolioServiceStub)
    asked = portfolio_service_pb2.ListPositionsRequest(scope=portfolio_pb2.PortfolioScope(account_id="main"))
    assert not (await portfolio.ListPositions(asked, **as_(bearers.viewer))).positions


async def test_positions_are_closed_also_after_trading_was_halted(
    stub: Any, service: Running, bearers: Bearers, played: Played, database: Database
) -> None:
    bought = await stub.PlaceOrder(order("b-1", "100"), **as_(bearers.operator))
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(800.0, 800.0))
    await reached(stub, bearers, bought.order.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    halt = policy_service_pb2.SetTradingStateRequest(
        scope=MAIN, state=policy_pb2.TRADING_STATE_HALTED, reason="stop everything"
    )
    await policies.SetTradingState(halt, **as_(bearers.operator))
    flatten = pb.FlattenPositionsRequest(account_id="main", validate_only=True)
    shown = await stub.FlattenPositions(flatten, **as_(bearers.operator))
    flatten.validate_only, flatten.confirm_token = False, shown.confirm_token
    await stub.FlattenPositions(flatten, **as_(bearers.operator))
    (closing,) = (await until(lambda: open_orders(stub, bearers), bool)).values()
    assert (closing.spec.side, money(closing.spec.quantity)) == (order_pb2.ORDER_SIDE_SELL, 100)
    told = "select count(*) from ops.events where kind = 'PositionsFlattened'"
    await until(lambda: database.fetchval(told), lambda count: count == 1)


async def test_what_is_not_there_has_no_trading_state_and_takes_no_order(
    stub: Any, service: Running, bearers: Bearers
) -> None:
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    nobody = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_STRATEGY, id="nobody")
    halt = policy_service_pb2.SetTradingStateRequest(
        scope=nobody, state=policy_pb2.TRADING_STATE_HALTED, reason="a slip of the pen"
    )
    unheard = policy_pb2.Policy(policy_id="typo", scope=nobody, limits=policy_pb2.PolicyLimits(), enabled=True)
    for call in (
        policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=unheard), **as_(bearers.admin)),
        policies.SetTradingState(halt, **as_(bearers.operator)),
        stub.PlaceOrder(order("n-1", instance_id="nobody"), **as_(bearers.operator)),
        stub.CancelAllOrders(pb.CancelAllOrdersRequest(instance_id="nobody"), **as_(bearers.operator)),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="nobody") as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_repeated_request_with_another_price_is_no_repetition(stub: Any, bearers: Bearers) -> None:
    first = await stub.PlaceOrder(order("r-1", limit="10.00"), **as_(bearers.operator))
    again = await stub.PlaceOrder(order("r-1", limit="10.00"), **as_(bearers.operator))
    assert again.order.client_order_id == first.order.client_order_id
    with pytest.raises(grpc.aio.AioRpcError, match="request_id") as caught:
        await stub.PlaceOrder(order("r-1", limit="11.00"), **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    change = pb.ReplaceOrderRequest(
        client_order_id=first.order.client_order_id,
        change=order_pb2.OrderChange(limit_price=values_pb2.Decimal(value="9.00")),
        request_id="c-1",
    )
    await stub.ReplaceOrder(change, **as_(bearers.operator))
    later = await stub.PlaceOrder(order("r-1", limit="10.00"), **as_(bearers.operator))
    assert money(later.order.spec.limit_price) == 9
