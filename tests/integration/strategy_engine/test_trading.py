"""Orders, policy and portfolio through the public calls, on a paper account that follows a played DataHub."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask

from quasar import errors
from quasar.database.pool import Database
from quasar.model.bars import BarColumns
from quasar.rpc.errors import from_rpc_error
from quasar_proto.common.v1 import values_pb2
from quasar_proto.ops.v1 import operation_pb2
from quasar_proto.strategy.v1 import (
    denial_pb2,
    order_pb2,
    policy_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
    portfolio_pb2,
    portfolio_service_pb2,
    portfolio_service_pb2_grpc,
    trading_pb2,
    trading_service_pb2_grpc,
)
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from tests.integration.strategy_engine.conftest import DAY_NS, GOOG, Bearers, Running, Start, as_
from tests.integration.strategy_engine.played_datahub import Played, serving
from tests.integration.strategy_engine.test_backtests import ended

PATIENCE_S = 60
T = TypeVar("T")


def tomorrow(open_: float, close: float, days: int = 1) -> BarColumns:
    """Return one daily bar that opens after everything that the test did."""
    midnight = int(dt.datetime.now(dt.UTC).timestamp()) // 86_400 * 86_400 * 10**9
    columns = {"open": [open_], "high": [max(open_, close)], "low": [min(open_, close)], "close": [close]}
    return BarColumns([midnight + days * DAY_NS], volume=[1000.0], **columns)  # type: ignore[arg-type]  # lists become columns


@pytest.fixture
async def stub(service: Running, bearers: Bearers, database: Database) -> Any:
    """A stub of the trading service, with a paper account "main" of 100,000 USD and a known instrument."""
    await know_instrument(database)
    found = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    await found.CreatePaperAccount(account(), **as_(bearers.operator))
    return found


async def know_instrument(database: Database) -> None:
    await database.execute("insert into datahub.series (provider, symbol, interval) values ($1, $2, $3)", *GOOG)


def account() -> pb.CreatePaperAccountRequest:
    cash = values_pb2.Money(amount=values_pb2.Decimal(value="100000"), currency="USD")
    paper = trading_pb2.PaperSettings(cash=[cash])
    paper.execution.commission.rate.rate.value = "0.001"
    return pb.CreatePaperAccountRequest(account_id="main", paper=paper, request_id="a-1")


def order(request_id: str, quantity: str = "10", side: int = 1, **more: Any) -> pb.PlaceOrderRequest:
    limit = more.pop("limit", None)
    spec = order_pb2.OrderSpec(
        symbol="GOOG",
        side=side,  # type: ignore[arg-type]  # enum values travel as plain integers
        type=order_pb2.ORDER_TYPE_LIMIT if limit else order_pb2.ORDER_TYPE_MARKET,
        quantity=values_pb2.Decimal(value=quantity),
    )
    if limit:
        spec.limit_price.value = limit
    return pb.PlaceOrderRequest(account_id="main", order=spec, request_id=request_id, **more)


async def refused(
    stub: Any, bearers: Bearers, asked: pb.PlaceOrderRequest
) -> tuple[errors.PolicyDenied, order_pb2.Order]:
    """Place an order that policy denies, and return the error and the order as it is kept."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.PlaceOrder(asked, **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    error = from_rpc_error(caught.value)
    assert isinstance(error, errors.PolicyDenied)
    found = pb.GetOrderRequest(client_order_id=error.metadata["client_order_id"])
    kept = (await stub.GetOrder(found, **as_(bearers.viewer))).order
    assert kept.status == order_pb2.ORDER_STATUS_DENIED
    return error, kept


async def reached(stub: Any, bearers: Bearers, order_id: str, status: int) -> pb.GetOrderResponse:
    """Watch orders until one has a status, and return it."""
    watching = stub.WatchOrders(pb.WatchOrdersRequest(), **as_(bearers.viewer))
    async with asyncio.timeout(PATIENCE_S):
        async for _ in watching:
            found = await stub.GetOrder(pb.GetOrderRequest(client_order_id=order_id), **as_(bearers.viewer))
            if found.order.status == status:
                break
    watching.cancel()
    answer: pb.GetOrderResponse = found
    return answer


