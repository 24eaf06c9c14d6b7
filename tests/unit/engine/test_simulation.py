"""How orders fill on bars, shown through the public strategy interface on bars written out by hand."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from quasar.engine.backtest import run_backtest
from quasar.engine.commission import PercentCommission
from quasar.engine.grid import Grid
from quasar.engine.result import BacktestResult
from quasar.engine.rules import ExitsFrom, FillAt, MarketRules
from quasar.engine.slippage import TickSlippage
from quasar.model.order_states import TRANSITIONS, OrderStatus
from quasar.strategy import Bar, BracketLeg, Contingency, Fill, Strategy, TimeInForce, WorkingOrder
from tests.unit.engine.markets import flat, series

Rows = Sequence[tuple[float, ...]]
Act = Callable[[Strategy], Any]


class Script(Strategy):
    """Does at the close of each bar what the test wrote for it."""

    def __init__(self, acts: Mapping[int, Act]) -> None:
        super().__init__()
        self.acts = acts
        self.given: list[Any] = []

    def on_bar(self, bar: Bar) -> None:
        if bar.index in self.acts:
            self.given.append(self.acts[bar.index](self))


def play(rows: Rows, acts: Mapping[int, Act], interval: str = "1min", **rules: Any) -> tuple[BacktestResult, list[Any]]:
    strategy = Script(acts)
    lane = series(*rows, interval=interval, grid=rules.pop("grid", Grid(2)))
    return run_backtest(strategy, [lane], MarketRules(**rules)), strategy.given


def told(result: BacktestResult) -> list[tuple[int, float, float]]:
    """Return bar, signed quantity and price of each fill."""
    fills = result.fills
    return list(zip(fills.bar.tolist(), (fills.side * fills.quantity).tolist(), fills.price.tolist(), strict=True))


START: Rows = flat(100.0, 1)


@pytest.mark.parametrize(
    ("bar", "terms", "wanted"),
    [
        ((100, 101, 99, 100), {"limit": 99.5}, 99.5),
        ((99, 101, 98, 100), {"limit": 99.5}, 99.0),
        ((100, 101, 99.51, 100), {"limit": 99.5}, None),
        ((100, 101, 99.5, 100), {"limit": 99.5}, 99.5),
        ((100, 101, 99, 100), {"stop": 100.5}, 100.5),
        ((102, 103, 101, 102), {"stop": 100.5}, 102.0),
        ((100, 100.49, 99, 100), {"stop": 100.5}, None),
        ((100, 101, 99, 100), {"stop": 100.5, "limit": 100.7}, 100.5),
        ((102, 103, 101, 102), {"stop": 100.5, "limit": 100.7}, None),
        ((102, 103, 100.6, 101), {"stop": 100.5, "limit": 100.7}, 100.7),
        ((100, 101, 99, 100), {"stop": 100.5, "limit": 100.2}, 100.2),
        ((100, 101, 99, 100.4), {"stop": 100.5, "limit": 100.2}, None),
        ((100, 101, 99, 100), {"touch": 99.5}, 99.5),
        ((99, 101, 98, 100), {"touch": 99.5}, 99.0),
        ((100, 101, 99, 100), {"touch": 99.5, "limit": 99.2}, 99.2),
        ((100, 101, 99.3, 100), {"touch": 99.5, "limit": 99.2}, None),
        ((100, 101, 99.3, 100), {"touch": 99.5, "limit": 99.7}, 99.5),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_each_type_of_order_fills_where_its_rule_says(
    bar: tuple[float, float, float, float], terms: dict[str, Any], wanted: float | None, sign: int
) -> None:
    if sign < 0:  # The mirror image of the market around 100.
        opening, high, low, close = bar
        bar = tuple(round(200 - price, 2) for price in (opening, low, high, close))  # type: ignore[assignment]
        terms = {name: round(200 - price, 2) for name, price in terms.items()}
        wanted = None if wanted is None else round(200 - wanted, 2)
    act: Act = lambda self: (self.buy if sign > 0 else self.sell)(10, **terms)  # noqa: E731 - one line a case
    result, _ = play([*START, bar], {0: act})
    assert told(result) == ([] if wanted is None else [(1, sign * 10.0, wanted)])


def test_a_stop_limit_that_was_triggered_waits_as_a_limit_order() -> None:
    result, (order,) = play(
        [*START, (102, 103, 101, 102), (101, 101, 100.5, 101)], {0: lambda s: s.buy(1, stop=100.5, limit=100.7)}
    )
    assert told(result) == [(2, 1.0, 100.7)]
    assert order.status is OrderStatus.FILLED


def test_a_trailing_stop_follows_the_high_and_fills_where_the_price_comes_back() -> None:
    rows = [*START, (100, 104, 100, 104), (104, 106, 104, 105), (105, 105, 103, 103)]
    result, _ = play(rows, {0: lambda s: (s.buy(1), s.sell(1, trail=2))})
    assert told(result) == [(1, 1.0, 100.0), (3, -1.0, 104.0)]


def test_a_close_beyond_the_trailed_trigger_proves_that_it_was_hit() -> None:
    result, _ = play([*START, (100, 110, 99, 101)], {0: lambda s: (s.buy(1), s.sell(1, trail_ratio="0.05"))})
    assert told(result) == [(1, 1.0, 100.0), (1, -1.0, 104.5)]


BRACKET: Act = lambda s: s.bracket(10, stop_loss=95, take_profit=105)  # noqa: E731


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([(100, 106, 94, 100)], (1, -10.0, 95.0)),
        ([(100, 106, 99, 100)], (1, -10.0, 105.0)),
        ([(100, 101, 99, 100), (93, 94, 92, 93)], (2, -10.0, 93.0)),
        ([(100, 101, 99, 100), (107, 108, 106, 107)], (2, -10.0, 107.0)),
        ([(100, 101, 99, 100), (100, 106, 94, 100)], (2, -10.0, 95.0)),
    ],
    ids=["stop first", "target in the entry bar", "gap through the stop", "gap through the target", "stop first later"],
)
def test_exits_of_a_bracket(rows: Rows, wanted: tuple[int, float, float]) -> None:
    result, (entry,) = play([*START, *rows, (100, 100, 100, 100)], {0: BRACKET})
    assert told(result) == [(1, 10.0, 100.0), wanted]
    assert {entry.stop_loss.status, entry.take_profit.status} == {OrderStatus.FILLED, OrderStatus.CANCELLED}
    assert not result.working


def test_exits_may_be_kept_out_of_the_entry_bar() -> None:
    rows = [*START, (100, 106, 94, 100), (100, 106, 99, 100)]
    result, _ = play(rows, {0: BRACKET}, exits_from=ExitsFrom.NEXT_BAR)
    assert told(result) == [(1, 10.0, 100.0), (2, -10.0, 105.0)]


def test_a_target_counts_in_the_bar_of_a_limit_entry_only_where_the_close_proves_it() -> None:
    act: Act = lambda s: s.bracket(10, limit=98, stop_loss=90, take_profit=99)  # noqa: E731
    unproven, _ = play([*START, (100, 102, 97, 98.5)], {0: act})
    proven, _ = play([*START, (100, 102, 97, 99.5)], {0: act})
    assert told(unproven) == [(1, 10.0, 98.0)]
    assert told(proven) == [(1, 10.0, 98.0), (1, -10.0, 99.0)]


def test_exits_by_distance_lie_around_the_price_of_the_entry() -> None:
    legs: dict[str, Any] = {
        "stop_loss": BracketLeg(offset=Decimal(2)),
        "take_profit": BracketLeg(offset_ratio=Decimal("0.03")),
    }
    result, (entry,) = play([*START, (101, 101, 101, 101)], {0: lambda s: s.bracket(-10, **legs)})
    assert told(result) == [(1, -10.0, 101.0)]
    assert (entry.stop_loss.trigger, entry.take_profit.limit) == (103.0, 97.97)


def test_an_entry_that_is_cancelled_takes_its_exits_along() -> None:
    acts = {0: lambda s: s.bracket(10, limit=90, stop_loss=80, take_profit=120), 1: lambda s: s.cancel_all()}
    result, (entry, _) = play([*START, *flat(100, 2)], acts)
    assert entry.status is entry.stop_loss.status is entry.take_profit.status is OrderStatus.CANCELLED
    assert not told(result)


def test_closing_a_position_by_hand_cancels_the_exits_that_protected_it() -> None:
    result, (entry, _) = play([*START, *flat(100, 3), (90, 90, 90, 90)], {0: BRACKET, 2: lambda s: s.close()})
    assert told(result) == [(1, 10.0, 100.0), (3, -10.0, 100.0)]
    assert entry.stop_loss.text == "nothing is left to reduce"


def test_one_order_of_a_group_cancels_the_other() -> None:
    def pair(self: Strategy) -> list[WorkingOrder]:
        terms: dict[str, Any] = {"group": "range", "contingency": Contingency.OCO}
        return [self.buy(1, limit=99, **terms), self.buy(1, stop=101, **terms)]

    result, (orders,) = play([*START, (100, 102, 98, 100), *flat(100, 1)], {0: pair})
    assert told(result) == [(1, 1.0, 101.0)]
    assert [order.status for order in orders] == [OrderStatus.CANCELLED, OrderStatus.FILLED]


def test_orders_that_are_linked_by_quantity_share_it() -> None:
    def pair(self: Strategy) -> None:
        terms: dict[str, Any] = {"group": "exit", "contingency": Contingency.OUO}
        self.buy(100)
        self.sell(100, limit=101, **terms)
        self.sell(100, stop=99, **terms)

    rows = [*START, (100, 100, 100, 100, 1000), (100.5, 102, 100, 100, 60), (100, 100, 98, 98, 1000)]
    result, _ = play(rows, {0: pair}, volume_share=Decimal("0.5"))
    assert told(result) == [(1, 100.0, 100.0), (2, -30.0, 101.0), (3, -70.0, 99.0)]


def test_at_most_a_share_of_the_volume_trades_on_a_bar_and_the_rest_goes_on() -> None:
    rows = [*START, (100, 100, 100, 100, 400), (101, 101, 101, 101, 100), (102, 102, 102, 102, 1000)]
    result, (order,) = play(rows, {0: lambda s: s.buy(60)}, volume_share=Decimal("0.1"))
    assert told(result) == [(1, 40.0, 100.0), (2, 10.0, 101.0), (3, 10.0, 102.0)]
    assert order.status is OrderStatus.FILLED
    assert order.average_fill_price == pytest.approx((40 * 100 + 10 * 101 + 10 * 102) / 60)


def test_what_the_first_fill_of_a_stop_left_is_sold_whatever_the_price_does_then() -> None:
    rows = [*START, (100, 100, 98, 98, 40), (103, 104, 102, 103, 1000)]
    result, (_, order) = play(
        [*START, (100, 100, 100, 100, 1000), *rows[1:]],
        {0: lambda s: s.buy(40), 1: lambda s: s.sell(40, stop=99)},
        volume_share=Decimal("0.5"),
    )
    assert told(result) == [(1, 40.0, 100.0), (2, -20.0, 99.0), (3, -20.0, 103.0)]
    assert order.status is OrderStatus.FILLED


@pytest.mark.parametrize(
    ("tif", "rows", "wanted", "status"),
    [
        (TimeInForce.IOC, [(100, 100, 98, 98)], [], OrderStatus.CANCELLED),
        (TimeInForce.IOC, [(98.5, 100, 98, 98)], [(1, 10.0, 98.5)], OrderStatus.FILLED),
        (TimeInForce.FOK, [(98.5, 100, 98, 98, 50)], [], OrderStatus.CANCELLED),
        (TimeInForce.FOK, [(98.5, 100, 98, 98, 1000)], [(1, 10.0, 98.5)], OrderStatus.FILLED),
        (TimeInForce.GTC, [(100, 100, 100, 100), (100, 100, 98, 98)], [(2, 10.0, 99.0)], OrderStatus.FILLED),
    ],
)
def test_times_in_force_that_end_at_once(tif: TimeInForce, rows: Rows, wanted: list[Any], status: OrderStatus) -> None:
    result, (order,) = play([*START, *rows], {0: lambda s: s.buy(10, limit=99, tif=tif)}, volume_share=Decimal("0.1"))
    assert told(result) == wanted
    assert order.status is status


def test_a_day_order_expires_with_the_session_it_first_worked_in() -> None:
    rows = [*START, *flat(100, 1), (99, 99, 98, 98)]
    result, (order,) = play(rows, {0: lambda s: s.buy(1, limit=99, tif=TimeInForce.DAY)}, interval="1d")
    assert not told(result)
    assert order.status is OrderStatus.EXPIRED


def test_a_dated_order_expires_at_its_time() -> None:
    def act(self: Strategy) -> WorkingOrder:
        return self.buy(1, limit=99, expires=self.now + dt.timedelta(minutes=1))

    result, (order,) = play([*START, *flat(100, 1), (99, 99, 98, 98)], {0: act})
    assert not told(result)
    assert (order.status, order.text) == (OrderStatus.EXPIRED, "its time is over")


def test_an_order_for_the_close_fills_at_the_close() -> None:
    result, _ = play([*START, (100, 103, 99, 102)], {0: lambda s: s.buy(1, tif=TimeInForce.AT_CLOSE)}, interval="1d")
    assert told(result) == [(1, 1.0, 102.0)]


def test_an_order_for_the_opening_waits_for_the_next_session() -> None:
    rows = [*flat(100, 23), (101, 102, 100, 101), (105, 106, 104, 105)]
    result, _ = play(rows, {21: lambda s: s.buy(1, tif=TimeInForce.AT_OPEN)}, interval="1h")
    assert told(result) == [(24, 1.0, 105.0)]


def test_an_order_that_must_rest_is_rejected_where_it_would_trade_at_once() -> None:
    result, (order,) = play([*START, (99, 100, 98, 99)], {0: lambda s: s.buy(1, limit=99.5, post_only=True)})
    assert not told(result)
    assert (order.status, order.text) == (OrderStatus.REJECTED, "POST_ONLY would have traded at once")


def test_what_cannot_be_paid_for_is_rejected_and_leaves_no_trace() -> None:
    result, (order,) = play([*START, *flat(100, 1)], {0: lambda s: s.buy(11)}, cash=Decimal(1000))
    assert (order.status, order.text) == (OrderStatus.REJECTED, "INSUFFICIENT_CASH")
    assert (result.final_cash, result.final_positions) == (Decimal(1000), {})


def test_margin_lets_more_be_bought_than_there_is_cash() -> None:
    result, (order,) = play(
        [*START, *flat(100, 1)], {0: lambda s: s.buy(20)}, cash=Decimal(1000), margin=Decimal("0.5")
    )
    assert order.status is OrderStatus.FILLED
    assert result.final_cash == Decimal(-1000)


def test_a_short_sale_is_rejected_where_it_is_not_allowed() -> None:
    acts = {0: lambda s: s.buy(5), 1: lambda s: s.sell(6)}
    result, (_, order) = play([*START, *flat(100, 2)], acts, allow_short=False)
    assert order.text == "SHORT_NOT_ALLOWED"
    assert result.final_positions == {"X": Decimal(5)}


def test_a_short_position_gains_when_the_price_falls() -> None:
    result, _ = play([*START, *flat(100, 1), (90, 90, 90, 90)], {0: lambda s: s.sell(10)})
    assert result.equity.tolist() == [100_000.0, 100_000.0, 100_100.0]


def test_a_fraction_of_the_cash_buys_what_it_pays_for_with_commission() -> None:
    rules: dict[str, Any] = {"cash": Decimal(10_000), "commission": PercentCommission(Decimal("0.01"))}
    result, _ = play([*START, (101, 101, 101, 101)], {0: lambda s: s.buy(fraction="0.5")}, **rules)
    assert told(result) == [(1, 49.0, 101.0)]  # 49 * 101 * 1.01 = 4998.49


def test_an_amount_of_money_buys_at_the_last_price_rounded_down() -> None:
    result, _ = play([*START, *flat(100, 1)], {0: lambda s: s.buy(notional=1050)}, grid=Grid(2, 1))
    assert told(result) == [(1, 10.5, 100.0)]


def test_slippage_worsens_market_orders_and_stops_but_never_limits() -> None:
    acts = {0: lambda s: (s.buy(1), s.buy(1, stop=101), s.buy(1, limit=99))}
    result, _ = play([*START, (100, 102, 98, 100)], acts, slippage=TickSlippage(3))
    assert told(result) == [(1, 1.0, 100.03), (1, 1.0, 101.03), (1, 1.0, 99.0)]


def test_an_order_may_fill_at_the_close_at_which_it_was_given() -> None:
    acts = {0: lambda s: s.buy(1), 1: lambda s: (s.sell(1, limit=101), s.sell(1, limit=103))}
    rows = [(100, 100, 100, 100), (101, 103, 101, 102), (102, 102, 102, 102)]
    result, _ = play(rows, acts, fill_at=FillAt.SAME_CLOSE)
    assert told(result) == [(0, 1.0, 100.0), (1, -1.0, 102.0)]


def test_a_changed_order_works_on_its_new_terms() -> None:
    def change(self: Strategy) -> None:
        (order,) = self.open_orders
        self.replace(order, limit=99, quantity=3)

    result, _ = play([*START, *flat(100, 1), (100, 100, 98, 99)], {0: lambda s: s.buy(1, limit=90), 1: change})
    assert told(result) == [(2, 3.0, 99.0)]


def test_the_order_of_events_in_money_is_exact_to_the_last_digit() -> None:
    rules: dict[str, Any] = {
        "commission": PercentCommission(Decimal("0.00075")),
        "grid": Grid(8, 8),
        "cash": Decimal("1000"),
    }
    acts = {0: lambda s: s.buy("0.12345678"), 1: lambda s: s.close()}
    result, _ = play([(0.1, 0.1, 0.1, 0.1), *flat(0.12345679, 1), *flat(0.12345681, 1)], acts, **rules)
    spent = Decimal("0.12345678") * Decimal("0.12345679")
    got = Decimal("0.12345678") * Decimal("0.12345681")
    assert result.final_cash == 1000 - spent + got - (spent + got) * Decimal("0.00075")


class Listener(Script):
    def on_start(self) -> None:
        self.statuses: dict[str, list[OrderStatus]] = {}
        self.fills: list[Fill] = []

    def on_order(self, order: WorkingOrder) -> None:
        self.statuses.setdefault(order.client_order_id, []).append(order.status)

    def on_fill(self, fill: Fill) -> None:
        self.fills.append(fill)


def test_hooks_hear_of_every_fill_and_of_the_status_after_it() -> None:
    strategy = Listener({0: BRACKET})
    run_backtest(strategy, [series(*START, (100, 101, 99, 100), (100, 106, 99, 105), grid=Grid(2))])
    assert [(fill.client_order_id, fill.quantity, fill.price) for fill in strategy.fills] == [
        ("1", Decimal(10), Decimal("100.00")),
        ("1/2", Decimal(10), Decimal("105.00")),
    ]
    assert strategy.statuses["1"][-1] is strategy.statuses["1/2"][-1] is OrderStatus.FILLED
    assert strategy.statuses["1/1"][-1] is OrderStatus.CANCELLED


def test_every_status_that_orders_pass_through_is_in_the_table() -> None:
    reachable = {status: set(events.values()) | {status} for status, events in TRANSITIONS.items()}
    strategy = Listener({0: BRACKET, 1: lambda s: s.buy(1, stop=101, limit=100.2), 2: lambda s: s.sell(5, limit=101)})
    rows = [*START, (100, 101, 99, 100), (100, 104, 99, 104), (104, 104, 100, 100), (100, 106, 99, 105)]
    run_backtest(strategy, [series(*rows, grid=Grid(2))], MarketRules(volume_share=Decimal("0.005")))
    for statuses in strategy.statuses.values():
        for before, after in itertools.pairwise(statuses):
            assert after in reachable[before], statuses
