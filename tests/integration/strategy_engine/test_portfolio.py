"""The portfolio through the public calls: its parts, its days, its changes and its curve."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from quasar.database.pool import Database
from quasar_proto.strategy.v1 import (
    order_pb2,
    portfolio_pb2,
    portfolio_service_pb2_grpc,
    statistics_pb2,
    trading_service_pb2_grpc,
)
from quasar_proto.strategy.v1 import portfolio_service_pb2 as pb
from tests.integration.strategy_engine.conftest import GOOG, Bearers, Running, as_
from tests.integration.strategy_engine.played_datahub import Played
from tests.integration.strategy_engine.test_trading import account, know_instrument, money, order, reached, tomorrow

SCOPE = portfolio_pb2.PortfolioScope(account_id="main")
PATIENCE_S = 60


@pytest.fixture
async def held(service: Running, bearers: Bearers, database: Database, played: Played) -> Any:
    """The stub of the portfolio, of an account that bought 10 GOOG at 800 and sees them at 810."""
    await know_instrument(database)
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    await trading.CreatePaperAccount(account(), **as_(bearers.operator))
    placed = await trading.PlaceOrder(order("o-1"), **as_(bearers.operator))
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(800.0, 810.0))
    await reached(trading, bearers, placed.order.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    return service.stub(portfolio_service_pb2_grpc.PortfolioServiceStub)


async def test_money_of_one_kind_is_never_shown_as_another(held: Any, bearers: Bearers) -> None:
    plain = (await held.GetPortfolio(pb.GetPortfolioRequest(), **as_(bearers.viewer))).portfolio
    assert plain.scope.accounts == portfolio_pb2.PORTFOLIO_ACCOUNTS_PAPER
    assert [each.account_id for each in plain.accounts] == ["main"]
    (rest,) = plain.strategies
    assert (rest.instance_id, rest.account_id, money(rest.figures.unrealised_pnl)) == ("", "main", 100)
    assert not rest.figures.HasField("equity")
    assert (plain.figures.fills_today, money(plain.figures.traded_today)) == (1, 8000)
    assert [each.currency for each in plain.accounts[0].balances] == ["USD"]
    real = portfolio_pb2.PortfolioScope(accounts=portfolio_pb2.PORTFOLIO_ACCOUNTS_LIVE)
    nothing = (await held.GetPortfolio(pb.GetPortfolioRequest(scope=real), **as_(bearers.viewer))).portfolio
    assert (len(nothing.accounts), len(nothing.positions), nothing.figures.positions) == (0, 0, 0)
    assert not (await held.ListPositions(pb.ListPositionsRequest(scope=real), **as_(bearers.viewer))).positions
    assert not (await held.ListPnl(pb.ListPnlRequest(scope=real), **as_(bearers.viewer))).rows
    moved = await held.ListCashMovements(pb.ListCashMovementsRequest(scope=real), **as_(bearers.viewer))
    assert not moved.movements


async def test_positions_are_filtered_ordered_and_paged(held: Any, bearers: Bearers) -> None:
    async def symbols(**more: Any) -> list[str]:
        answer = await held.ListPositions(pb.ListPositionsRequest(scope=SCOPE, **more), **as_(bearers.viewer))
        return [each.symbol for each in answer.positions]

    assert await symbols(filter='symbol = "GOOG" AND quantity > 5', order_by="market_value desc") == ["GOOG"]
    assert await symbols(filter="unrealised_pnl < 0") == []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await symbols(order_by="colour")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_profit_is_told_by_day_unless_asked_otherwise(held: Any, bearers: Bearers) -> None:
    async def pnl(**more: Any) -> pb.ListPnlResponse:
        answer: pb.ListPnlResponse = await held.ListPnl(pb.ListPnlRequest(scope=SCOPE, **more), **as_(bearers.viewer))
        return answer

    whole = await pnl()
    (position,) = (await held.ListPositions(pb.ListPositionsRequest(scope=SCOPE), **as_(bearers.viewer))).positions
    bought = position.open_time.ToDatetime().date().isoformat()
    assert [each.group.day for each in whole.rows if each.fills] == [bought]
    days = [each.group.day for each in whole.rows]
    assert days == sorted(days, reverse=True)
    assert money(whole.total.net_pnl) == pytest.approx(100 - 8)
    assert (whole.total.fills, money(whole.total.traded_notional), whole.currency) == (1, 8000, "USD")
    dimensions = [portfolio_pb2.PORTFOLIO_DIMENSION_SYMBOL, portfolio_pb2.PORTFOLIO_DIMENSION_STRATEGY]
    (row,) = (await pnl(group_by=dimensions)).rows
    assert (row.group.symbol, row.group.instance_id, money(row.unrealised_pnl_change)) == ("GOOG", "-", 100)
    assert not (await pnl(filter='symbol = "AAPL"')).rows
    before = pb.ListPnlRequest().range
    before.end.FromJsonString("2020-01-01T00:00:00Z")
    assert not (await pnl(range=before)).rows
    with pytest.raises(grpc.aio.AioRpcError, match="time_zone") as caught:
        await pnl(time_zone="Mars/Olympus")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_watcher_is_told_what_changed_and_what_is_closed(
    held: Any, service: Running, bearers: Bearers, played: Played
) -> None:
    request = pb.WatchPortfolioRequest(scope=SCOPE)
    request.heartbeat_interval.FromSeconds(1)
    watching = held.WatchPortfolio(request, **as_(bearers.viewer))
    trading = service.stub(trading_service_pb2_grpc.TradingServiceStub)
    messages: list[pb.WatchPortfolioResponse] = []
    async with asyncio.timeout(PATIENCE_S):
        async for message in watching:
            messages.append(message)
            if len(messages) == 1:
                assert message.snapshot
                assert [each.symbol for each in message.portfolio.positions] == ["GOOG"]
            if not message.HasField("portfolio"):
                break
        await trading.PlaceOrder(order("o-2", side=2), **as_(bearers.operator))
        await played.feed(GOOG, tomorrow(820.0, 820.0, 2))
        async for message in watching:
            messages.append(message)
            if message.closed_positions:
                break
    watching.cancel()
    assert [each.sequence for each in messages] == list(range(1, len(messages) + 1))
    assert not any(each.snapshot for each in messages[1:])
    (key,) = messages[-1].closed_positions
    assert (key.account_id, key.instance_id, key.symbol) == ("main", "", "GOOG")
    flat = pb.ListPositionsRequest(scope=SCOPE, include_flat=True)
    assert len((await held.ListPositions(flat, **as_(bearers.viewer))).positions) == 1


async def test_a_curve_has_the_columns_and_the_spacing_asked_for(held: Any, bearers: Bearers) -> None:
    async def curve(**more: Any) -> list[pb.ReadEquityCurveResponse]:
        request = pb.ReadEquityCurveRequest(scope=SCOPE, **more)
        return [message async for message in held.ReadEquityCurve(request, **as_(bearers.viewer))]

    (plain,) = await curve()
    assert plain.currency == "USD"
    assert len(plain.chunk.equity) >= 1
    assert len(plain.chunk.cash) == 0
    columns = [statistics_pb2.EQUITY_COLUMN_CASH, statistics_pb2.EQUITY_COLUMN_DRAWDOWN]
    request = pb.ReadEquityCurveRequest(columns=columns)
    request.resolution.FromSeconds(31_536_000)
    (spaced,) = await curve(columns=columns, resolution=request.resolution)
    assert len(spaced.chunk.equity) == 1
    assert (spaced.chunk.equity[0], len(spaced.chunk.cash), len(spaced.chunk.drawdown)) == (
        plain.chunk.equity[-1],
        1,
        1,
    )
    with pytest.raises(grpc.aio.AioRpcError, match="max_rows"):
        await curve(first_row=1, max_rows=5)
