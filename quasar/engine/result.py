"""What a back-test leaves: fills, equity and trades in columns, computed from the log of fills after the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np
import numpy.typing as npt

from quasar.engine.book import Book
from quasar.engine.desk import Note
from quasar.engine.grid import exact
from quasar.engine.ledger import FillRow, Ledger
from quasar.engine.rules import MarketRules
from quasar.engine.series import Series
from quasar.engine.statistics import Statistics, measure
from quasar.engine.trades import Trades, round_trips
from quasar.engine.working import WorkingOrder
from quasar.model.columns import FloatArray, Int64Array, ascending
from quasar.model.orders import Fill, LiquiditySide, Order, OrderIntent, OrderSide, backtest_order_id

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FillColumns:
    """Fills in columns of one length, in the order in which they happened."""

    symbol: npt.NDArray[np.int64]
    """int64: index into `BacktestResult.symbols`."""
    bar: IntArray
    """int64: index of the bar in the symbol's series."""
    time_ns: Int64Array
    """int64: open time of that bar, nanoseconds UTC."""
    side: IntArray
    """int64: +1 buy, -1 sell."""
    quantity: FloatArray
    """float64: units of the instrument, above 0."""
    price: FloatArray
    """float64: the double nearest to the exact price."""
    commission: FloatArray
    """float64: account currency, unrounded."""


