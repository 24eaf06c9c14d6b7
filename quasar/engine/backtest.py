"""The back-test: the columns of all series, merged by the time at which their bars are known, past one strategy.

What makes it fast, measured on CPython 3.11: columns are read through memoryviews (turning a million rows into lists
costs more than the run), one bar object per series is refilled by the `for` statement itself, indicators are whole
columns, several series are merged once by a stable argsort, money is integers, and a bar without orders allocates
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from quasar import errors
from quasar.engine.book import Book
from quasar.engine.indicators import Indicator
from quasar.engine.ledger import FillRow, Ledger
from quasar.engine.result import BacktestResult, exact_fill
from quasar.engine.rules import MarketRules
from quasar.engine.series import BarView, Series, column_view
from quasar.engine.simulation import Simulation
from quasar.engine.working import WorkingOrder
from quasar.model.bars import BarColumns
from quasar.model.orders import Fill

if TYPE_CHECKING:  # quasar.strategy is built on this package
    from quasar.strategy import Strategy

CHUNK: Final = 65_536
"""Bars between two reports of progress."""

Row = tuple[int, int, int, float, float, float, float, float]
Rows = Iterator[Row]
Progress = Callable[[int, int], None]
"""(bars done, bars in all); it may raise to end the run."""


@dataclass(slots=True)
class Lane:
    """One series on its way past the strategy."""

    series: Series
    book: Book
    bar: BarView
    trades: bool
    """Whether its bars work orders: only those of the symbol's finest series do."""
    first: int = 0
    """Index of the first bar that the strategy sees."""
    advancing: list[tuple[Indicator, Callable[[], float]]] = field(default_factory=list)
    """Each indicator with the function that gives its next value."""

    def rows(self, start: int, stop: int | None = None) -> Rows:
        """Iterate over index, open time, close time, open, high, low, close and volume."""
        bars = self.series.bars
        end = len(bars) if stop is None else stop
        columns = (
            bars.open_time_ns,
            self.series.close_time_ns,
            bars.open,
            bars.high,
            bars.low,
            bars.close,
            bars.volume,
        )
        views: list[Any] = [column_view(column)[start:end] for column in columns]
        return zip(range(start, end), *views, strict=True)


def run_backtest(
    strategy: Strategy,
    series: Sequence[Series],
    rules: MarketRules | None = None,
    *,
    keep_intents: bool = False,
    progress: Progress | None = None,
) -> BacktestResult:
    """Run a strategy over bars of the past.

    Args:
        strategy: A fresh instance.
        series: What it sees. Of several series of one symbol, that with the shortest bars trades.
        rules: How orders fill and what they cost.
        keep_intents: Keep every intent in the result, for comparison with live trading.
        progress: Called every 65,536 bars.

    Returns:
        Fills, equity, trades and figures.

    Raises:
        InvalidArgument: There are no bars, a series comes twice, or the strategy takes another number of symbols.
        Exception: Whatever the strategy raises.
    """
    run = _Run(strategy, series, rules or MarketRules(), keep_intents=keep_intents)
    run.start()
    if len(run.lanes) == 1:
        run.run_single(run.lanes[0], progress)
    else:
        run.run_merged(progress)
    return run.finish()


