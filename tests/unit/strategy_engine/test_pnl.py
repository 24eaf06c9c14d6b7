"""Profit and loss by groups, against values computed by hand."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from zoneinfo import ZoneInfo

from quasar.model.instants import to_ns
from quasar.model.orders import Fill, OrderSide
from strategy_engine.portfolio.pnl import DayMark, Earned, OwnFill, add_days, earned, row_of, total
from strategy_engine.trading.orders import StoredFill

D = Decimal
SYDNEY = ZoneInfo("Australia/Sydney")


def fill(
    side: OrderSide, quantity: int, price: int, time: str, realised: int | None = None, owner: str = "a"
) -> OwnFill:
    made = Fill(
        fill_id=str(uuid.uuid4()),
        client_order_id="o",
        symbol="BHP",
        side=side,
        quantity=D(quantity),
        price=D(price),
        commission=D(1),
        fill_time_ns=to_ns(dt.datetime.fromisoformat(time)),
    )
    stored = StoredFill(
        fill_id=uuid.uuid4(),
        fill=made,
        account_id=owner,
        instance_id="",
        run_id=None,
        receive_time=dt.datetime.fromisoformat(time),
        realised_pnl=None if realised is None else D(realised),
    )
    return OwnFill(stored, D(1))


BOUGHT = fill(OrderSide.BUY, 10, 100, "2026-01-05T13:30:00+00:00")
SOLD = fill(OrderSide.SELL, 10, 110, "2026-01-05T23:00:00+00:00", 100)


def days(zone: ZoneInfo) -> list[tuple[str, ...] | None]:
    return [(row_of(each, zone)["day"],) for each in (BOUGHT, SOLD)]


def test_the_day_of_a_fill_is_that_of_the_time_zone() -> None:
    assert days(ZoneInfo("UTC")) == [("2026-01-05",)] * 2
    assert days(SYDNEY) == [("2026-01-06",)] * 2
    late = fill(OrderSide.BUY, 1, 1, "2026-01-05T12:59:59+00:00")
    assert row_of(late, SYDNEY)["day"] == "2026-01-05"


def test_a_round_trip_counts_where_it_was_closed_and_its_entry_may_lie_outside() -> None:
    found = earned([BOUGHT, SOLD], [None, ("today",)])
    assert list(found) == [("today",)]
    own = found["today",]
    assert (own.realised, own.commission, own.net, own.notional) == (D(100), D(1), D(99), D(1100))
    assert (own.fills, own.trades, own.winning_trades) == (1, 1, 1)
    assert own.unrealised_change is None


def test_owners_do_not_close_what_others_bought() -> None:
    other = fill(OrderSide.SELL, 10, 110, "2026-01-05T23:00:00+00:00", owner="b")
    found = earned([BOUGHT, other], [("x",), ("x",)])
    assert found["x",].trades == 0


def test_days_without_a_fill_have_what_was_held_and_sum_up_to_the_whole() -> None:
    marks = [DayMark("a", "2026-01-05", D(1040), D(40)), DayMark("a", "2026-01-06", D(1010), D(10))]
    found: dict[tuple[str, ...], Earned] = {("2026-01-05",): Earned(commission=D(1), fills=1)}
    add_days(found, marks, {"a": D(1000)}, 0)
    first, second = found["2026-01-05",], found["2026-01-06",]
    assert (first.net, first.start_equity, first.end_equity) == (D(39), D(1000), D(1040))
    assert (second.net, second.start_equity, second.end_equity) == (D(-30), D(1040), D(1010))
    assert total([first, second]).net == D(9)