@dataclass(frozen=True)
class BacktestResult:
    """Everything that came of one run. What costs time is computed on first use and kept."""

    rules: MarketRules
    lanes: Sequence[Series]
    """The series that traded, one for each symbol, in the order of the books."""
    ledger: Ledger
    """Its log of fills, final cash and positions."""
    acted: Sequence[WorkingOrder]
    """Orders that filled, were rejected or expired."""
    working: Sequence[WorkingOrder]
    """Orders that were still open at the end."""
    intents_given: int
    """How many orders, cancellations and changes the strategy asked for."""
    orders_cancelled: int
    """How many of them were cancelled with nothing filled; they are counted, not kept."""
    bars: int
    """How many bars were worked, over all series."""
    notes: Sequence[Note] = ()
    """What the strategy wrote."""
    intents: Sequence[OrderIntent] = ()
    """What it asked for, when the run was told to keep it."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """What was traded."""
        return tuple(self.ledger.books)

    @property
    def rows(self) -> Sequence[FillRow]:
        """The fills in integers."""
        return self.ledger.fills

    @cached_property
    def _books(self) -> list[Book]:
        return list(self.ledger.books.values())

    @cached_property
    def time_ns(self) -> Int64Array:
        """Close times at which equity is known: int64, one for each bar, or for each instant of several series."""
        times = [lane.close_time_ns for lane in self.lanes]
        return times[0] if len(times) == 1 else ascending(np.concatenate(times))

    @cached_property
    def equity(self) -> FloatArray:
        """Cash and positions marked to the last close, at each of `time_ns`: float64."""
        return self._cash_steps + self._position_values

    @cached_property
    def cash(self) -> FloatArray:
        """Cash at each of `time_ns`: float64."""
        return self._cash_steps

    @cached_property
    def _fill_rows(self) -> IntArray:
        """For each fill the index into `time_ns` of the bar in which it happened."""
        bars = np.array([row.bar for row in self.rows], dtype=np.int64)
        if len(self.lanes) == 1:
            return bars
        books = np.array([row.book for row in self.rows], dtype=np.int64)
        found = np.zeros(len(bars), dtype=np.int64)
        for index, lane in enumerate(self.lanes):
            own = books == index
            found[own] = np.searchsorted(self.time_ns, lane.close_time_ns[bars[own]])
        return found

    @cached_property
    def _cash_steps(self) -> FloatArray:
        scale = 10**self.ledger.money_decimals
        start = float(self.rules.cash)
        return _steps(len(self.time_ns), self._fill_rows, start, [row.cash / scale for row in self.rows])

    @cached_property
    def _position_values(self) -> FloatArray:
        value = np.zeros(len(self.time_ns))
        books = np.array([row.book for row in self.rows], dtype=np.int64)
        lots = np.array([row.signed_lots for row in self.rows], dtype=np.int64)
        for book, lane in zip(self._books, self.lanes, strict=True):
            own = books == book.index
            if not own.any():
                continue
            held = np.cumsum(lots[own]) / book.size_scale * float(book.grid.multiplier)
            value += _steps(len(value), self._fill_rows[own], 0.0, held) * self._marks(lane)
        return value

    @property
    def _is_held(self) -> npt.NDArray[np.bool_]:
        books = np.array([row.book for row in self.rows], dtype=np.int64)
        lots = np.array([row.signed_lots for row in self.rows], dtype=np.int64)
        held = np.zeros(len(self.time_ns), dtype=bool)
        for index in range(len(self.lanes)):
            own = books == index
            held |= _steps(len(held), self._fill_rows[own], 0.0, np.cumsum(lots[own]).astype(np.float64)) != 0.0
        return held

    def _marks(self, lane: Series) -> FloatArray:
        if len(self.lanes) == 1:
            return lane.bars.close
        last = np.searchsorted(lane.close_time_ns, self.time_ns, side="right") - 1
        return np.where(last < 0, 0.0, lane.bars.close[np.maximum(last, 0)])

    @property
    def final_equity(self) -> Decimal:
        """Equity at the end, exact."""
        return self.ledger.exact_amount(self.ledger.equity)

    @property
    def final_cash(self) -> Decimal:
        """Cash at the end, exact."""
        return self.ledger.exact_amount(self.ledger.cash)

    @property
    def final_positions(self) -> dict[str, Decimal]:
        """What is held at the end, exact, by symbol; symbols that are flat are left out."""
        return {book.symbol: book.grid.exact_size(book.holding.lots) for book in self._books if book.holding}

    @cached_property
    def fills(self) -> FillColumns:
        """The fills in columns."""
        rows, books = self.rows, self._books
        scale = 10**self.ledger.money_decimals
        return FillColumns(
            np.array([row.book for row in rows], dtype=np.int64),
            np.array([row.bar for row in rows], dtype=np.int64),
            np.array([row.time_ns for row in rows], dtype=np.int64),
            np.array([1 if row.signed_lots > 0 else -1 for row in rows], dtype=np.int64),
            np.array([abs(row.signed_lots) / books[row.book].size_scale for row in rows], dtype=np.float64),
            np.array([row.units / books[row.book].fine_scale for row in rows], dtype=np.float64),
            np.array([row.commission / scale for row in rows], dtype=np.float64),
        )

    def exact_fills(self) -> Iterator[Fill]:
        """Iterate over the fills as exact values, numbered from 1."""
        held: dict[int, int] = {}
        for number, row in enumerate(self.rows, 1):
            held[row.book] = held.get(row.book, 0) + row.signed_lots
            book = self._books[row.book]
            yield exact_fill(self.ledger, book, row, str(number), held[row.book], self.rules.currency)

    def orders(self) -> Iterator[Order]:
        """Iterate over the orders that filled, were rejected, expired, or still work, as exact values."""
        seen: set[int] = set()
        for order in (*self.acted, *self.working):
            if id(order) not in seen:
                seen.add(id(order))
                yield order.snapshot()

    @cached_property
    def trades(self) -> Trades:
        """The round trips, first in first out."""
        return round_trips(self.rows, self._books, self.lanes, self.ledger.money_decimals)

    @cached_property
    def statistics(self) -> Statistics:
        """The standard figures."""
        exposure = float(np.mean(self._is_held)) if len(self.time_ns) else 0.0
        return measure(self.time_ns, self.equity, self.trades, start=float(self.rules.cash), exposure=exposure)


def exact_fill(
    ledger: Ledger, book: Book, row: FillRow, fill_id: str, position_lots: int, currency: str, tag: str = ""
) -> Fill:
    """Return one row of the log as an exact value."""
    grid = book.grid
    return Fill(
        fill_id=fill_id,
        client_order_id=backtest_order_id(row.number, row.leg),
        symbol=book.symbol,
        side=OrderSide.BUY if row.signed_lots > 0 else OrderSide.SELL,
        quantity=grid.exact_size(abs(row.signed_lots)),
        price=exact(row.units, book.fine_decimals),
        commission=ledger.exact_amount(row.commission),
        fill_time_ns=row.time_ns,
        currency=currency,
        liquidity_side=LiquiditySide.MAKER if row.maker else LiquiditySide.TAKER,
        position_after=grid.exact_size(position_lots),
        bar_index=row.bar,
        tag=tag,
    )


def _steps(length: int, rows: IntArray, start: float, values: Sequence[float] | FloatArray) -> FloatArray:
    """Return a step function: `start`, and from each row on the last value given for it."""
    levels = np.concatenate(([start], np.asarray(values, dtype=np.float64)))
    return levels[np.searchsorted(rows, np.arange(length), side="right")]
