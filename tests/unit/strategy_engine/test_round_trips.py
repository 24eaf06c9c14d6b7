"""Round trips: which entries an exit closes, and what each of them earned."""

from __future__ import annotations

from decimal import Decimal

from quasar.model.orders import Fill
from strategy_engine.trading.round_trips import round_trips
from tests.unit.strategy_engine.test_positions import fill

D = Decimal


def traded(*fills: Fill) -> list[tuple[Decimal, Decimal, Decimal | None]]:
    return [
        (each.quantity, each.entry.price, each.exit.price if each.exit else None) for each in round_trips(list(fills))
    ]


def test_an_exit_closes_the_oldest_entry_first_and_may_close_two() -> None:
    found = traded(fill("10", "100"), fill("10", "110"), fill("-15", "120"))
    assert found == [(D(10), D(100), D(120)), (D(5), D(110), D(120)), (D(5), D(110), None)]


def test_a_fill_that_turns_a_position_closes_one_trade_and_opens_the_other() -> None:
    (closed, opened) = round_trips([fill("10", "100", "1"), fill("-20", "90", "4")])
    assert (closed.long, closed.gross_profit, closed.commission, closed.net_profit) == (True, D(-100), D(3), D(-103))
    assert (opened.long, opened.quantity, opened.exit) == (False, D(10), None)


def test_a_short_earns_when_the_price_falls() -> None:
    (trip,) = round_trips([fill("-4", "50"), fill("4", "40")])
    assert (trip.long, trip.net_profit, trip.return_ratio) == (False, D(40), 0.2)


def test_profits_count_the_multiplier_of_the_instrument() -> None:
    (trip,) = round_trips([fill("10", "100", "1"), fill("-10", "90", "1")], {"AAPL": Decimal(50)})
    assert (trip.gross_profit, trip.net_profit) == (Decimal(-5_000), Decimal(-5_002))
    assert trip.return_ratio == float(Decimal(-5_002) / Decimal(50_000))
