"""The money of one account: exact cash, positions, what can be afforded, and the log of fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from quasar.engine.book import Book
from quasar.engine.commission import MoneyScale
from quasar.engine.grid import Grid, decimals_of, exact, scaled
from quasar.engine.rules import MarketRules

INSUFFICIENT_CASH: Final = "INSUFFICIENT_CASH"
SHORT_NOT_ALLOWED: Final = "SHORT_NOT_ALLOWED"


class FillRow(NamedTuple):
    """One fill in integers."""

    book: int
    """Index of the symbol."""
    bar: int
    """Index of the bar in the symbol's series."""
    time_ns: int
    signed_lots: int
    units: int
    """Price in fine units."""
    commission: int
    """Money units."""
    cash: int
    """Money units after the fill."""
    number: int
    """Intent number of the order."""
    leg: int
    maker: bool


class Ledger:
    """Cash and positions of one account over the books of its symbols."""

    def __init__(self, rules: MarketRules, instruments: Iterable[tuple[str, Grid]]) -> None:
        """Open the books and choose money units that are fine enough for every product that can arise."""
        self.books: dict[str, Book] = {
            symbol: Book(index, symbol, grid) for index, (symbol, grid) in enumerate(instruments)
        }
        self.allow_short = rules.allow_short
        digits = decimals_of(rules.margin)
        self._margin_top, self._margin_bottom = scaled(rules.margin, digits), int(10**digits)
        slip_decimals = rules.slippage.decimals
        notional = max((_notional_decimals(book.grid, slip_decimals) for book in self.books.values()), default=0)
        self.money_decimals = max(notional + rules.commission.decimals, decimals_of(rules.cash))
        self.cash = scaled(rules.cash, self.money_decimals)
        self.fills: list[FillRow] = []
        self.held: dict[int, Book] = {}
        for book in self.books.values():
            self._scale(book, rules)

    def _scale(self, book: Book, rules: MarketRules) -> None:
        grid = book.grid
        extra = rules.slippage.decimals
        book.fine = int(10**extra)
        book.fine_decimals = grid.price_decimals + extra
        book.fine_scale = grid.price_scale * book.fine
        digits = decimals_of(grid.multiplier)
        spare = self.money_decimals - book.fine_decimals - grid.size_decimals
        book.money = scaled(grid.multiplier, digits) * int(10 ** (spare - digits))
        book.charge = rules.commission.bind(MoneyScale(self.money_decimals, grid.size_decimals))
        book.slip = rules.slippage.bind(grid.price_tick * book.fine)

    def apply(self, book: Book, row: FillRow) -> None:
        """Take one fill in; `row.cash` is what `cash_after` said."""
        holding = book.holding
        holding.add(row.signed_lots, row.units / book.fine_scale, book.size_scale)
        self.cash = row.cash
        if holding.lots:
            self.held[book.index] = book
        else:
            self.held.pop(book.index, None)
        self.fills.append(row)

    def denial(self, book: Book, signed_lots: int, units: int, commission: int) -> str:
        """Return why a fill cannot be afforded; empty when it can.

        A fill that only reduces a position always can. Otherwise the equity left by it, valued at its price, must
        cover the margin of all positions.
        """
        before = book.holding.lots
        after = before + signed_lots
        if before and abs(after) <= abs(before) and (after >= 0) == (before > 0):
            return ""
        if after < 0 and not self.allow_short:
            return SHORT_NOT_ALLOWED
        value = units * book.money
        left = self.cash + before * value - commission
        need = abs(after) * value
        if len(self.held) > (book.index in self.held):
            more, bound = self._others(book)
            left, need = left + more, need + bound
        return INSUFFICIENT_CASH if left * self._margin_bottom < need * self._margin_top else ""

    def _others(self, book: Book) -> tuple[int, int]:
        others = [other for other in self.held.values() if other is not book]
        values = [other.holding.lots * other.last_units() * other.money for other in others]
        return sum(values), sum(map(abs, values))

    def affordable(self, book: Book, units: int, fraction: Decimal, *, maker: bool = False) -> int:
        """Return the most lots, on the step, that `fraction` of the free equity pays for, commission included."""
        value = units * book.money
        if value <= 0:
            return 0
        held = book.holding.lots * value
        more, bound = self._others(book)
        free = self.cash + held + more - (abs(held) + bound) * self._margin_top // self._margin_bottom
        digits = decimals_of(fraction)
        budget = free * scaled(fraction, digits) // int(10**digits)
        return book.grid.stepped(most_lots(budget, lambda lots: self._bound_by(book, lots, value, maker=maker)))

    def _bound_by(self, book: Book, lots: int, value: int, *, maker: bool) -> int:
        notional = lots * value
        return -(-notional * self._margin_top // self._margin_bottom) + book.charge(lots, notional, maker)

    @property
    def equity(self) -> int:
        """Cash and positions at their last prices, in money units."""
        return self.cash + sum(book.holding.lots * book.last_units() * book.money for book in self.held.values())

    def amount(self, money: int) -> float:
        """Return money units as a double."""
        return float(money / 10**self.money_decimals)

    def exact_amount(self, money: int) -> Decimal:
        """Return money units as the exact decimal."""
        return exact(money, self.money_decimals)


def _notional_decimals(grid: Grid, slip_decimals: int) -> int:
    return grid.price_decimals + slip_decimals + grid.size_decimals + decimals_of(grid.multiplier)


def most_lots(budget: int, cost: Callable[[int], int]) -> int:
    """Return the largest number of lots whose cost, which must not fall with their number, stays within a budget."""
    if budget <= 0 or cost(1) > budget:
        return 0
    high = 2
    while cost(high) <= budget:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if cost(middle) <= budget:
            low = middle
        else:
            high = middle
    return low
