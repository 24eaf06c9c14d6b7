"""The rarer terms of an order, as authors write them, turned into those of a working order."""

from __future__ import annotations

import datetime as dt
from typing import TypedDict

from quasar import errors
from quasar.engine.book import Book
from quasar.engine.grid import Number, as_decimal
from quasar.engine.working import Terms, WorkingOrder
from quasar.model.instants import to_ns
from quasar.model.order_states import OrderStatus
from quasar.model.orders import Bracket, BracketLeg, Contingency, OrderType, TimeInForce

DAY_NS = 86_400_000_000_000


class OrderTerms(TypedDict, total=False):
    """Keyword arguments of `buy`, `sell` and `bracket` beyond quantity, symbol, limit and stop."""

    touch: Number
    """Trigger in favour of the order: MARKET_IF_TOUCHED, with a limit LIMIT_IF_TOUCHED."""
    trail: Number
    """TRAILING_STOP at this distance in price."""
    trail_ratio: Number
    """TRAILING_STOP at this ratio of the best price (0.02 is 2 %)."""
    tif: TimeInForce
    """How long it works; GTC unless said, GTD when `expires` is set."""
    expires: dt.datetime | int
    """When it ends: an aware datetime or nanoseconds UTC."""
    fraction: Number
    """Instead of a quantity: what this part of the free equity buys, above 0 and at most 1. A simulation sizes it when
    it fills, live trading when it is given."""
    notional: Number
    """Instead of a quantity: an amount of the quote currency, at the last price, rounded down."""
    reduce_only: bool
    """Never open, enlarge or reverse a position."""
    post_only: bool
    """Limit orders only: be rejected instead of trading at once."""
    stop_loss: Number | BracketLeg
    """Exit at a loss, alive with the fills of this order: a price, or a `BracketLeg`."""
    take_profit: Number | BracketLeg
    """Exit at a gain: a price, or a `BracketLeg`."""
    group: str
    """Orders of one label act on each other by `contingency`."""
    contingency: Contingency
    """OCO unless said."""
    tag: str
    """A label that stands on the order and its fills."""


def _ratio(value: Number, field: str) -> float:
    number = as_decimal(value, field)
    if not 0 < number < 1:
        raise errors.InvalidArgument(f"{field} must be above 0 and below 1, was {value}")
    return float(number)


def _set_type(order: WorkingOrder, given: OrderTerms, grid_price: float | None) -> None:
    if grid_price is not None:
        order.trigger = grid_price
        order.type = OrderType.MARKET_IF_TOUCHED if order.limit is None else OrderType.LIMIT_IF_TOUCHED
    if "trail" in given or "trail_ratio" in given:
        if order.limit is not None or ("trail" in given and "trail_ratio" in given):
            raise errors.InvalidArgument("a trailing stop must have one distance and no limit, was given more")
        order.type = OrderType.TRAILING_STOP


def _set_distance(order: WorkingOrder, terms: Terms, given: OrderTerms) -> None:
    if (trail := given.get("trail")) is not None:
        terms.trail = float(as_decimal(trail, "trail"))
        if terms.trail <= 0:
            raise errors.InvalidArgument(f"trail must be above 0, was {trail}")
    if (ratio := given.get("trail_ratio")) is not None:
        terms.trail_ratio = _ratio(ratio, "trail_ratio")
    if order.type is OrderType.TRAILING_STOP:
        start_trailing(order, order.book.last)


def start_trailing(order: WorkingOrder, price: float) -> None:
    """Let a trailing stop begin at the market's price; before the first price it begins with the first bar."""
    terms = order.need_terms()
    if price != price:
        return
    terms.best = price
    if order.trigger is None:
        distance = terms.trail if terms.trail is not None else price * (terms.trail_ratio or 0.0)
        order.trigger = order.book.grid.price(price + order.sign * distance)


def _set_time(order: WorkingOrder, terms: Terms, given: OrderTerms) -> None:
    expires = given.get("expires")
    order.tif = given.get("tif", order.tif if expires is None else TimeInForce.GTD)
    if (order.tif is TimeInForce.GTD) != (expires is not None):
        raise errors.InvalidArgument(
            f"expires must be set for GTD and for nothing else, was {expires} with {order.tif.value}"
        )
    if expires is not None:
        terms.expire_time_ns = expires if isinstance(expires, int) else to_ns(expires, "expires")
    if order.tif is TimeInForce.AT_OPEN and order.book.bar.index >= 0:
        terms.session = order.book.bar.open_time_ns // DAY_NS