class _Run:
    def __init__(self, strategy: Strategy, series: Sequence[Series], rules: MarketRules, *, keep_intents: bool) -> None:
        _check(strategy, series)
        self.strategy = strategy
        self.rules = rules
        trading = _finest(series)
        ledger = Ledger(rules, ((symbol, own.grid) for symbol, own in trading.items()))
        self.market = Simulation(rules, ledger, self.history, keep_intents=keep_intents)
        self.market.mixed = len(series) > 1
        self.lanes = [self._lane(own, trading[own.symbol] is own) for own in series]
        self.trading = list(trading.values())
        self.untold: list[tuple[WorkingOrder, Fill | None]] = []
        strategy.attach(self.market)

    def _lane(self, series: Series, trades: bool) -> Lane:
        book = self.market.books[series.symbol]
        bar = book.bar if trades else BarView(series.symbol)
        bar.interval = series.interval
        return Lane(series, book, bar, trades)

    def history(self, symbol: str, interval: str, count: int) -> BarColumns:
        lane = self._find(symbol, interval)
        stop = lane.bar.index + 1
        return lane.series.bars[max(0, stop - count) : stop]

    def _find(self, symbol: str, interval: str) -> Lane:
        for lane in self.lanes:
            if lane.series.symbol == symbol and interval in {"", lane.series.interval}:
                return lane
        raise errors.InvalidArgument(f"series must be among those of the run, was {symbol} {interval}")

    def start(self) -> None:
        """Let the strategy prepare, and compute what it asked for."""
        market, strategy = self.market, self.strategy
        if strategy.overrides("on_fill"):
            market.on_fill = self._hear_fill
        if strategy.overrides("on_order"):
            market.on_order = self._hear_order
        for lane in self.lanes:
            lane.first = max(0, strategy.warm_up - 1)
        market.starting = True
        strategy.on_start()
        market.starting = False
        columns: list[tuple[Lane, Indicator, memoryview]] = []
        for request in market.requests:
            lane, indicator = self._find(request.symbol, request.interval), request.indicator
            indicator.bind(lane.book.grid)
            lane.first = max(lane.first, indicator.length - 1)
            columns.append((lane, indicator, column_view(indicator.column(lane.series.bars))))
        for lane, indicator, values in columns:
            lane.advancing.append((indicator, iter(values[lane.first :]).__next__))

    def _hear_fill(self, order: WorkingOrder, row: FillRow) -> None:
        ledger, book = self.market.ledger, order.book
        number = str(len(ledger.fills))
        fill = exact_fill(ledger, book, row, number, book.holding.lots, self.rules.currency, order.tag)
        self.untold.append((order, fill))

    def _hear_order(self, order: WorkingOrder) -> None:
        self.untold.append((order, None))

    def tell(self) -> None:
        """Tell the strategy what happened to its orders; as in live trading, after the whole bar was worked."""
        market, strategy = self.market, self.strategy
        before, clock_ns = market.current, market.clock_ns
        while self.untold:
            untold, self.untold[:] = self.untold.copy(), []
            for order, fill in untold:
                if fill is None:
                    strategy.on_order(order)
                else:
                    market.current, strategy.position = order.book, order.book.holding
                    market.clock_ns = fill.fill_time_ns
                    strategy.on_fill(fill)
                    market.clock_ns = clock_ns
        market.current, strategy.position = before, before.holding

    def run_single(self, lane: Lane, progress: Progress | None) -> None:
        """Run over one series."""
        total = len(lane.series)
        first = min(lane.first, total)
        if lane.book.orders:
            self._warm(lane, first)
        rows = lane.rows(first)
        for done in range(first, total, CHUNK):
            self._pass(lane, islice(rows, CHUNK))
            if progress is not None:
                progress(min(total, done + CHUNK), total)

    def _warm(self, lane: Lane, first: int) -> None:
        # Orders that were given in on_start work while the strategy waits for its indicators.
        bar, book, orders, work = lane.bar, lane.book, lane.book.orders, self.market.work
        for row in lane.rows(0, first):
            bar.index, bar.open_time_ns, bar.close_time_ns, bar.open, bar.high, bar.low, bar.close, bar.volume = row
            if orders:
                work(book)
                self.tell()

    def _pass(self, lane: Lane, rows: Rows) -> None:
        # The `for` statement fills the bar: unpacking into slots costs a third of assigning them one by one.
        bar, book, advancing, market = lane.bar, lane.book, lane.advancing, self.market
        orders, fresh, timers = book.orders, market.fresh, market.timers
        work, on_bar, tell, untold = market.work, self.strategy.on_bar, self.tell, self.untold
        for (
            bar.index,
            bar.open_time_ns,
            bar.close_time_ns,
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
        ) in rows:
            if orders:
                work(book)
                if untold:
                    tell()
            for indicator, following in advancing:
                indicator.value = following()
            if timers:
                market.due_timers(bar.close_time_ns, self.strategy.on_timer)
            on_bar(bar)
            if fresh:
                market.settle()
            if untold:
                tell()

    def run_merged(self, progress: Progress | None) -> None:
        """Run over several series: at each instant first all bars are worked, then the strategy sees them."""
        ids, ends, times = self._merge()
        rows = [lane.rows(0).__next__ for lane in self.lanes]
        start, reported, total = 0, 0, len(ids)
        for end, time_ns in zip(ends, times, strict=True):
            self.market.clock_ns = self.market.instant_ns = time_ns
            present = ids[start:end]
            self._instant(present, rows)
            start = end
            if progress is not None and end - reported >= CHUNK:
                reported = end
                progress(end, total)

    def _merge(self) -> tuple[list[int], list[int], list[int]]:
        """Return the lane of each bar by close time, where each instant ends, and the instants; the merge is stable."""
        times = np.concatenate([lane.series.close_time_ns for lane in self.lanes])
        ids = np.repeat(np.arange(len(self.lanes)), [len(lane.series) for lane in self.lanes])
        order = np.argsort(times, kind="stable")
        times, ids = times[order], ids[order]
        ends = np.append(np.flatnonzero(np.diff(times)) + 1, len(times))
        return ids.tolist(), ends.tolist(), times[ends - 1].tolist()

    def _instant(self, present: list[int], rows: list[Callable[[], Row]]) -> None:
        lanes, market = self.lanes, self.market
        for index in present:
            lane = lanes[index]
            bar, book = lane.bar, lane.book
            (
                bar.index,
                bar.open_time_ns,
                bar.close_time_ns,
                bar.open,
                bar.high,
                bar.low,
                bar.close,
                bar.volume,
            ) = rows[index]()
            if book.orders and lane.trades:
                market.work(book)
            if bar.index >= lane.first:
                for indicator, following in lane.advancing:
                    indicator.value = following()
        if self.untold:
            self.tell()
        if market.timers:
            market.due_timers(market.clock_ns, self.strategy.on_timer)
        self._decide(present)

    def _decide(self, present: list[int]) -> None:
        lanes, market, strategy = self.lanes, self.market, self.strategy
        for index in present:
            lane = lanes[index]
            if lane.bar.index >= lane.first:
                market.current = book = lane.book
                strategy.position = book.holding
                strategy.on_bar(lane.bar)
        if market.fresh:
            market.settle()
        if self.untold:
            self.tell()

    def finish(self) -> BacktestResult:
        """Let the strategy end, and hand over what came of the run."""
        self.strategy.on_stop()
        market = self.market
        return BacktestResult(
            rules=self.rules,
            lanes=self.trading,
            ledger=market.ledger,
            acted=market.acted,
            working=[order for book in market.books.values() for order in book.orders if order.is_open],
            intents_given=market.number,
            orders_cancelled=market.cancelled,
            bars=sum(len(lane.series) for lane in self.lanes),
            notes=market.notes,
            intents=market.intents or (),
        )


def _check(strategy: Strategy, series: Sequence[Series]) -> None:
    symbols = {own.symbol for own in series}
    least, most = strategy.min_symbols, strategy.max_symbols
    if not least <= len(symbols) <= most:
        raise errors.InvalidArgument(f"the strategy must run on {least} to {most} symbols, was given {len(symbols)}")
    names = [(own.symbol, own.interval) for own in series]
    if len(set(names)) != len(names):
        raise errors.InvalidArgument(f"series must differ in symbol or interval, was {names}")
    for own in series:
        if not len(own):
            raise errors.InvalidArgument(f"bars of {own.symbol} must be there, was none")
        if strategy.intervals and own.interval not in strategy.intervals:
            allowed = ", ".join(strategy.intervals)
            raise errors.InvalidArgument(f"interval must be one of {allowed}, was {own.interval or 'not said'}")


def _finest(series: Sequence[Series]) -> Mapping[str, Series]:
    """Return for each symbol the series that trades, symbols in the order of their first series."""
    found: dict[str, Series] = {}
    for own in series:
        if own.symbol not in found or own.step_ns < found[own.symbol].step_ns:
            found[own.symbol] = own
    return found
