from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest

from quasar import errors
from quasar.model.order_states import FINAL_STATUSES, TRANSITIONS, OrderEvent, OrderStatus, advance
from quasar.model.orders import (
    Contingency,
    Order,
    OrderSide,
    OrderSpec,
    OrderType,
    Position,
    TimeInForce,
    backtest_order_id,
    check_spec,
    client_order_id,
)


def test_every_status_has_its_row_and_final_ones_lead_nowhere() -> None:
    assert set(TRANSITIONS) == set(OrderStatus)
    assert {status for status, events in TRANSITIONS.items() if not events} == FINAL_STATUSES


def test_every_status_can_be_reached_from_a_new_order() -> None:
    reached, waiting = {OrderStatus.PENDING_NEW}, [OrderStatus.PENDING_NEW]
    while waiting:
        for status in TRANSITIONS[waiting.pop()].values():
            if status not in reached:
                reached.add(status)
                waiting.append(status)
    assert reached == set(OrderStatus)


def test_every_open_status_can_end() -> None:
    for status in set(OrderStatus) - FINAL_STATUSES:
        assert {OrderStatus.CANCELLED, OrderStatus.EXPIRED} & set(TRANSITIONS[status].values()), status


@pytest.mark.parametrize("status", [OrderStatus.SUBMITTED, OrderStatus.PENDING_CANCEL, OrderStatus.UNRESOLVED])
def test_a_fill_is_taken_whenever_the_broker_may_have_the_order(status: OrderStatus) -> None:
    assert advance(status, OrderEvent.FILL_REST) is OrderStatus.FILLED


def test_a_partial_fill_leaves_a_cancellation_under_way() -> None:
    assert advance(OrderStatus.PENDING_CANCEL, OrderEvent.FILL_PART) is OrderStatus.PENDING_CANCEL


def test_an_unresolved_order_is_never_sent_again() -> None:
    with pytest.raises(errors.FailedPrecondition, match="possible in status UNRESOLVED, was SUBMIT"):
        advance(OrderStatus.UNRESOLVED, OrderEvent.SUBMIT)


@pytest.mark.parametrize("status", [status for status in OrderStatus if status.is_final])
def test_nothing_happens_to_an_order_that_is_final(status: OrderStatus) -> None:
    for event in OrderEvent:
        with pytest.raises(errors.FailedPrecondition):
            advance(status, event)


def test_the_id_of_an_order_follows_from_run_and_intent() -> None:
    run = uuid.UUID("12345678-1234-5678-1234-567812345678")
    assert client_order_id(run, 7) == client_order_id(run, 7, 0) == str(uuid.uuid5(run, "7/0"))
    assert len({client_order_id(run, 7, leg) for leg in range(3)}) == 3
    assert (backtest_order_id(7), backtest_order_id(7, 1)) == ("7", "7/1")


def spec(**terms: Any) -> OrderSpec:
    defaults: dict[str, Any] = {"symbol": "X", "side": OrderSide.BUY, "type": OrderType.MARKET, "quantity": Decimal(1)}
    return OrderSpec(**{**defaults, **terms})


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"quantity": None}, "either quantity or notional"),
        ({"quantity": Decimal(0)}, "quantity must be above 0, was 0"),
        ({"quantity": Decimal("nan")}, "quantity must be a finite number"),
        ({"limit_price": Decimal(1)}, "limit_price must be absent for MARKET"),
        ({"type": OrderType.LIMIT}, "limit_price must be set for LIMIT"),
        ({"type": OrderType.STOP}, "trigger_price must be set for STOP"),
        ({"type": OrderType.TRAILING_STOP}, "set 0 times"),
        ({"time_in_force": TimeInForce.GTD}, "expire_time_ns must be set"),
        ({"post_only": True}, "post_only must be false"),
        ({"group": "a"}, "group_contingency must be set"),
    ],
)
def test_terms_that_break_a_rule_are_named(terms: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        check_spec(spec(**terms))


def test_terms_that_keep_the_rules_pass() -> None:
    check_spec(spec(type=OrderType.LIMIT, limit_price=Decimal(-3), post_only=True))
    check_spec(spec(type=OrderType.TRAILING_STOP, trailing_ratio=Decimal("0.01")))
    check_spec(spec(group="a", group_contingency=Contingency.OCO))


def test_what_remains_of_a_final_order_is_nothing() -> None:
    order = Order(
        client_order_id="1",
        spec=spec(quantity=Decimal(5)),
        status=OrderStatus.PARTIALLY_FILLED,
        filled_quantity=Decimal(2),
    )
    assert order.remaining_quantity == 3
    ended = Order(
        client_order_id="1", spec=spec(quantity=Decimal(5)), status=OrderStatus.CANCELLED, filled_quantity=Decimal(2)
    )
    assert ended.remaining_quantity == 0


def test_a_position_without_a_mark_has_no_value() -> None:
    held = Position(symbol="X", quantity=Decimal(-2), average_price=Decimal(10))
    assert (held.market_value, held.unrealised_pnl) == (None, None)
    marked = Position(symbol="X", quantity=Decimal(-2), average_price=Decimal(10), mark_price=Decimal(9))
    assert (marked.market_value, marked.unrealised_pnl) == (Decimal(-18), Decimal(2))
