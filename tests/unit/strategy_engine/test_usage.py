"""How much of each limit is used, and which policies concern whom."""

from __future__ import annotations

from decimal import Decimal

import pytest

from strategy_engine.policy.limits import PLATFORM, Limits, Policy, Scope, ScopeKind
from strategy_engine.policy.standing import Funds, Holding, OpenOrder, Standing
from strategy_engine.policy.usage import concerns, usages

D = Decimal
ACCOUNT, CROSS = Scope(ScopeKind.ACCOUNT, "main"), Scope(ScopeKind.STRATEGY, "cross")


def held(symbol: str, quantity: str, price: str, instance_id: str = "cross") -> Holding:
    return Holding(account_id="main", instance_id=instance_id, symbol=symbol, quantity=D(quantity), price=D(price))


STANDING = Standing(
    holdings=(held("AAPL", "10", "100"), held("GOOG", "-5", "200"), held("AAPL", "3", "100", "")),
    open_orders=(
        OpenOrder(client_order_id="a", account_id="main", instance_id="cross", symbol="AAPL", remaining=D(4)),
        OpenOrder(client_order_id="b", account_id="main", instance_id="cross", symbol="AAPL", remaining=D(-1)),
    ),
    funds={"main": Funds(equity=D(9_000), start_of_day=D(10_000), peak=D(12_000))},
    recent_orders={CROSS: [0.5, 1.5, 30.0]},
)
EVERY = Limits(
    max_position_quantity=D(20),
    max_position_notional=D(2_800),
    max_gross_exposure=D(4_000),
    max_net_exposure=D(1_000),
    max_leverage=D(1),
    max_open_orders=4,
    max_orders_per_second=D(2),
    order_burst=4,
    max_daily_loss=D(2_000),
    max_drawdown=D("0.5"),
)


def test_every_limit_is_counted_over_its_scope_with_open_orders_as_if_filled() -> None:
    found = usages([Policy(policy_id="p", scope=CROSS, limits=EVERY)], STANDING, {"main": "USD"})
    counted = {(each.reason, each.scope.id): (each.value, each.unit) for each in found}
    assert counted == {
        ("MAX_POSITION_QUANTITY", "AAPL"): (D(14), "units"),
        ("MAX_POSITION_QUANTITY", "GOOG"): (D(5), "units"),
        ("MAX_POSITION_NOTIONAL", "AAPL"): (D(1_400), "USD"),
        ("MAX_POSITION_NOTIONAL", "GOOG"): (D(1_000), "USD"),
        ("MAX_GROSS_EXPOSURE", "cross"): (D(2_000), "USD"),
        ("MAX_NET_EXPOSURE", "cross"): (D(0), "USD"),
        ("MAX_LEVERAGE", "cross"): (D(2_000) / D(9_000), "ratio"),
        ("MAX_OPEN_ORDERS", "cross"): (D(2), "orders"),
        ("MAX_ORDER_RATE", "cross"): (D(2), "orders"),
        ("MAX_DAILY_LOSS", "main"): (D(1_000), "USD"),
        ("MAX_DRAWDOWN", "main"): (D("0.25"), "ratio"),
    }
    ratios = [each.ratio or 0.0 for each in found]
    assert ratios == sorted(ratios, reverse=True)


def test_what_breaks_a_limit_of_nothing_comes_first() -> None:
    policies = [
        Policy(policy_id="full", scope=ACCOUNT, limits=Limits(max_gross_exposure=D(2_300))),
        Policy(policy_id="none", scope=PLATFORM, limits=Limits(max_open_orders=0)),
    ]
    found = usages(policies, STANDING, {"main": "USD"})
    assert [(each.policy_id, each.ratio) for each in found] == [("none", None), ("full", 1.0)]


@pytest.mark.parametrize(
    ("policy", "scope", "concerned"),
    [
        (PLATFORM, CROSS, True),
        (ACCOUNT, CROSS, True),
        (Scope(ScopeKind.ACCOUNT, "other"), CROSS, False),
        (CROSS, ACCOUNT, True),
        (Scope(ScopeKind.STRATEGY, "elsewhere"), ACCOUNT, False),
        (Scope(ScopeKind.INSTRUMENT, "AAPL"), CROSS, True),
        (Scope(ScopeKind.INSTRUMENT, "AAPL"), Scope(ScopeKind.INSTRUMENT, "GOOG"), False),
        (CROSS, PLATFORM, True),
    ],
)
def test_policies_concern_the_scopes_that_meet_them(policy: Scope, scope: Scope, concerned: bool) -> None:
    assert concerns(Policy(policy_id="p", scope=policy, limits=Limits()), scope, {"cross": "main"}) is concerned
