"""Positions: what a fill does to quantity, average price, profit and cash, exactly."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from quasar.model.orders import Fill, OrderSide
from strategy_engine.portfolio.figures import worth
from strategy_engine.trading.orders import Held, booked

D = Decimal
NOW = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


def fill(signed: str, price: str, commission: str = "0") -> Fill:
    quantity = D(signed)
    return Fill(
        fill_id="1",
        client_order_id="o",
        symbol="AAPL",
        side=OrderSide.BUY if quantity > 0 else OrderSide.SELL,
        quantity=abs(quantity),
        price=D(price),
        commission=D(commission),
        fill_time_ns=0,
        currency="USD",
    )


def held(quantity: str = "0", average: str | None = None) -> Held:
    price = None if average is None else D(average)
    return Held(account_id="main", instance_id="", symbol="AAPL", quantity=D(quantity), average_price=price)


@pytest.mark.parametrize(
    ("before", "told", "quantity", "average", "realised", "cash"),
    [
        (held(), fill("10", "100", "1"), "10", "100", "0", "-1001"),
        (held("10", "100"), fill("10", "110"), "20", "105", "0", "-1100"),
        (held("20", "105"), fill("-5", "120", "0.6"), "15", "105", "75", "599.4"),
        (held("15", "105"), fill("-15", "100"), "0", None, "-75", "1500"),
        (held("10", "100"), fill("-15", "90"), "-5", "90", "-100", "1350"),
        (held("-5", "90"), fill("5", "80"), "0", None, "50", "-400"),
    ],
)
def test_a_fill_moves_the_position_and_the_cash_exactly(
    before: Held, told: Fill, quantity: str, average: str | None, realised: str, cash: str
) -> None:
    after = booked(before, told, NOW)
    assert after.held.quantity == D(quantity)
    assert after.held.average_price == (None if average is None else D(average))
    assert (after.realised, after.cash) == (D(realised), D(cash))


def test_a_reversal_opens_a_position_of_its_own_time() -> None:
    opened = booked(held(), fill("10", "100"), NOW).held
    later = NOW + dt.timedelta(days=1)
    assert booked(opened, fill("5", "100"), later).held.open_time == NOW
    assert booked(opened, fill("-15", "100"), later).held.open_time == later
    assert booked(opened, fill("-10", "100"), later).held.open_time is None


def test_worth_adds_up_to_cash_and_positions() -> None:
    bought = booked(held(), fill("10", "100", "1"), NOW).held
    found = worth(D(9_000), [bought], D(10_000), D(11_000))
    assert (found.equity, found.gross_exposure, found.net_exposure) == (D(10_000), D(1_000), D(1_000))
    assert (found.day_pnl, found.peak_equity, found.positions) == (D(0), D(11_000), 1)
    assert found.total_pnl == D(-1)
    assert found.drawdown == pytest.approx(-1 / 11)
