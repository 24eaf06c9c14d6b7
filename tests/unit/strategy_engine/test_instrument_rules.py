"""Orders are held to the steps, ticks and smallest sizes of their instrument, each with its reason and numbers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from quasar.model.orders import Bracket, BracketLeg, OrderSide, OrderSpec, OrderType
from strategy_engine.policy.decision import Check
from strategy_engine.policy.instrument_rules import InstrumentRules
from strategy_engine.policy.judgement import judge
from strategy_engine.policy.limits import Limits, Policy, Scope, ScopeKind
from strategy_engine.policy.standing import Funds, Holding, OpenOrder, Proposal, Standing

D = Decimal
RULES = InstrumentRules(price_tick=D("0.25"), quantity_step=D("0.5"), min_quantity=D(2), min_notional=D(1000))
FUTURE = Scope(ScopeKind.INSTRUMENT, "ESZ6")
ACCOUNT = Scope(ScopeKind.ACCOUNT, "main")


def asked(quantity: str | None = "4", **more: Any) -> Proposal:
    """An order of a future that is worth 50 USD a point."""
    proposed: dict[str, Any] = {name: more.pop(name) for name in ("closing", "filled", "rules") if name in more}
    kind = OrderType.LIMIT if "limit_price" in more else OrderType.MARKET
    size = None if quantity is None else D(quantity)
    spec = OrderSpec(symbol="ESZ6", side=OrderSide.BUY, type=kind, quantity=size, **more)
    known: dict[str, Any] = {"known": True, "currency": "USD", "price": D(100), "multiplier": D(50), "rules": RULES}
    return Proposal(account_id="main", instance_id="", spec=spec, **{**known, **proposed})


def standing(**more: Any) -> Standing:
    return Standing(funds={"main": Funds(equity=D(10**9), start_of_day=D(10**9), peak=D(10**9))}, **more)


def denials(proposal: Proposal) -> list[Check]:
    return judge(proposal, standing(), []).denials


def test_what_lies_on_the_steps_passes_and_every_rule_was_looked_at() -> None:
    decision = judge(asked("4.5", limit_price=D("100.25")), standing(), [])
    assert decision.allowed
    looked_at = [check.reason for check in decision.checks if check.scope == FUTURE]
    assert {"QUANTITY_STEP", "MIN_QUANTITY", "PRICE_TICK", "MIN_NOTIONAL"} <= set(looked_at)


@pytest.mark.parametrize(
    ("proposal", "reason", "limit", "value", "would_pass"),
    [
        (asked("4.7"), "QUANTITY_STEP", "0.5", "4.7", "4.5 and 5.0 are"),
        (asked("1.5"), "MIN_QUANTITY", "2", "1.5", "at least 2"),
        (asked(limit_price=D("100.30")), "PRICE_TICK", "0.25", "100.30", "100.25 and 100.50 are"),
        (asked("2", limit_price=D("9.75")), "MIN_NOTIONAL", "1000", "975.00", "at least 1000"),
        (asked(None, notional=D(4000)), "MIN_QUANTITY", "2", "0.5", "at least 2"),
        (
            asked(bracket=Bracket(stop_loss=BracketLeg(price=D("90.1")))),
            "PRICE_TICK",
            "0.25",
            "90.1",
            "bracket.stop_loss.price must be a multiple of 0.25",
        ),
        (asked("1e30", rules=InstrumentRules(quantity_step=D("3"))), "QUANTITY_STEP", "3", "1e30", "multiple of 3"),
    ],
)
def test_what_does_not_is_denied_with_the_numbers_and_with_what_would_pass(
    proposal: Proposal, reason: str, limit: str, value: str, would_pass: str
) -> None:
    found = {check.reason: check for check in denials(proposal)}
    assert (found[reason].limit, found[reason].value) == (D(limit), D(value))
    assert would_pass in found[reason].detail
    assert found[reason].scope == FUTURE
    if proposal.quantity is not None and proposal.quantity < 10**6:
        assert list(found) == [reason]


def test_a_notional_is_rounded_down_to_the_step_with_the_multiplier() -> None:
    assert asked(None, notional=D(16_000)).quantity == D("3.0")


def test_what_is_filled_counts_in_a_change_and_what_the_engine_closes_has_any_size() -> None:
    assert not denials(asked("0.5", filled=D(4)))
    assert [check.reason for check in denials(asked("0.5"))] == ["MIN_QUANTITY"]
    assert not denials(asked("0.3", closing=True))


def test_open_orders_count_in_the_exposure_with_their_multiplier() -> None:
    waiting = OpenOrder(
        client_order_id="w",
        account_id="main",
        instance_id="",
        symbol="ESZ6",
        remaining=D(10),
        price=D(100),
        multiplier=D(50),
    )
    held = Holding(account_id="main", instance_id="", symbol="ESZ6", quantity=D(1), price=D(100), multiplier=D(50))
    limits = Limits(max_gross_exposure=D(60_000), max_net_exposure=D(60_000))
    policy = Policy(policy_id="p", scope=ACCOUNT, limits=limits)
    how = standing(holdings=[held], open_orders=[waiting])
    found = {check.reason: check.value for check in judge(asked("2"), how, [policy]).denials}
    assert found == {"MAX_GROSS_EXPOSURE": D(65_000), "MAX_NET_EXPOSURE": D(65_000)}
    smaller = replace(how, open_orders=[replace(waiting, remaining=D(9))])
    assert judge(asked("2"), smaller, [policy]).allowed
