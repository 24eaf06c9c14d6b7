"""Round trips: what was bought and sold again, matched first in, first out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quasar.engine.book import Book
from quasar.engine.ledger import FillRow
from quasar.engine.series import Series
from quasar.model.columns import FloatArray

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trades:
    """Closed round trips in columns of one length, ordered by their exits."""

    symbol: IntArray
    """int64: index of the symbol."""
    direction: IntArray
    """int64: +1 long, -1 short."""
    quantity: FloatArray
    """float64: units, above 0."""
    entry_bar: IntArray
    """int64: bar of the entry in the symbol's series."""
    exit_bar: IntArray
    """int64: bar of the exit."""
    entry_price: FloatArray
    exit_price: FloatArray
    commission: FloatArray
    """float64: the part of both fills' commissions that falls on the quantity."""
    profit: FloatArray
    """float64: account currency, commission deducted."""
    mae: FloatArray
    """float64: maximum adverse excursion, price units, at least 0: how far the price went against the entry in the bars
    from entry to exit."""
    mfe: FloatArray
    """float64: maximum favourable excursion, price units, at least 0."""

    def __len__(self) -> int:
        """Return the number of round trips."""
        return len(self.symbol)

    @property
    def bars_held(self) -> IntArray:
        """int64: bars from entry to exit; 0 within one bar."""
        return self.exit_bar - self.entry_bar

    @property
    def ratio(self) -> FloatArray:
        """float64: profit in parts of the entry's notional."""
        notional = np.abs(self.entry_price * self.quantity)
        return np.divide(self.profit, notional, out=np.zeros(len(self)), where=notional > 0)


@dataclass(slots=True)
class _Lot:
    signed: int
    bar: int
    units: int
    commission_each: float


Match = tuple[int, int, int, int, int, int, int, float]
"""symbol, direction, lots, entry bar, exit bar, entry units, exit units, commission in money units."""


def _match(rows: Sequence[FillRow]) -> list[Match]:
    waiting: dict[int, deque[_Lot]] = {}
    found: list[Match] = []
    for row in rows:
        lots = waiting.setdefault(row.book, deque())
        left = row.signed_lots
        each = row.commission / abs(left)
        while left and lots and (lots[0].signed > 0) != (left > 0):
            lot = lots[0]
            size = min(abs(left), abs(lot.signed))
            direction = 1 if lot.signed > 0 else -1
            commission = size * (lot.commission_each + each)
            found.append((row.book, direction, size, lot.bar, row.bar, lot.units, row.units, commission))
            lot.signed -= direction * size
            left += direction * size
            if not lot.signed:
                lots.popleft()
        if left:
            lots.append(_Lot(left, row.bar, row.units, each))
    return found


def _extremes(column: FloatArray, first: IntArray, last: IntArray, reduce: np.ufunc) -> FloatArray:
    """Return the extreme of a column over each closed range of rows."""
    padded = np.append(column, column[-1])
    bounds = np.column_stack((first, last + 1)).ravel()
    return np.asarray(reduce.reduceat(padded, bounds)[::2], dtype=np.float64)


def round_trips(rows: Sequence[FillRow], books: Sequence[Book], lanes: Sequence[Series], money_decimals: int) -> Trades:
    """Match fills first in, first out; what is still held at the end is no trade yet.

    Args:
        rows: The log of fills.
        books: The books, by the index in the rows.
        lanes: The series that each book traded on.
        money_decimals: Digits of the ledger's money units.
    """
    found = _match(rows)
    columns = np.array([match[:5] for match in found], dtype=np.int64).reshape(-1, 5).T
    symbol, direction, _, entry_bar, exit_bar = (np.ascontiguousarray(column) for column in columns)
    fine = [book.fine_scale for book in books]
    entry = np.array([match[5] / fine[match[0]] for match in found], dtype=np.float64)
    leave = np.array([match[6] / fine[match[0]] for match in found], dtype=np.float64)
    quantity = np.array([match[2] / books[match[0]].size_scale for match in found], dtype=np.float64)
    commission = np.array([match[7] / 10**money_decimals for match in found], dtype=np.float64)
    multiplier = np.array([float(books[match[0]].grid.multiplier) for match in found], dtype=np.float64)
    low, high = np.empty(len(found)), np.empty(len(found))
    for index, lane in enumerate(lanes):
        own = symbol == index
        if own.any():
            low[own] = _extremes(lane.bars.low, entry_bar[own], exit_bar[own], np.minimum)
            high[own] = _extremes(lane.bars.high, entry_bar[own], exit_bar[own], np.maximum)
    rise, fall = np.maximum(high - entry, 0.0), np.maximum(entry - low, 0.0)
    long = direction > 0
    return Trades(
        symbol=symbol,
        direction=direction,
        quantity=quantity,
        entry_bar=entry_bar,
        exit_bar=exit_bar,
        entry_price=entry,
        exit_price=leave,
        commission=commission,
        profit=direction * quantity * (leave - entry) * multiplier - commission,
        mae=np.where(long, fall, rise),
        mfe=np.where(long, rise, fall),
    )
