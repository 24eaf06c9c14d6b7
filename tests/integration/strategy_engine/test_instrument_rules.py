"""Orders of an instrument with steps, ticks and a multiplier: what is off them is denied, and its worth is counted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from quasar.database.pool import Database
from quasar_proto.common.v1 import values_pb2
from quasar_proto.ops.v1 import operation_pb2
from quasar_proto.strategy.v1 import (
    backtest_service_pb2,
    backtest_service_pb2_grpc,
    denial_pb2,
    order_pb2,
    policy_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
    portfolio_pb2,
    portfolio_service_pb2,
    portfolio_service_pb2_grpc,
)
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from tests.integration.strategy_engine.code_rows import store_example, store_strategy
from tests.integration.strategy_engine.conftest import GOOG, Bearers, Running, as_, expected
from tests.integration.strategy_engine.played_datahub import Played
from tests.integration.strategy_engine.test_backtests import PARAMETERS, asking, ended, terms
from tests.integration.strategy_engine.test_instances import HISTORY, Market, market
from tests.integration.strategy_engine.test_runs_kept import begun
from tests.integration.strategy_engine.test_trading import money, order, reached, refused, stub, tomorrow, until

__all__ = ["market", "stub"]
BELOW = b"""
from quasar.strategy import Strategy

class Below(Strategy):
    def on_bar(self, bar):
        self.buy(5, limit=bar.close * 0.9871)
