"""Cash of paper accounts: paid in and out without being profit or loss, listed, and put back to the start."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import grpc
import pytest

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
    trading_pb2,
)
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from tests.integration.strategy_engine.conftest import GOOG, Bearers, Running, as_
from tests.integration.strategy_engine.played_datahub import Played
from tests.integration.strategy_engine.test_trading import PATIENCE_S, money, order, reached, refused, stub, tomorrow

__all__ = ["stub"]
SCOPE = portfolio_pb2.PortfolioScope(account_id="main")


def payment(amount: str, request_id: str = "", currency: str = "USD") -> pb.AdjustPaperCashRequest:
    found = pb.AdjustPaperCashRequest(account_id="main", reason="pocket money", request_id=request_id)
    found.amount.amount.value, found.amount.currency = amount, currency
    return found


async def figures(service: Running, bearers: Bearers) -> portfolio_pb2.PortfolioFigures:
    portfolio = service.stub(portfolio_service_pb2_grpc.PortfolioServiceStub)
    asked = portfolio_service_pb2.GetPortfolioRequest(scope=SCOPE)
    found: portfolio_pb2.PortfolioFigures = (
        await portfolio.GetPortfolio(asked, **as_(bearers.viewer))
    ).portfolio.figures
    return found


async def movements(service: Running, bearers: Bearers, filter_text: str = "") -> list[portfolio_pb2.CashMovement]:
    portfolio = service.stub(portfolio_service_pb2_grpc.PortfolioServiceStub)
    asked = portfolio_service_pb2.ListCashMovementsRequest(scope=SCOPE, filter=filter_text, order_by="movement_id")
    return list((await portfolio.ListCashMovements(asked, **as_(bearers.viewer))).movements)


async def lose(stub: Any, bearers: Bearers, played: Played) -> None:
    """Buy 100 at 800 and see them fall to 790: 1,000 and a commission of 80 are lost."""
    placed = await stub.PlaceOrder(order("buy", "100"), **as_(bearers.operator))
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(800.0, 790.0))
    await reached(stub, bearers, placed.order.client_order_id, order_pb2.ORDER_STATUS_FILLED)


async def test_paying_in_and_out_is_neither_profit_nor_loss(
    stub: Any, service: Running, bearers: Bearers, played: Played
) -> None:
    await lose(stub, bearers, played)
    before = await figures(service, bearers)
    assert (money(before.equity), money(before.day_pnl)) == (98_920, -1_080)
    paid = await stub.AdjustPaperCash(payment("50000"), **as_(bearers.operator))
    assert money(paid.account.balances[0].total) == 100_000 - 80_080 + 50_000
    richer = await figures(service, bearers)
    assert (money(richer.equity), money(richer.day_pnl)) == (148_920, -1_080)
    assert money(richer.peak_equity) == 150_000
    assert richer.drawdown == pytest.approx(-1_080 / 150_000)
    await stub.AdjustPaperCash(payment("-69000"), **as_(bearers.operator))
    poorer = await figures(service, bearers)
    assert (money(poorer.equity), money(poorer.day_pnl)) == (79_920, -1_080)
    assert poorer.drawdown == pytest.approx(-1_080 / 81_000)
    told = await movements(service, bearers)
    assert [(portfolio_pb2.CashMovementKind.Name(one.kind)[19:], money(one.amount.amount)) for one in told] == [
        ("DEPOSIT", 100_000),
        ("TRADE", -80_000),
        ("COMMISSION", -80),
        ("DEPOSIT", 50_000),
        ("WITHDRAWAL", -69_000),
    ]
    assert sum(Decimal(one.amount.amount.value) for one in told) == Decimal(told[-1].balance_after.value) == 920
    assert (told[1].symbol, told[1].fill_id) == ("GOOG", told[2].fill_id)
    assert (told[3].description, told[3].actor.principal) == ("pocket money", "operator")
    assert [one.movement_id for one in await movements(service, bearers, "kind = TRADE")] == [told[1].movement_id]


async def test_a_limit_on_losses_counts_no_payment(
    stub: Any, service: Running, bearers: Bearers, played: Played
) -> None:
    await lose(stub, bearers, played)
    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    limits = policy_pb2.PolicyLimits(
        currency="USD",
        max_daily_loss=values_pb2.Decimal(value="2000"),
        max_drawdown=values_pb2.Decimal(value="0.02"),
    )
    scope = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_ACCOUNT, id="main")
    policy = policy_pb2.Policy(policy_id="losses", scope=scope, limits=limits, enabled=True)
    await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    await stub.AdjustPaperCash(payment("-19000"), **as_(bearers.operator))
    allowed = await stub.PlaceOrder(order("more", "1", limit="1.00"), **as_(bearers.operator))
    assert allowed.order.status == order_pb2.ORDER_STATUS_ACCEPTED
    await stub.AdjustPaperCash(payment("19000"), **as_(bearers.operator))
    await played.feed(GOOG, tomorrow(790.0, 770.0, 2))
    portfolio = service.stub(portfolio_service_pb2_grpc.PortfolioServiceStub)
    watching = portfolio.WatchPortfolio(portfolio_service_pb2.WatchPortfolioRequest(scope=SCOPE), **as_(bearers.viewer))
    async with asyncio.timeout(PATIENCE_S):
        async for message in watching:
            if message.HasField("portfolio") and money(message.portfolio.figures.equity) == 96_920:
                break
    watching.cancel()
    await stub.AdjustPaperCash(payment("900000"), **as_(bearers.operator))
    asked = policy_service_pb2.GetPolicyUsageRequest(scope=scope)
    used = (await policies.GetPolicyUsage(asked, **as_(bearers.viewer))).usage
    assert [(one.reason, money(one.value), one.unit) for one in used] == [
        (denial_pb2.DENIAL_REASON_MAX_DAILY_LOSS, 3_080, "USD"),
        (denial_pb2.DENIAL_REASON_MAX_DRAWDOWN, pytest.approx(3_080 / 1_000_000), "ratio"),
    ]
    assert used[0].ratio == pytest.approx(1.54)
    asked.min_ratio = 1.0
    assert len((await policies.GetPolicyUsage(asked, **as_(bearers.viewer))).usage) == 1
    _, kept = await refused(stub, bearers, order("again", "1", limit="1.00"))
    values = {each.reason: each.value.value for each in kept.denials}
    assert values[denial_pb2.DENIAL_REASON_MAX_DAILY_LOSS] == "3080.00000"


async def test_a_payment_is_made_once_and_never_for_more_than_is_there(stub: Any, bearers: Bearers) -> None:
    for _ in range(2):
        paid = await stub.AdjustPaperCash(payment("10", "p-1"), **as_(bearers.operator))
        assert money(paid.account.balances[0].total) == 100_010
    for asked, code in (
        (payment("11", "p-1"), grpc.StatusCode.ALREADY_EXISTS),
        (payment("-100010.01"), grpc.StatusCode.FAILED_PRECONDITION),
        (payment("0"), grpc.StatusCode.INVALID_ARGUMENT),
        (payment("5", currency="EUR"), grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.AdjustPaperCash(asked, **as_(bearers.operator))
        assert caught.value.code() is code


async def test_money_that_was_paid_in_can_be_traded_with_at_once(
    stub: Any, service: Running, bearers: Bearers, played: Played
) -> None:
    await lose(stub, bearers, played)
    await refused(stub, bearers, order("too much", "100", limit="700.00"))
    await stub.AdjustPaperCash(payment("90000"), **as_(bearers.operator))
    placed = await stub.PlaceOrder(order("enough", "100"), **as_(bearers.operator))
    await played.feed(GOOG, tomorrow(790.0, 790.0, 2))
    await reached(stub, bearers, placed.order.client_order_id, order_pb2.ORDER_STATUS_FILLED)


async def test_an_account_is_put_back_to_its_start_and_its_records_stay(
    stub: Any, service: Running, bearers: Bearers, played: Played
) -> None:
    await lose(stub, bearers, played)
    waiting = await stub.PlaceOrder(order("waits", "1", limit="1.00"), **as_(bearers.operator))
    await stub.AdjustPaperCash(payment("500"), **as_(bearers.operator))
    reset = await stub.ResetPaperAccount(pb.ResetPaperAccountRequest(account_id="main"), **as_(bearers.operator))
    assert (money(reset.account.equity), reset.account.open_orders) == (100_000, 0)
    after = await figures(service, bearers)
    assert (money(after.equity), money(after.day_pnl), money(after.realised_pnl)) == (100_000, 0, 0)
    assert (money(after.peak_equity), after.positions) == (100_000, 0)
    got = pb.GetOrderRequest(client_order_id=waiting.order.client_order_id)
    assert (await stub.GetOrder(got, **as_(bearers.viewer))).order.status == order_pb2.ORDER_STATUS_CANCELLED
    assert len((await stub.ListFills(pb.ListFillsRequest(), **as_(bearers.viewer))).fills) == 1
    told = await movements(service, bearers)
    assert (told[-1].kind, told[-1].balance_after.value) == (portfolio_pb2.CASH_MOVEMENT_KIND_RESET, "100000")
    assert sum(Decimal(one.amount.amount.value) for one in told) == 100_000
    cash = values_pb2.Money(amount=values_pb2.Decimal(value="5000"), currency="USD")
    smaller = pb.ResetPaperAccountRequest(account_id="main", paper=trading_pb2.PaperSettings(cash=[cash]))
    reset = await stub.ResetPaperAccount(smaller, **as_(bearers.operator))
    assert money(reset.account.balances[0].total) == 5_000
    await refused(stub, bearers, order("beyond", "100", limit="60.00"))
