"""The judgement of orders: which rule denies what, and with which numbers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from quasar.model.orders import OrderSide, OrderSpec, OrderType
from strategy_engine.policy.decision import Decision
from strategy_engine.policy.judgement import judge
from strategy_engine.policy.limits import (
    PLATFORM,
    InstrumentMatch,
    Limits,
    Policy,
    Scope,
    ScopeKind,
    TradingState,
    limits_of,
    pace_window_s,
)
from strategy_engine.policy.standing import Funds, Holding, OpenOrder, Proposal, Standing

D = Decimal
ACCOUNT = Scope(ScopeKind.ACCOUNT, "main")


def proposal(side: OrderSide = OrderSide.BUY, quantity: str = "10", **more: Any) -> Proposal:
    own: dict[str, Any] = {
        name: more.pop(name) for name in ("instance_id", "known", "price", "price_age_s") if name in more
    }
    kind = more.pop("type", OrderType.LIMIT if "limit_price" in more else OrderType.MARKET)
    spec = OrderSpec(symbol="AAPL", side=side, type=kind, quantity=D(quantity), **more)
    asked: dict[str, Any] = {"instance_id": "", "known": True, "price": D(100), **own}
    return Proposal(account_id="main", spec=spec, currency="USD", **asked)


def standing(held: str = "0", **more: Any) -> Standing:
    holding = Holding(account_id="main", instance_id="", symbol="AAPL", quantity=D(held), price=D(100))
    funds = {"main": Funds(equity=D(100_000), start_of_day=D(100_000), peak=D(100_000))}
    return Standing(**{"holdings": (holding,), "funds": funds, **more})


def judged(limits: Limits, asked: Proposal, how: Standing, scope: Scope = ACCOUNT) -> Decision:
    return judge(asked, how, [Policy(policy_id="p", scope=scope, limits=limits)])


def reasons(decision: Decision) -> list[str]:
    return [check.reason for check in decision.denials]


def test_an_order_that_breaks_no_rule_is_allowed_and_its_numbers_are_told() -> None:
    decision = judge(proposal(), standing(held="5"), [])
    assert decision.allowed
    assert (decision.position_before, decision.position_after, decision.notional) == (D(5), D(15), D(1000))


@pytest.mark.parametrize(
    ("limits", "asked", "reason", "limit", "value"),
    [
        (Limits(max_order_quantity=D(5)), proposal(), "MAX_ORDER_QUANTITY", "5", "10"),
        (Limits(max_order_notional=D(999)), proposal(), "MAX_ORDER_NOTIONAL", "999", "1000"),
        (Limits(max_position_quantity=D(12)), proposal(), "MAX_POSITION_QUANTITY", "12", "15"),
        (Limits(max_position_notional=D(1200)), proposal(), "MAX_POSITION_NOTIONAL", "1200", "1500"),
        (Limits(max_gross_exposure=D(1000)), proposal(), "MAX_GROSS_EXPOSURE", "1000", "1500"),
        (Limits(max_net_exposure=D(1000)), proposal(), "MAX_NET_EXPOSURE", "1000", "1500"),
        (Limits(max_leverage=D("0.01")), proposal(), "MAX_LEVERAGE", "0.01", "0.015"),
        (Limits(price_collar=D("0.05")), proposal(limit_price=D(110)), "PRICE_COLLAR", "0.05", "0.1"),
        (Limits(max_price_age_s=5.0), proposal(price_age_s=6.5), "STALE_REFERENCE_PRICE", "5.0", "6.5"),
        (Limits(max_open_orders=0), proposal(), "MAX_OPEN_ORDERS", "0", "1"),
    ],
)
def test_a_bound_that_is_broken_denies_with_its_reason_and_the_numbers(
    limits: Limits, asked: Proposal, reason: str, limit: str, value: str
) -> None:
    (denial,) = judged(limits, asked, standing(held="5")).denials
    assert (denial.reason, denial.limit, denial.value) == (reason, D(limit), D(value))
    assert (denial.policy_id, denial.scope) == ("p", ACCOUNT)
    assert value.rstrip("0").rstrip(".") in denial.detail


def test_a_position_beyond_its_bound_may_still_be_reduced() -> None:
    limits = Limits(max_position_quantity=D(5), max_gross_exposure=D(100))
    assert judged(limits, proposal(OrderSide.SELL, "10"), standing(held="50")).allowed


def test_open_orders_of_the_same_side_count_as_if_they_were_filled() -> None:
    waiting = OpenOrder(client_order_id="a", account_id="main", instance_id="", symbol="AAPL", remaining=D(8))
    decision = judged(Limits(max_position_quantity=D(20)), proposal(), standing(held="5", open_orders=(waiting,)))
    assert reasons(decision) == ["MAX_POSITION_QUANTITY"]


@pytest.mark.parametrize("scope", [Scope(ScopeKind.INSTRUMENT, "AAPL"), ACCOUNT, PLATFORM])
def test_a_halt_of_any_scope_denies_every_order(scope: Scope) -> None:
    decision = judge(proposal(OrderSide.SELL, "1"), standing(held="5", states={scope: TradingState.HALTED}), [])
    assert reasons(decision) == ["TRADING_HALTED"]
    assert decision.denials[0].scope == scope


def test_reduce_only_lets_a_position_shrink_and_nothing_else() -> None:
    how = standing(held="5", states={ACCOUNT: TradingState.REDUCE_ONLY})
    assert judge(proposal(OrderSide.SELL, "5"), how, []).allowed
    assert reasons(judge(proposal(OrderSide.SELL, "6"), how, [])) == ["TRADING_REDUCE_ONLY"]
    assert reasons(judge(proposal(OrderSide.BUY, "1"), how, [])) == ["TRADING_REDUCE_ONLY"]


def test_two_orders_that_together_reverse_a_position_are_not_both_reducing() -> None:
    waiting = OpenOrder(client_order_id="a", account_id="main", instance_id="", symbol="AAPL", remaining=D(-5))
    how = standing(held="5", states={ACCOUNT: TradingState.REDUCE_ONLY}, open_orders=(waiting,))
    assert reasons(judge(proposal(OrderSide.SELL, "5"), how, [])) == ["TRADING_REDUCE_ONLY"]


def test_what_the_equity_cannot_bear_is_denied_with_the_amounts() -> None:
    (denial,) = judge(proposal(quantity="1001"), standing(), []).denials
    assert (denial.reason, denial.limit, denial.value) == ("INSUFFICIENT_FUNDS", D(100_000), D(100_100))


def test_a_loss_of_the_day_denies_what_increases_and_lets_reduce() -> None:
    funds = {"main": Funds(equity=D(90_000), start_of_day=D(100_000), peak=D(120_000))}
    limits = Limits(max_daily_loss=D(5_000), max_drawdown=D("0.2"))
    how = standing(held="5", funds=funds)
    assert reasons(judged(limits, proposal(), how)) == ["MAX_DAILY_LOSS", "MAX_DRAWDOWN"]
    assert judged(limits, proposal(OrderSide.SELL, "5"), how).allowed


def test_more_orders_than_the_burst_within_its_time_are_denied() -> None:
    limits = Limits(max_orders_per_second=D(2), order_burst=4)
    how = standing(recent_orders={ACCOUNT: [0.1, 0.4, 1.0, 1.9]})
    assert reasons(judged(limits, proposal(), how)) == ["MAX_ORDER_RATE"]
    assert judged(limits, proposal(), standing(recent_orders={ACCOUNT: [0.1, 0.4, 1.0, 2.1]})).allowed


def test_unknown_instruments_and_missing_prices_are_denied() -> None:
    decision = judge(proposal(known=False, price=None), standing(), [])
    assert reasons(decision) == ["INSTRUMENT_UNKNOWN", "NO_REFERENCE_PRICE"]


def test_instruments_types_and_shorts_can_be_forbidden() -> None:
    limits = limits_of(
        {
            "forbidden_instruments": [{"symbol": "AAPL"}],
            "allowed_instruments": [{"symbol": "MSFT"}],
            "forbidden_order_types": ["ORDER_TYPE_MARKET"],
            "allow_short": False,
        }
    )
    assert reasons(judged(limits, proposal(OrderSide.SELL, "1"), standing())) == [
        "INSTRUMENT_FORBIDDEN",
        "INSTRUMENT_NOT_ALLOWED",
        "ORDER_TYPE_FORBIDDEN",
        "SHORT_SELLING",
    ]


def test_a_policy_of_another_scope_does_not_apply() -> None:
    other = Scope(ScopeKind.ACCOUNT, "other")
    assert judged(Limits(max_order_quantity=D(1)), proposal(), standing(), other).allowed


@pytest.mark.parametrize(
    ("pattern", "symbol", "fits"),
    [("*/USDT", "BTC/USDT", True), ("*/USDT", "BTC/USD", False), ("BTC*", "BTC/USDT", True), ("A.B", "AXB", False)],
)
def test_a_star_in_an_instrument_stands_for_any_row_of_characters(pattern: str, symbol: str, fits: bool) -> None:
    assert InstrumentMatch(pattern).fits(symbol, "USD") is fits


def resting(remaining: str, price: str | None) -> OpenOrder:
    return OpenOrder(
        client_order_id="own",
        account_id="main",
        instance_id="other",
        symbol="AAPL",
        remaining=D(remaining),
        resting_price=None if price is None else D(price),
    )


@pytest.mark.parametrize(
    ("own", "asked", "met"),
    [
        (resting("-5", "101"), proposal(limit_price=D(101)), True),
        (resting("-5", "101"), proposal(limit_price=D("100.99")), False),
        (resting("-5", "100"), proposal(), True),
        (resting("-5", "101"), proposal(), False),
        (resting("5", "100"), proposal(OrderSide.SELL, limit_price=D(99)), True),
        (resting("5", "100"), proposal(OrderSide.SELL, limit_price=D(101)), False),
        (resting("5", "102"), proposal(limit_price=D(101)), False),
        (resting("-5", None), proposal(), False),
        (resting("-5", "90"), proposal(limit_price=D(101), post_only=True), False),
        (resting("-5", "90"), proposal(type=OrderType.STOP, trigger_price=D(110)), False),
    ],
    ids=["at", "below", "market", "far", "sell", "sell-far", "same-side", "not-resting", "post-only", "stop"],
)
def test_an_order_meets_own_orders_that_rest_within_its_reach(own: OpenOrder, asked: Proposal, met: bool) -> None:
    found = reasons(judge(asked, standing(held="5", open_orders=(own,)), []))
    assert ("SELF_TRADE" in found) is met


@pytest.mark.parametrize(
    ("limits", "denied_by"),
    [
        ([Limits(allow_self_trade=True)], None),
        ([Limits(allow_self_trade=True), Limits(allow_self_trade=False)], "p1"),
        ([Limits(allow_self_trade=False)], "p0"),
        ([Limits()], ""),
    ],
    ids=["allowed", "the stricter wins", "forbidden", "default"],
)
def test_policies_allow_orders_that_meet_own_ones(limits: list[Limits], denied_by: str | None) -> None:
    policies = [Policy(policy_id=f"p{n}", scope=ACCOUNT, limits=each) for n, each in enumerate(limits)]
    how = standing(held="5", open_orders=(resting("-5", "100"),))
    found = [check.policy_id for check in judge(proposal(), how, policies).denials if check.reason == "SELF_TRADE"]
    assert found == ([] if denied_by is None else [denied_by])


def waiting(side: int, quantity: str, price: str, symbol: str = "MSFT") -> OpenOrder:
    return OpenOrder(
        client_order_id=f"w{side}{symbol}",
        account_id="main",
        instance_id="",
        symbol=symbol,
        remaining=side * D(quantity),
        price=D(price),
    )


@pytest.mark.parametrize(
    ("orders", "value"),
    [
        ([], "1500"),
        ([waiting(1, "20", "50")], "2500"),
        ([waiting(1, "20", "50"), waiting(-1, "30", "50")], "3000"),  # only one side of them can come true
        ([waiting(1, "5", "100", "AAPL")], "2000"),
        ([waiting(-1, "5", "100", "AAPL")], "1500"),  # the other side of the same symbol makes room for nothing
    ],
)
def test_open_orders_count_in_the_exposure_as_if_they_were_filled(orders: list[OpenOrder], value: str) -> None:
    how = standing(held="5", open_orders=orders)
    (denial,) = judged(Limits(max_gross_exposure=D(1499)), proposal(), how).denials
    assert (denial.reason, denial.value) == ("MAX_GROSS_EXPOSURE", D(value))


def test_what_reduces_a_position_passes_limits_on_exposure_that_are_broken_already() -> None:
    tight = Limits(max_gross_exposure=D(1), max_position_quantity=D(1), max_leverage=D("0.0001"))
    how = standing(held="5", open_orders=[waiting(1, "20", "50")])
    assert judged(tight, proposal(OrderSide.SELL, "5"), how, PLATFORM).allowed


@pytest.mark.parametrize(
    ("side", "terms", "denied"),
    [
        (OrderSide.BUY, {"limit_price": D(106)}, True),
        (OrderSide.BUY, {"limit_price": D(50)}, False),
        (OrderSide.SELL, {"limit_price": D(94)}, True),
        (OrderSide.SELL, {"limit_price": D(200)}, False),
        (OrderSide.BUY, {"type": OrderType.STOP, "trigger_price": D(120)}, True),
        (OrderSide.SELL, {"type": OrderType.STOP, "trigger_price": D(96)}, False),
    ],
)
def test_a_collar_is_about_the_direction_that_costs_and_about_triggers_too(
    side: OrderSide, terms: dict[str, Any], denied: bool
) -> None:
    decision = judged(Limits(price_collar=D("0.05")), proposal(side, **terms), standing(held="50"))
    assert reasons(decision) == (["PRICE_COLLAR"] if denied else [])


def test_amounts_in_another_currency_are_not_compared_and_deny_what_enlarges() -> None:
    limits = Limits(currency="EUR", max_order_notional=D(1_000_000))
    assert reasons(judged(limits, proposal(), standing())) == ["NO_EXCHANGE_RATE"]
    assert judged(limits, proposal(OrderSide.SELL, "5"), standing(held="5")).allowed
    assert judged(Limits(currency="EUR", max_order_quantity=D(50)), proposal(), standing()).allowed
    foreign = {"main": Funds(equity=D(100_000), start_of_day=D(100_000), peak=D(100_000), currency="EUR")}
    assert reasons(judge(proposal(), standing(funds=foreign), [])) == ["NO_EXCHANGE_RATE"]


def test_a_rate_of_nothing_lets_nothing_pass_and_a_slow_one_looks_back_far_enough() -> None:
    stopped = Limits(max_orders_per_second=D(0))
    assert reasons(judged(stopped, proposal(), standing())) == ["MAX_ORDER_RATE"]
    slow = Policy(policy_id="p", scope=ACCOUNT, limits=Limits(max_orders_per_second=D("0.01")))
    assert pace_window_s([slow]) == 100.0
    how = standing(recent_orders={ACCOUNT: [99.0]})
    assert reasons(judge(proposal(), how, [slow])) == ["MAX_ORDER_RATE"]
    assert pace_window_s([Policy(policy_id="q", scope=ACCOUNT, limits=Limits())]) == 0


def test_the_engine_closes_positions_where_trading_is_halted_and_nobody_else_does() -> None:
    how = standing(held="5", states={PLATFORM: TradingState.HALTED})
    closing = proposal(OrderSide.SELL, "5", reduce_only=True)
    assert reasons(judge(closing, how, [])) == ["TRADING_HALTED"]
    assert judge(replace(closing, closing=True), how, []).allowed


def test_a_strategy_is_measured_by_its_own_losses() -> None:
    own = Funds(equity=D(900), start_of_day=D(1000), peak=D(1000))
    scope = Scope(ScopeKind.STRATEGY, "cross")
    asked = proposal(instance_id="cross")
    limits = Limits(max_daily_loss=D(100), max_drawdown=D("0.2"))
    assert judged(limits, asked, standing(), scope).allowed
    assert reasons(judged(limits, asked, standing(strategy_funds={"cross": own}), scope)) == ["MAX_DAILY_LOSS"]


def funded(equity: str, *, limited: bool = True) -> Standing:
    """An instance that holds 5 AAPL at 100 and is worth so much, on an account of 100,000."""
    holding = Holding(account_id="main", instance_id="cross", symbol="AAPL", quantity=D(5), price=D(100))
    own = Funds(equity=D(equity), start_of_day=D(equity), peak=D(equity), limited=limited)
    return standing(holdings=(holding,), strategy_funds={"cross": own})


def test_an_instance_may_not_use_more_than_its_capital() -> None:
    asked = replace(proposal(), instance_id="cross")
    (denial,) = judge(asked, funded("1200"), []).denials
    assert (denial.reason, denial.limit, denial.value, denial.value_before) == (
        "CAPITAL_EXCEEDED",
        D(1200),
        D(1500),
        D(500),
    )
    assert denial.scope == Scope(ScopeKind.STRATEGY, "cross")
    assert judge(asked, funded("1500"), []).allowed
    assert judge(asked, funded("1200", limited=False), []).allowed, "none was given: all of the account"
    assert judge(replace(proposal(OrderSide.SELL, "5"), instance_id="cross"), funded("1"), []).allowed


def test_the_orders_of_a_strategy_that_does_not_run_are_denied() -> None:
    asked = replace(proposal(), instance_id="cross", running=False)
    assert reasons(judge(asked, standing(), [])) == ["STRATEGY_NOT_RUNNING"]