"""


@pytest.fixture
async def future(database: Database) -> None:
    """GOOG as a provider describes a future: ticks of a quarter, five at a time, 50 USD a point."""
    code_id = await database.fetchval(
        "insert into registry.code_registry (kind, name) values ('provider', $1) returning code_id", GOOG[0]
    )
    await database.execute(
        "insert into registry.assets (code_id, symbol, price_increment, size_increment, minimum_notional, multiplier) "
        "values ($1, $2, 0.25, 5, 2000, 50)",
        code_id,
        GOOG[1],
    )


async def test_orders_that_are_off_the_steps_are_denied_and_the_steps_are_told(
    future: None, stub: Any, bearers: Bearers
) -> None:
    asked = pb.GetInstrumentRulesRequest(account_id="main", symbol="GOOG")
    rules = (await stub.GetInstrumentRules(asked, **as_(bearers.viewer))).rules
    told = [rules.price_tick, rules.quantity_step, rules.min_quantity, rules.min_notional, rules.multiplier]
    assert [money(each) for each in told] == [0.25, 5, 5, 2000, 50]
    for number, (quantity, limit, reason, bound) in enumerate(
        (
            ("5", "10.10", denial_pb2.DENIAL_REASON_PRICE_TICK, 0.25),
            ("7", "10.25", denial_pb2.DENIAL_REASON_QUANTITY_STEP, 5),
            ("5", "7.75", denial_pb2.DENIAL_REASON_MIN_NOTIONAL, 2000),
        )
    ):
        _, kept = await refused(stub, bearers, order(f"o-{number}", quantity, limit=limit))
        assert [(each.reason, money(each.limit)) for each in kept.denials] == [(reason, bound)]
    placed = (await stub.PlaceOrder(order("on", "5", limit="10.25"), **as_(bearers.operator))).order
    change = pb.ReplaceOrderRequest(
        client_order_id=placed.client_order_id,
        change=order_pb2.OrderChange(limit_price=values_pb2.Decimal(value="10.30")),
        validate_only=True,
    )
    decision = (await stub.ReplaceOrder(change, **as_(bearers.operator))).decision
    assert [each.reason for each in decision.denials] == [denial_pb2.DENIAL_REASON_PRICE_TICK]


async def test_a_part_of_a_share_is_denied_and_not_cut(stub: Any, bearers: Bearers) -> None:
    _, kept = await refused(stub, bearers, order("half", "10.5", limit="1.00"))
    assert [each.reason for each in kept.denials] == [denial_pb2.DENIAL_REASON_QUANTITY_STEP]
    asked = order("notional", limit="100.00")
    asked.order.notional.value = "1234"
    placed = (await stub.PlaceOrder(asked, **as_(bearers.operator))).order
    assert placed.spec.WhichOneof("size") == "quantity"
    assert money(placed.spec.quantity) == int(money(placed.spec.quantity)) > 0


async def test_the_multiplier_counts_in_cash_positions_exposure_and_limits(
    future: None, stub: Any, service: Running, bearers: Bearers, played: Played
) -> None:
    rich = pb.AdjustPaperCashRequest(account_id="main", request_id="p-1", reason="more")
    rich.amount.amount.value, rich.amount.currency = "1000000", "USD"
    await stub.AdjustPaperCash(rich, **as_(bearers.admin))
    bought = await stub.PlaceOrder(order("b-1", "5"), **as_(bearers.operator))
    await played.until_opened(1)
    await played.feed(GOOG, tomorrow(800.0, 810.0))
    await reached(stub, bearers, bought.order.client_order_id, order_pb2.ORDER_STATUS_FILLED)
    await stub.PlaceOrder(order("waits", "10", limit="400.00"), **as_(bearers.operator))

    portfolio = service.stub(portfolio_service_pb2_grpc.PortfolioServiceStub)
    scope = portfolio_pb2.PortfolioScope(account_id="main")
    asked = portfolio_service_pb2.GetPortfolioRequest(scope=scope)

    async def worth() -> portfolio_pb2.Portfolio:
        found: portfolio_pb2.Portfolio = (await portfolio.GetPortfolio(asked, **as_(bearers.viewer))).portfolio
        return found

    found = await until(worth, lambda one: money(one.positions[0].market_value) == 5 * 810 * 50)
    assert money(found.positions[0].multiplier) == 50
    assert money(found.figures.unrealised_pnl) == 5 * 10 * 50
    assert money(found.figures.cash) == 1_100_000 - 5 * 800 * 50 * 1.001
    exposure = await portfolio.GetExposure(portfolio_service_pb2.GetExposureRequest(scope=scope), **as_(bearers.viewer))
    assert money(exposure.total.net_exposure_with_orders) == 5 * 810 * 50 + 10 * 400 * 50

    policies = service.stub(policy_service_pb2_grpc.PolicyServiceStub)
    limits = policy_pb2.PolicyLimits(currency="USD", max_gross_exposure=values_pb2.Decimal(value="410000"))
    account = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_ACCOUNT, id="main")
    policy = policy_pb2.Policy(policy_id="exposed", scope=account, limits=limits, enabled=True)
    await policies.CreatePolicy(policy_service_pb2.CreatePolicyRequest(policy=policy), **as_(bearers.admin))
    _, kept = await refused(stub, bearers, order("more", "5", limit="40.00"))
    (denial,) = kept.denials
    assert denial.reason == denial_pb2.DENIAL_REASON_MAX_GROSS_EXPOSURE
    assert money(denial.value) == 5 * 810 * 50 + 10 * 400 * 50 + 5 * 40 * 50


async def test_prices_of_a_strategy_are_put_on_the_tick(
    future: None, service: Running, bearers: Bearers, played: Played, market: Market, database: Database
) -> None:
    await store_strategy(database, "below", BELOW)
    await begun(service, bearers, "below")
    await played.until_opened(1)
    await market.feed(HISTORY + 1)
    query = "select status, limit_price from strategy.orders"
    rows = await until(lambda: database.fetch(query), bool)
    assert [(row["status"], row["limit_price"] % Decimal("0.25")) for row in rows] == [("ACCEPTED", 0)]


async def test_a_back_test_counts_the_multiplier_as_paper_does(
    future: None, service: Running, bearers: Bearers, database: Database
) -> None:
    await store_example(database, "sma_cross.py", "sma_cross", PARAMETERS)
    stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
    begun = await stub.StartBacktest(asking(terms=terms("100000000")), **as_(bearers.operator))
    operation = await ended(service, bearers, begun.operation.operation_id)
    assert operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED, operation.error.message
    asked = backtest_service_pb2.GetStatisticsRequest(backtest_id=begun.backtest_id)
    figures = (await stub.GetStatistics(asked, **as_(bearers.viewer))).statistics
    earned = expected("goog_sma_next_open.json")["equity"][-1] - 100_000
    assert money(figures.final_equity) == pytest.approx(100_000_000 + 50 * earned)