async def until(look: Callable[[], Awaitable[T]], fits: Callable[[T], object]) -> T:
    """Look again and again until what is found fits, and return it."""
    async with asyncio.timeout(PATIENCE_S):
        found = await look()
        while not fits(found):
            await asyncio.sleep(0.1)
            found = await look()
    return found


def money(message: values_pb2.Decimal) -> float:
    return float(message.value)


async def test_a_market_order_fills_at_the_next_open_and_moves_position_cash_and_worth(
    stub: Any, service: Running, bearers: Bearers, played: Played
) -> None:
    placed = await stub.PlaceOrder(order("o-1"), **as_(bearers.operator))
    assert placed.order.status == order_pb2.ORDER_STATUS_ACCEPTED
    assert placed.decision.allowed
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(800.0, 810.0))
    filled = await reached(stub, bearers, placed.order.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    (fill,) = filled.fills
    assert (fill.price.value, fill.quantity.value, fill.commission.amount.value) == ("800.00", "10", "8.00000")

    portfolio = service.stub(portfolio_service_pb2_grpc.PortfolioServiceStub)
    scope = portfolio_pb2.PortfolioScope(account_id="main")
    worth = (
        await portfolio.GetPortfolio(portfolio_service_pb2.GetPortfolioRequest(scope=scope), **as_(bearers.viewer))
    ).portfolio
    assert money(worth.figures.cash) == 100_000 - 8_000 - 8
    assert money(worth.figures.equity) == 100_000 - 8 + 100
    assert money(worth.figures.unrealised_pnl) == 100
    (position,) = worth.positions
    assert (position.symbol, money(position.quantity), money(position.average_price)) == ("GOOG", 10, 800)

    waiting = await stub.PlaceOrder(order("o-2", "5", limit="400.00"), **as_(bearers.operator))
    asked = portfolio_service_pb2.GetExposureRequest(scope=scope)
    exposure = await portfolio.GetExposure(asked, **as_(bearers.viewer))
    (row,) = exposure.rows
    assert (row.group.symbol, exposure.currency, row.positions) == ("GOOG", "USD", 1)
    assert (money(row.gross_exposure), money(row.net_exposure_with_orders)) == (8_100, 8_100 + 5 * 400)
    assert row.gross_ratio == pytest.approx(8_100 / 100_092)
    assert money(exposure.total.net_exposure) == 8_100
    await stub.CancelOrder(
        pb.CancelOrderRequest(client_order_id=waiting.order.client_order_id), **as_(bearers.operator)
    )
    steps = await stub.ListOrderEvents(
        pb.ListOrderEventsRequest(client_order_id=placed.order.client_order_id), **as_(bearers.viewer)
    )
    assert [each.status for each in steps.events] == [
        order_pb2.ORDER_STATUS_PENDING_NEW,
        order_pb2.ORDER_STATUS_ACCEPTED,
        order_pb2.ORDER_STATUS_FILLED,
    ]
    assert steps.events[2].former_status == order_pb2.ORDER_STATUS_ACCEPTED

    preview = await stub.FlattenPositions(
        pb.FlattenPositionsRequest(account_id="main", validate_only=True), **as_(bearers.operator)
    )
    assert [each.symbol for each in preview.positions] == ["GOOG"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.FlattenPositions(pb.FlattenPositionsRequest(account_id="main"), **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    begun = await stub.FlattenPositions(
        pb.FlattenPositionsRequest(account_id="main", confirm_token=preview.confirm_token), **as_(bearers.operator)
    )
    done = await ended(service, bearers, begun.operation.operation_id)
    assert done.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    (closing,) = json_format.MessageToDict(done.result_summary)["closing_client_order_ids"]
    await played.feed(GOOG, tomorrow(820.0, 820.0, 2))
    await reached(stub, bearers, closing, order_pb2.ORDER_STATUS_FILLED)
    rows = await portfolio.ListPnl(portfolio_service_pb2.ListPnlRequest(scope=scope), **as_(bearers.viewer))
    assert money(rows.total.realised_pnl) == 200
    assert money(rows.total.net_pnl) == pytest.approx(200 - 8 - 8.2)
    flat = await portfolio.ListPositions(portfolio_service_pb2.ListPositionsRequest(scope=scope), **as_(bearers.viewer))
    assert not flat.positions
    async with asyncio.timeout(30):  # the curve gets its point behind the fill
        while await last_equity(portfolio, bearers, scope) != pytest.approx(100_183.8):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def last_equity(portfolio: Any, bearers: Bearers, scope: Any) -> float:
    """Return the newest value of an equity curve."""
    request = portfolio_service_pb2.ReadEquityCurveRequest(scope=scope)
    read = portfolio.ReadEquityCurve(request, **as_(bearers.viewer))
    return [float(message.chunk.equity[-1]) async for message in read][-1]


async def test_a_repeated_request_is_the_same_order(stub: Any, bearers: Bearers) -> None:
    first = await stub.PlaceOrder(order("same", limit="1.00"), **as_(bearers.operator))
    again = await stub.PlaceOrder(order("same", limit="1.00"), **as_(bearers.operator))
    assert first.order.client_order_id == again.order.client_order_id
    listed = await stub.ListOrders(pb.ListOrdersRequest(), **as_(bearers.viewer))
    assert len(listed.orders) == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.PlaceOrder(order("same", "11", limit="1.00"), **as_(bearers.operator))
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_orders_are_cancelled_one_by_one_and_all_together(stub: Any, bearers: Bearers) -> None:
    ids = [
        (await stub.PlaceOrder(order(f"c-{n}", limit="1.00"), **as_(bearers.operator))).order.client_order_id
        for n in range(3)
    ]
    one = await stub.CancelOrder(pb.CancelOrderRequest(client_order_id=ids[0]), **as_(bearers.operator))
    assert one.order.status == order_pb2.ORDER_STATUS_CANCELLED
    rest = await stub.CancelAllOrders(pb.CancelAllOrdersRequest(account_id="main"), **as_(bearers.operator))
    assert {each.client_order_id for each in rest.outcomes} == set(ids[1:])
    assert all(each.status == order_pb2.ORDER_STATUS_CANCELLED for each in rest.outcomes)


async def test_a_limit_denies_with_its_reason_and_numbers_and_the_denial_is_kept(
    stub: Any, service: Running, bearers: Bearers
) -> None:
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    scope = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_ACCOUNT, id="main")
    limits = policy_pb2.PolicyLimits(max_order_quantity=values_pb2.Decimal(value="5"))
    policy = policy_pb2.Policy(policy_id="small", scope=scope, limits=limits, enabled=True)
    await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    error, kept = await refused(stub, bearers, order("d-1", limit="1.00"))
    assert "MAX_ORDER_QUANTITY" in error.metadata["reasons"]
    assert [error.metadata[name] for name in ("limit", "value", "unit", "policy_id")] == ["5", "10", "units", "small"]
    (told,) = json.loads(error.metadata["denials"])
    assert json_format.ParseDict(told, denial_pb2.Denial()) == kept.denials[0]
    assert "10 GOOG" in error.message
    again, _ = await refused(stub, bearers, order("d-1", limit="1.00"))
    assert again.metadata == error.metadata
    (denial,) = kept.denials
    assert denial.reason == denial_pb2.DENIAL_REASON_MAX_ORDER_QUANTITY
    assert (denial.limit.value, denial.value.value, denial.policy_id) == ("5", "10", "small")
    listed = await policies.ListDenials(
        policy_service_pb2.ListDenialsRequest(filter="reason = MAX_ORDER_QUANTITY"), **as_(bearers.viewer)
    )
    assert [each.client_order_id for each in listed.denials] == [kept.client_order_id]
    asked = policy_service_pb2.CheckOrderRequest(account_id="main", order=order("x", "5", limit="1.00").order)
    checked = (await policies.CheckOrder(asked, **as_(bearers.viewer))).decision
    assert checked.allowed
    assert denial_pb2.DENIAL_REASON_MAX_ORDER_QUANTITY in [each.reason for each in checked.checks]
    policy.limits.max_order_quantity.value = "50"
    await policies.UpdatePolicy(
        policy_service_pb2.UpdatePolicyRequest(policy=policy, update_mask=FieldMask(paths=["limits"])),
        **as_(bearers.admin),
    )
    allowed = await stub.PlaceOrder(order("d-2", limit="1.00"), **as_(bearers.operator))
    assert allowed.order.status == order_pb2.ORDER_STATUS_ACCEPTED


async def test_orders_outside_the_allowed_sessions_and_of_forbidden_classes_are_denied(
    stub: Any, service: Running, bearers: Bearers
) -> None:
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    now = dt.datetime.now(dt.UTC)
    limits = policy_pb2.PolicyLimits()
    session = limits.allowed_sessions.add()
    session.window.start, session.window.end = (f"{now + dt.timedelta(hours=hours):%H:%M}" for hours in (2, 4))
    limits.forbidden_instruments.add(asset_class=values_pb2.ASSET_CLASS_EQUITY)
    scope = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_PLATFORM)
    policy = policy_pb2.Policy(policy_id="hours", scope=scope, limits=limits, enabled=True)
    await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    _, kept = await refused(stub, bearers, order("o-1", limit="1.00"))
    outside, forbidden = denial_pb2.DENIAL_REASON_OUTSIDE_SESSION, denial_pb2.DENIAL_REASON_INSTRUMENT_FORBIDDEN
    assert {each.reason for each in kept.denials} == {outside, forbidden}
    session.window.start = f"{now - dt.timedelta(hours=2):%H:%M}"
    limits.forbidden_instruments[0].asset_class = values_pb2.ASSET_CLASS_CRYPTO
    limits.day_time_zone = "Europe/Berlin"
    policy.limits.CopyFrom(limits)
    paths = FieldMask(paths=["limits"])
    request = policy_service_pb2.UpdatePolicyRequest(policy=policy, update_mask=paths)
    await policies.UpdatePolicy(request, **as_(bearers.admin))
    allowed = await stub.PlaceOrder(order("o-2", limit="1.00"), **as_(bearers.operator))
    assert allowed.order.status == order_pb2.ORDER_STATUS_ACCEPTED
    wrong = {"calendar": policy_pb2.PolicyLimits(), "day_time_zone": policy_pb2.PolicyLimits(day_time_zone="NOWHERE")}
    wrong["calendar"].allowed_sessions.add(calendar="NOWHERE")
    for field, unknown in wrong.items():
        request.policy.limits.CopyFrom(unknown)
        with pytest.raises(grpc.aio.AioRpcError, match=f"{field} must be a.* was NOWHERE") as caught:
            await policies.UpdatePolicy(request, **as_(bearers.admin))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_halt_denies_orders_and_cancels_open_ones(stub: Any, service: Running, bearers: Bearers) -> None:
    waiting = await stub.PlaceOrder(order("h-0", limit="1.00"), **as_(bearers.operator))
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    platform = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_PLATFORM)
    halt = policy_service_pb2.SetTradingStateRequest(
        scope=platform, state=policy_pb2.TRADING_STATE_HALTED, reason="test", cancel_open_orders=True
    )
    halted = await policies.SetTradingState(halt, **as_(bearers.operator))
    assert list(halted.cancelled_client_order_ids) == [waiting.order.client_order_id]
    _, kept = await refused(stub, bearers, order("h-1"))
    assert [each.reason for each in kept.denials] == [denial_pb2.DENIAL_REASON_TRADING_HALTED]
    halt.state, halt.cancel_open_orders = policy_pb2.TRADING_STATE_ACTIVE, False
    await policies.SetTradingState(halt, **as_(bearers.operator))
    again = await stub.PlaceOrder(order("h-2"), **as_(bearers.operator))
    assert again.order.status == order_pb2.ORDER_STATUS_ACCEPTED


