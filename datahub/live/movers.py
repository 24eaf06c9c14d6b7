"""What symbols did since their session opened or over a window, and who did most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from datahub.live.prices import Quote
from datahub.live.symbols import LiveSeries
from datahub.store.statements import SQL
from quasar.database.pool import Database
from quasar.model.bars import Bar
from quasar.model.instants import from_ns, to_ns
from quasar.model.intervals import Interval

MINUTE: Final = Interval.parse("1min")
"""Bars that windows are made of: every live symbol has them."""


@dataclass(frozen=True, slots=True)
class Move:
    """What a symbol did."""

    open: float
    high: float
    low: float
    last: float
    quote_volume: float
    """In units of the quote currency."""
    trades: int

    @classmethod
    def of_session(cls, quote: Quote) -> Move | None:
        """Return what a symbol did in its session; None: it did not trade."""
        if quote.session_open is None or quote.last is None:
            return None
        return cls(
            quote.session_open,
            quote.session_high,
            quote.session_low,
            quote.last,
            quote.session_value,
            quote.session_trades,
        )

    @property
    def change_ratio(self) -> float | None:
        """The change as a share of the first price."""
        return None if not self.open else self.last / self.open - 1.0


async def moves_since(
    database: Database,
    rows: Sequence[tuple[LiveSeries, Quote]],
    since_ns: int,
    newest: Callable[[LiveSeries], Sequence[Bar]] = lambda _: (),
) -> list[Move | None]:
    """Return what symbols did since an instant, by whole minutes; the one that it falls in counts.

    Args:
        database: Where the minutes are.
        rows: The symbols with their latest prices.
        since_ns: Begin of the window.
        newest: Returns the last minutes of a symbol, which may not be in the database, in order.
    """
    since_ns = MINUTE.floor_ns(since_ns)
    ids = [live.bars[MINUTE].series_id if MINUTE in live.bars else 0 for live, _ in rows]
    found = await database.fetch(SQL["minutes_since"], ids, from_ns(since_ns))
    sums = {row["series_id"]: row for row in found}
    moves: list[Move | None] = []
    for series_id, (live, quote) in zip(ids, rows, strict=True):
        row, move, after_ns = sums.get(series_id), None, since_ns - 1
        if row is not None:
            move = Move(row["open"], row["high"], row["low"], row["close"], row["quote_volume"], row["trades"])
            after_ns = to_ns(row["last_open"])
        for minute in newest(live):
            if minute.open_time_ns > after_ns:
                move = _with(move, minute)
        if move is not None and quote.last is not None:
            high, low = max(move.high, quote.last), min(move.low, quote.last)
            move = replace(move, high=high, low=low, last=quote.last)
        moves.append(None if quote.last is None else move)
    return moves


def _with(move: Move | None, minute: Bar) -> Move | None:
    """Return a move with a minute after it."""
    first, high, low, last = minute.open, minute.high, minute.low, minute.close
    if first is None or high is None or low is None or last is None:
        return move
    value = (minute.volume or 0.0) * (last if minute.vwap is None else minute.vwap)
    trades = minute.trade_count or 0
    if move is None:
        return Move(first, high, low, last, value, trades)
    worth = move.quote_volume + value
    return Move(move.open, max(move.high, high), min(move.low, low), last, worth, move.trades + trades)


def ranked(moves: Sequence[Move | None], ranking: int, least_quote_volume: float = 0.0) -> list[tuple[int, float]]:
    """Return places of moves and the values that they are ranked by, the first place first.

    Args:
        moves: What is ranked; None did not trade and is left out.
        ranking: A number of the contract's `MoverRanking`.
        least_quote_volume: Who traded less is left out.
    """
    value, order = RANKINGS[ranking]
    found = [
        (place, worth)
        for place, move in enumerate(moves)
        if move is not None and move.quote_volume >= least_quote_volume and (worth := value(move)) is not None
    ]
    return sorted(found, key=lambda each: order(each[1]))


def _span(move: Move) -> float | None:
    return (move.high - move.low) / move.open if move.open else None


RANKINGS: Final[Mapping[int, tuple[Callable[[Move], float | None], Callable[[float], float]]]] = {
    1: (lambda move: move.change_ratio, lambda value: -abs(value)),
    2: (lambda move: move.change_ratio, lambda value: -value),
    3: (lambda move: move.change_ratio, lambda value: value),
    4: (lambda move: move.quote_volume, lambda value: -value),
    5: (_span, lambda value: -value),
    6: (lambda move: float(move.trades), lambda value: -value),
}
"""Value and order of each ranking: change, gainers, losers, quote volume, range, trades."""
