"""Limits in one currency and accounts in another: compared at a known rate, and denied without one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from quasar.model.orders import OrderSide, OrderSpec, OrderType
from strategy_engine.policy.judgement import judge, losses
from strategy_engine.policy.limits import PLATFORM, Limits, Policy, Scope, ScopeKind, currencies_of
from strategy_engine.policy.standing import Funds, Holding, OpenOrder, Proposal, Standing
from strategy_engine.policy.usage import usages

D = Decimal
ACCOUNT = Scope(ScopeKind.ACCOUNT, "main")
RATES = {("USD", "EUR"): D("0.8"), ("GBP", "EUR"): D("1.2")}


def funds(equity: int, start: int, currency: str) -> Funds:
    return Funds(equity=D(equity), start_of_day=D(start), peak=D(start), currency=currency)


def buy(quantity: str = "10") -> Proposal:
    spec = OrderSpec(symbol="AAPL", side=OrderSide.BUY, type=OrderType.MARKET, quantity=D(quantity))
    return Proposal(account_id="main", instance_id="", spec=spec, known=True, currency="USD", price=D(100))


def standing(**more: Any) -> Standing:
    own = {"main": funds(99_300, 100_000, "USD"), "isle": funds(50_000, 50_000, "GBP")}
    held = Holding(account_id="isle", instance_id="", symbol="VOD", quantity=D(10), price=D(100))
    order = OpenOrder(
        client_order_id="w", account_id="isle", instance_id="", symbol="VOD", remaining=D(5), price=D(100)
    )
    return Standing(**{"funds": own, "holdings": [held], "open_orders": [order], "rates": RATES, **more})


def judged(limits: Limits, how: Standing, scope: Scope = ACCOUNT) -> dict[str, tuple[Decimal | None, str]]:
    decision = judge(buy(), how, [Policy(policy_id="p", scope=scope, limits=limits)])
    return {check.reason: (check.value, check.unit) for check in decision.denials}


def test_a_loss_is_compared_in_the_currency_of_its_limit() -> None:
    assert not judged(Limits(currency="EUR", max_daily_loss=D(600)), standing())
    assert judged(Limits(currency="EUR", max_daily_loss=D(560)), standing()) == {"MAX_DAILY_LOSS": (D("560.0"), "EUR")}


def test_without_a_rate_what_enlarges_is_denied_and_nothing_else_is_compared() -> None:
    limits = Limits(currency="EUR", max_daily_loss=D(600), max_order_notional=D(1))
    assert list(judged(limits, standing(rates={}))) == ["NO_EXCHANGE_RATE"]
    assert not list(losses(limits, funds(0, 10**6, "USD"), None, "EUR"))
    drawdown = Limits(currency="EUR", max_daily_loss=D(600), max_drawdown=D("0.5"))
    assert [check.reason for check in losses(drawdown, funds(0, 10**6, "USD"), None, "EUR")] == ["MAX_DRAWDOWN"]


def test_orders_and_positions_of_several_accounts_are_added_up_in_one_currency() -> None:
    limits = Limits(
        currency="EUR", max_order_notional=D(799), max_position_notional=D(799), max_gross_exposure=D(2_599)
    )
    assert judged(limits, standing(), PLATFORM) == {
        "MAX_ORDER_NOTIONAL": (D("800.0"), "EUR"),
        "MAX_POSITION_NOTIONAL": (D("800.0"), "EUR"),
        "MAX_GROSS_EXPOSURE": (D("800.0") + D("1.2") * 1_500, "EUR"),
    }
    # 1,000 USD more, against 15 VOD and all equity in USD: without a rate of the pound nothing can be said.
    leverage = Limits(max_leverage=D("0.001"))
    assert list(judged(leverage, standing(), PLATFORM)) == ["NO_EXCHANGE_RATE"]
    known = {("GBP", "USD"): D("1.5")}
    found = judged(leverage, standing(rates=known), PLATFORM)["MAX_LEVERAGE"][0]
    assert found == (D(1_000) + D(2_250)) / (D(99_300) + D(75_000))


def test_use_is_counted_in_the_currency_of_the_limit_and_left_out_without_a_rate() -> None:
    limits = Limits(currency="EUR", max_daily_loss=D(1_120), max_gross_exposure=D(3_600))
    policies = [Policy(policy_id="p", scope=PLATFORM, limits=limits)]
    own = {"main": "USD", "isle": "GBP"}
    found = {(each.reason, each.scope.id): (each.ratio, each.unit) for each in usages(policies, standing(), own)}
    assert found[("MAX_DAILY_LOSS", "main")] == (0.5, "EUR")
    assert found[("MAX_GROSS_EXPOSURE", "")] == (0.5, "EUR")
    assert not usages(policies, standing(rates={}), own)


def test_only_limits_of_amounts_name_a_currency() -> None:
    amounts = Policy(policy_id="a", scope=PLATFORM, limits=Limits(currency="EUR", max_daily_loss=D(1)))
    counts = Policy(policy_id="c", scope=PLATFORM, limits=Limits(currency="JPY", max_open_orders=1))
    assert currencies_of([amounts, counts]) == {"EUR"}