async def test_unknown_symbols_are_denied_and_say_so(stub: Any, bearers: Bearers) -> None:
    asked = order("u-1")
    asked.order.symbol = "NOPE"
    error, kept = await refused(stub, bearers, asked)
    assert denial_pb2.DENIAL_REASON_INSTRUMENT_UNKNOWN in [each.reason for each in kept.denials]
    assert error.metadata["reasons"].startswith("INSTRUMENT_UNKNOWN")
    assert "NOPE" in kept.status_text


async def test_an_open_order_works_again_after_a_restart_of_the_service(
    start: Start, bearers: Bearers, database: Database, played: Played
) -> None:
    await know_instrument(database)
    async with serving(played) as address:
        async with start(address) as before:
            stub = before.stub(trading_service_pb2_grpc.TradingServiceStub)
            await stub.CreatePaperAccount(account(), **as_(bearers.operator))
            placed = await stub.PlaceOrder(order("r-1", limit="790.00"), **as_(bearers.operator))
            await played.until_opened(1)
        opened = len(played.opened)
        async with start(address) as after:
            await played.until_opened(opened + 1)
            await played.feed(GOOG, tomorrow(780.0, 785.0))
            stub = after.stub(trading_service_pb2_grpc.TradingServiceStub)
            name = placed.order.client_order_id
            filled = await reached(stub, bearers, name, order_pb2.ORDER_STATUS_FILLED)
            assert filled.order.average_fill_price.value == "780.00"
            assert len(filled.fills) == 1


