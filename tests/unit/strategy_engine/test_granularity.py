"""Limits that hold for each account, strategy or instrument of a scope by itself."""

from __future__ import annotations

from decimal import Decimal

import pytest

from quasar.model.orders import OrderSide, OrderSpec, OrderType
from strategy_engine.policy.judgement import judge
from strategy_engine.policy.limits import PLATFORM, Granularity, Limits, Policy, Scope, ScopeKind
from strategy_engine.policy.standing import Funds, Holding, OpenOrder, Proposal, Standing
from strategy_engine.policy.usage import usages

D = Decimal
ACCOUNT, CROSS = Scope(ScopeKind.ACCOUNT, "main"), Scope(ScopeKind.STRATEGY, "cross")
AAPL = Scope(ScopeKind.INSTRUMENT, "AAPL")
EACH = {each.value: each for each in Granularity}


def held(account_id: str, instance_id: str, symbol: str, quantity: int) -> Holding:
    return Holding(account_id=account_id, instance_id=instance_id, symbol=symbol, quantity=D(quantity), price=D(100))


def waiting(instance_id: str, symbol: str) -> OpenOrder:
    return OpenOrder(
        client_order_id=f"{instance_id}/{symbol}",
        account_id="main",
        instance_id=instance_id,
        symbol=symbol,
        remaining=D(1),
        price=D(100),
    )


RICH = Funds(equity=D(10**6), start_of_day=D(10**6), peak=D(10**6))
STANDING = Standing(
    holdings=(
        held("main", "cross", "AAPL", 10),
        held("main", "other", "AAPL", 20),
        held("main", "", "GOOG", 30),
        held("isle", "far", "AAPL", 40),
    ),
    open_orders=(waiting("cross", "AAPL"), waiting("other", "GOOG")),
    funds={"main": RICH, "isle": RICH},
    strategy_funds={"cross": Funds(equity=D(900), start_of_day=D(1_000), peak=D(1_000))},
    recent_orders={ACCOUNT: [0.1, 0.2, 0.3], Scope(ScopeKind.ACCOUNT, "main", "AAPL"): [0.2]},
)


def asked(instance_id: str = "cross") -> Proposal:
    spec = OrderSpec(symbol="AAPL", side=OrderSide.BUY, type=OrderType.MARKET, quantity=D(1))
    return Proposal(account_id="main", instance_id=instance_id, spec=spec, known=True, currency="USD", price=D(100))


@pytest.mark.parametrize(
    ("scope", "each", "limits", "value"),
    [
        (PLATFORM, "SCOPE", Limits(max_position_quantity=D(1)), 72),
        (PLATFORM, "EACH_ACCOUNT", Limits(max_position_quantity=D(1)), 32),
        (PLATFORM, "EACH_STRATEGY", Limits(max_position_quantity=D(1)), 12),
        (AAPL, "EACH_ACCOUNT", Limits(max_gross_exposure=D(1)), 3_200),
        (ACCOUNT, "SCOPE", Limits(max_gross_exposure=D(1)), 6_300),
        (ACCOUNT, "EACH_STRATEGY", Limits(max_gross_exposure=D(1)), 1_200),
        (ACCOUNT, "EACH_INSTRUMENT", Limits(max_gross_exposure=D(1)), 3_200),
        (ACCOUNT, "SCOPE", Limits(max_open_orders=1), 3),
        (ACCOUNT, "EACH_INSTRUMENT", Limits(max_open_orders=1), 2),
        (ACCOUNT, "SCOPE", Limits(max_orders_per_second=D(1)), 4),
        (ACCOUNT, "EACH_INSTRUMENT", Limits(max_orders_per_second=D(1)), 2),
        (ACCOUNT, "EACH_STRATEGY", Limits(max_daily_loss=D(50)), 100),
        (CROSS, "EACH_STRATEGY", Limits(max_daily_loss=D(50)), 100),
    ],
)
def test_a_limit_is_counted_over_the_part_that_the_order_belongs_to(
    scope: Scope, each: str, limits: Limits, value: int
) -> None:
    policy = Policy(policy_id="p", scope=scope, limits=limits, granularity=EACH[each])
    (denial,) = judge(asked(), STANDING, [policy]).denials
    assert (denial.value, denial.scope) == (D(value), scope)


def test_a_limit_of_each_strategy_does_not_hold_for_what_belongs_to_none() -> None:
    limits = Limits(max_position_quantity=D(0), max_open_orders=0)
    policy = Policy(policy_id="p", scope=ACCOUNT, limits=limits, granularity=Granularity.EACH_STRATEGY)
    assert judge(asked(""), STANDING, [policy]).allowed
    assert not judge(asked(), STANDING, [policy]).allowed


def test_use_is_told_of_each_part() -> None:
    def used(each: Granularity, limits: Limits, scope: Scope = PLATFORM) -> dict[Scope, Decimal]:
        policy = Policy(policy_id="p", scope=scope, limits=limits, granularity=each)
        return {usage.scope: usage.value for usage in usages([policy], STANDING, {})}

    gross = Limits(max_gross_exposure=D(10_000))
    strategies = {Scope(ScopeKind.STRATEGY, name): D(worth) for name, worth in (("cross", 1_100), ("far", 4_000))}
    assert used(Granularity.EACH_STRATEGY, gross) == {**strategies, Scope(ScopeKind.STRATEGY, "other"): D(2_100)}
    assert used(Granularity.EACH_ACCOUNT, gross) == {ACCOUNT: D(6_200), Scope(ScopeKind.ACCOUNT, "isle"): D(4_000)}
    goog = Scope(ScopeKind.INSTRUMENT, "GOOG")
    assert used(Granularity.EACH_INSTRUMENT, gross, ACCOUNT) == {AAPL: D(3_100), goog: D(3_100)}
    losses = used(Granularity.EACH_STRATEGY, Limits(max_daily_loss=D(50)), ACCOUNT)
    assert losses[CROSS] == 100
