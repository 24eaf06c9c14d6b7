"""Where an order trades within one bar, as pure functions of the order and the bar's four prices.

Conventions (sources: the documentation of backtrader and backtesting.py, which agree on them; checked against their
fills):

- a bar is worked as: its open first, then anything between its low and its high in an unknown order, then its close;
- a limit order fills at its limit, or at the open where the bar opens beyond it (a gap is in its favour);
- a stop fills at its trigger, or at the open where the bar opens beyond it (a gap is against it);
- what only the order of high and low could tell is decided against the order, unless the close proves it.

Each function returns the price at which the order fills, or None; it may mark the order as triggered. Prices are
doubles on the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quasar.engine.working import WorkingOrder
from quasar.model.order_states import OrderStatus
from quasar.model.orders import OrderType

_TRIGGERED = OrderStatus.TRIGGERED

Touch = Callable[[WorkingOrder, float, float, float, float], float | None]


def market(order: WorkingOrder, opening: float, high: float, low: float, close: float) -> float | None:
    """Fill at the open."""
    del order, high, low, close
    return opening


def limit(order: WorkingOrder, opening: float, high: float, low: float, close: float) -> float | None:
    """Fill at the limit or better."""
    del close
    price = order.limit
    assert price is not None
    if order.sign > 0:
        return None if low > price else min(opening, price)
    return None if high < price else max(opening, price)


def stop(order: WorkingOrder, opening: float, high: float, low: float, close: float) -> float | None:
    """Fill at the trigger or worse; what a first fill left is a market order from then on."""
    del close
    if order.filled:
        return opening
    price = order.trigger
    assert price is not None
    if order.sign > 0:
        return None if high < price else max(opening, price)
    return None if low > price else min(opening, price)


def touched(order: WorkingOrder, opening: float, high: float, low: float, close: float) -> float | None:
    """Fill at the trigger or better, as a market order; what a first fill left needs no second touch."""
    del close
    if order.filled:
        return opening
    price = order.trigger
    assert price is not None
    if order.sign > 0:
        return None if low > price else min(opening, price)
    return None if high < price else max(opening, price)


def stop_limit(order: WorkingOrder, opening: float, high: float, low: float, close: float) -> float | None:
    """Wait for the trigger as a stop, then fill at the limit or better.

    Triggered at the open, the bar is worked as by any limit order. Triggered within the bar, the order fills at the
    trigger where the limit allows that price, else only where the close proves that the price came back to the limit.
    """
    if order.status is _TRIGGERED or order.filled:
        return limit(order, opening, high, low, close)
    at = stop(order, opening, high, low, close)
    if at is None:
        return None
    order.status = _TRIGGERED
    if at == opening:
        return limit(order, opening, high, low, close)
    return _after(order, at, close)


def limit_if_touched(order: WorkingOrder, opening: float, high: float, low: float, close: float) -> float | None:
    """Wait for the trigger as `touched`, then fill at the limit or better.

    The price comes to the trigger from the other side, so a limit beyond the trigger is reached after it.
    """
    if order.status is _TRIGGERED or order.filled:
        return limit(order, opening, high, low, close)
    at = touched(order, opening, high, low, close)
    if at is None:
        return None
    order.status = _TRIGGERED
    return limit(order, at, high, low, close)


def trailing_stop(order: WorkingOrder, opening: float, high: float, low: float, close: float) -> float | None:
    """Work as a stop at the trigger of the bar before, then let the trigger follow the best price of this bar.

    The best price comes before the close, so a close beyond the moved trigger proves that it was hit: it fills there.
    """
    if order.trigger is not None and (at := stop(order, opening, high, low, close)) is not None:
        return at
    terms = order.need_terms()
    best = high if order.sign < 0 else low
    if terms.best is None or (best - terms.best) * order.sign < 0:
        terms.best = best
    distance = terms.trail if terms.trail is not None else terms.best * (terms.trail_ratio or 0.0)
    moved = order.book.grid.price(terms.best + order.sign * distance)
    if order.trigger is None or (moved - order.trigger) * order.sign < 0:
        order.trigger = moved
    return order.trigger if (close - order.trigger) * order.sign >= 0 else None


def _after(order: WorkingOrder, at: float, close: float) -> float | None:
    """Return the fill of a limit order that begins to work at price `at` within a bar."""
    price = order.limit
    assert price is not None
    if (price - at) * order.sign >= 0:
        return at
    return price if (price - close) * order.sign >= 0 else None


TOUCH: Mapping[OrderType, Touch] = {
    OrderType.MARKET: market,
    OrderType.LIMIT: limit,
    OrderType.STOP: stop,
    OrderType.STOP_LIMIT: stop_limit,
    OrderType.TRAILING_STOP: trailing_stop,
    OrderType.MARKET_IF_TOUCHED: touched,
    OrderType.LIMIT_IF_TOUCHED: limit_if_touched,
}
"""The rule of each type of order."""


def bar_after_entry(
    entry: WorkingOrder, at: float, opening: float, high: float, low: float, close: float
) -> tuple[float, float, float, float]:
    """Return what of a bar its exits may work on, when the entry filled at `at` within it.

    An entry at the open leaves the whole bar. Any other leaves: its own price as the open; the adverse extreme in
    full, which is the cautious reading; and the favourable extreme only where it must come later (after a stop entry,
    which the price passed on its way there), else no further than the close.
    """
    if at == opening:
        return opening, high, low, close
    proven = entry.type in (OrderType.STOP, OrderType.TRAILING_STOP)
    if entry.sign > 0:
        return at, high if proven else max(at, close), low, close
    return at, high, low if proven else min(at, close), close