async def test_the_paper_broker_is_listed_with_its_accounts(stub: Any, bearers: Bearers) -> None:
    (broker,) = (await stub.ListBrokers(pb.ListBrokersRequest(), **as_(bearers.viewer))).brokers
    assert (broker.name, list(broker.account_ids)) == ("Paper", ["main"])


async def test_an_account_is_renamed_with_an_etag_and_its_instruments_say_their_steps(
    stub: Any, bearers: Bearers
) -> None:
    former = (await stub.GetAccount(pb.GetAccountRequest(account_id="main"), **as_(bearers.viewer))).account
    former.display_name = "Main book"
    request = pb.UpdateAccountRequest(account=former, update_mask=FieldMask(paths=["display_name"]))
    changed = (await stub.UpdateAccount(request, **as_(bearers.admin))).account
    assert (changed.display_name, changed.etag) == ("Main book", "2")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.UpdateAccount(request, **as_(bearers.admin))
    assert caught.value.code() is grpc.StatusCode.ABORTED
    asked = pb.GetInstrumentRulesRequest(account_id="main", symbol="GOOG")
    rules = (await stub.GetInstrumentRules(asked, **as_(bearers.viewer))).rules
    assert (rules.symbol, rules.currency, money(rules.quantity_step)) == ("GOOG", "USD", 1)
    assert money(rules.price_tick) == 0.01
    asked.symbol = "NOPE"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetInstrumentRules(asked, **as_(bearers.viewer))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_order_that_would_meet_an_own_one_is_denied_unless_a_policy_allows_it(
    stub: Any, service: Running, bearers: Bearers
) -> None:
    resting = await stub.PlaceOrder(order("s-1", limit="10.00"), **as_(bearers.operator))
    error, kept = await refused(stub, bearers, order("s-2", side=2, limit="9.50"))
    assert error.metadata["reasons"] == "SELF_TRADE"
    assert resting.order.client_order_id in kept.denials[0].detail
    above = await stub.PlaceOrder(order("s-3", side=2, limit="10.01"), **as_(bearers.operator))
    assert above.order.status == order_pb2.ORDER_STATUS_ACCEPTED
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    scope = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_ACCOUNT, id="main")
    limits = policy_pb2.PolicyLimits(allow_self_trade=True)
    policy = policy_pb2.Policy(policy_id="crossing", scope=scope, limits=limits, enabled=True)
    await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    allowed = await stub.PlaceOrder(order("s-4", side=2, limit="9.50"), **as_(bearers.operator))
    assert allowed.order.status == order_pb2.ORDER_STATUS_ACCEPTED