def _set_size(order: WorkingOrder, terms: Terms, given: OrderTerms) -> None:
    sizes = (order.lots > 0) + ("fraction" in given) + ("notional" in given)
    if sizes != 1:
        raise errors.InvalidArgument(
            f"an order must have one of quantity, fraction and notional, was given {sizes} of them"
        )
    if "fraction" in given:
        terms.fraction = as_decimal(given["fraction"], "fraction")
        if not 0 < terms.fraction <= 1:
            raise errors.InvalidArgument(f"fraction must be above 0 and at most 1, was {terms.fraction}")
    if "notional" in given:
        terms.notional = as_decimal(given["notional"], "notional")
        price = order.limit if order.limit is not None else order.book.last
        if terms.notional <= 0 or not price > 0:
            raise errors.InvalidArgument(f"notional must be above 0 and need a price, was {terms.notional} at {price}")
        order.lots = order.book.grid.lots(terms.notional / as_decimal(price, "price") / order.book.grid.multiplier)
        if order.lots <= 0:
            raise errors.InvalidArgument(
                f"notional must buy at least the smallest size, was {terms.notional} at {price}"
            )


def _leg(value: Number | BracketLeg) -> BracketLeg:
    return value if isinstance(value, BracketLeg) else BracketLeg(price=as_decimal(value, "exit price"))


def _check_leg(leg: BracketLeg, name: str) -> None:
    levels = (leg.price is not None) + (leg.offset is not None) + (leg.offset_ratio is not None)
    if levels != 1:
        raise errors.InvalidArgument(
            f"{name} must have one of price, offset and offset_ratio, was given {levels} of them"
        )
    if leg.trailing and leg.price is not None:
        raise errors.InvalidArgument(f"a trailing {name} must have an offset or offset_ratio, was given a price")


def _exit(order: WorkingOrder, leg: BracketLeg, number: int, tif: TimeInForce) -> WorkingOrder:
    book = order.book
    price = None if leg.price is None else book.grid.price(leg.price, "exit price")
    limit = None if leg.limit_price is None else book.grid.price(leg.limit_price, "limit_price")
    if number == 2:
        child = WorkingOrder(book, order.number, -order.sign, OrderType.LIMIT, 0, price, None)
    else:
        kind = OrderType.STOP if limit is None else OrderType.STOP_LIMIT
        kind = OrderType.TRAILING_STOP if leg.trailing else kind
        child = WorkingOrder(book, order.number, -order.sign, kind, 0, limit, price)
    child.leg = number
    child.tif = tif
    child.status = OrderStatus.HELD
    terms = child.need_terms()
    terms.reduce_only = True
    terms.parent = order
    terms.contingency = Contingency.OUO
    terms.tag = order.tag
    return child


def _set_bracket(order: WorkingOrder, terms: Terms, given: OrderTerms) -> None:
    stop = given.get("stop_loss")
    profit = given.get("take_profit")
    if stop is None and profit is None:
        return
    bracket = Bracket(
        stop_loss=None if stop is None else _leg(stop), take_profit=None if profit is None else _leg(profit)
    )
    terms.bracket = bracket
    for number, leg, name in ((1, bracket.stop_loss, "stop_loss"), (2, bracket.take_profit, "take_profit")):
        if leg is not None:
            _check_leg(leg, name)
            terms.children.append(_exit(order, leg, number, bracket.exit_time_in_force))
    if len(terms.children) == 2:
        first, second = terms.children
        first.need_terms().linked.append(second)
        second.need_terms().linked.append(first)


def apply_terms(order: WorkingOrder, given: OrderTerms, book: Book) -> None:
    """Put the rarer terms on an order.

    Raises:
        InvalidArgument: A term is out of range or does not go with the others; the message says which.
    """
    terms = order.need_terms()
    terms.tag = given.get("tag", "")
    terms.reduce_only = given.get("reduce_only", False)
    terms.post_only = given.get("post_only", False)
    touch = given.get("touch")
    if touch is not None and order.trigger is not None:
        raise errors.InvalidArgument("an order must have either stop or touch, was given both")
    _set_type(order, given, None if touch is None else book.grid.price(touch, "touch"))
    _set_size(order, terms, given)
    _set_distance(order, terms, given)
    _set_time(order, terms, given)
    _set_bracket(order, terms, given)
    if terms.post_only and order.type is not OrderType.LIMIT:
        raise errors.InvalidArgument(f"post_only must go with a limit order, was {order.type.value}")
    if given.get("group"):
        terms.group = given["group"]
        terms.contingency = given.get("contingency", Contingency.OCO)


def release_exit(child: WorkingOrder, leg: BracketLeg, entry_price: float) -> None:
    """Give a held exit its price, which may hang on the price of the entry, and let it work."""
    distance = None
    if leg.offset is not None:
        distance = float(leg.offset)
    elif leg.offset_ratio is not None:
        distance = entry_price * float(leg.offset_ratio)
    if distance is not None:
        # A stop-loss lies against the entry (its own side away from the price), a take-profit in favour of it.
        toward = child.sign if child.leg == 1 else -child.sign
        level = child.book.grid.price(entry_price + toward * distance)
        if child.leg == 2:
            child.limit = level
        elif leg.trailing:
            child.need_terms().trail = distance
            start_trailing(child, entry_price)
        else:
            child.trigger = level
    child.move(OrderStatus.ACCEPTED)
