from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest

from quasar import errors
from quasar.engine.backtest import CHUNK, run_backtest
from quasar.engine.grid import Grid
from quasar.engine.rules import MarketRules
from quasar.engine.series import Series
from quasar.model.bars import BarColumns
from quasar.strategy import SMA, Bar, Strategy
from tests.unit.engine.markets import MINUTE_NS, START_NS, flat, random_bars, series


class Pair(Strategy):
    max_symbols = 2

    def on_start(self) -> None:
        self.seen: list[tuple[str, int, float]] = []

    def on_bar(self, bar: Bar) -> None:
        other = "B" if bar.symbol == "A" else "A"
        self.seen.append((bar.symbol, bar.index, self.holding(other).quantity))
        if bar.symbol == "A" and bar.index == 0:
            self.buy(1, symbol="B")


def test_bars_of_one_instant_are_all_worked_before_the_strategy_sees_any() -> None:
    strategy = Pair()
    lanes = [series(*flat(price, 3), symbol=name, grid=Grid(2)) for name, price in (("A", 10.0), ("B", 20.0))]
    result = run_backtest(strategy, lanes)
    assert strategy.seen == [("A", 0, 0), ("B", 0, 0), ("A", 1, 1), ("B", 1, 0), ("A", 2, 1), ("B", 2, 0)]
    assert result.fills.bar.tolist() == [1]


def test_an_order_is_never_filled_on_a_bar_that_opened_before_it_was_given() -> None:
    strategy = Pair()
    hourly = series((20, 20, 20, 20), (30, 30, 30, 30), symbol="B", interval="1h", grid=Grid(2))
    result = run_backtest(strategy, [series(*flat(10.0, 130), symbol="A", grid=Grid(2)), hourly])
    assert (result.fills.bar.tolist(), result.fills.price.tolist()) == ([1], [30.0])


def test_equity_of_several_series_is_marked_at_every_instant() -> None:
    lanes = [
        series(*flat(10.0, 4), symbol="A", grid=Grid(2)),
        series((20, 20, 20, 20), (21, 22, 21, 22), (23, 23, 23, 23), symbol="B", grid=Grid(2)),
    ]
    result = run_backtest(Pair(), lanes, MarketRules(cash=Decimal(1000)))
    assert result.time_ns.tolist() == [START_NS + row * MINUTE_NS for row in range(1, 5)]
    assert result.equity.tolist() == [1000.0, 1001.0, 1002.0, 1002.0]
    assert result.final_equity == Decimal(1002)


class Zoom(Strategy):
    def on_start(self) -> None:
        self.slow = self.indicator(SMA(2), interval="5min")
        self.bars: list[tuple[str, float]] = []

    def on_bar(self, bar: Bar) -> None:
        self.bars.append((bar.interval, self.slow.value))
        if len(self.bars) == 1:
            self.buy(1)


def test_of_several_intervals_of_a_symbol_the_finest_trades() -> None:
    minutes = series(*[(price,) * 4 for price in range(1, 16)], grid=Grid(2))
    fives = series((1, 5, 1, 5), (6, 10, 6, 10), (11, 15, 11, 15), interval="5min", grid=Grid(2))
    strategy = Zoom()
    result = run_backtest(strategy, [fives, minutes])
    assert result.fills.price.tolist() == [2.0]
    assert [value for interval, value in strategy.bars if interval == "5min"] == [7.5, 12.5]
    assert [value for interval, value in strategy.bars if interval == "1min"][8:11] == [
        pytest.approx(np.nan, nan_ok=True),
        7.5,
        7.5,
    ]


class Timed(Strategy):
    def on_start(self) -> None:
        self.woken: list[tuple[str, dt.datetime]] = []
        self.set_timer("once", at=dt.datetime(2024, 1, 1, 0, 2, 30, tzinfo=dt.UTC))

    def on_bar(self, bar: Bar) -> None:
        if bar.index == 0:
            self.set_timer("often", every=dt.timedelta(minutes=2))

    def on_timer(self, name: str) -> None:
        self.woken.append((name, self.now))


def test_timers_fire_in_event_time_and_in_order() -> None:
    strategy = Timed()
    run_backtest(strategy, [series(*flat(1.0, 6))])
    at = [(name, time.minute, time.second) for name, time in strategy.woken]
    assert at == [("once", 2, 30), ("often", 3, 0), ("often", 5, 0)]


class Quiet(Strategy):
    def on_bar(self, bar: Bar) -> None:
        if bar.index == 5:
            self.log(f"equity {self.equity:.0f}")


def test_progress_is_told_and_may_end_the_run() -> None:
    lane = Series("X", random_bars(CHUNK + 10, 1), "1min", Grid(2))
    told: list[tuple[int, int]] = []
    result = run_backtest(Quiet(), [lane], progress=lambda done, total: told.append((done, total)))
    assert told == [(CHUNK, CHUNK + 10), (CHUNK + 10, CHUNK + 10)]
    assert [(note.level, note.message) for note in result.notes] == [("info", "equity 100000")]

    def stop(done: int, total: int) -> None:
        raise errors.Cancelled

    with pytest.raises(errors.Cancelled):
        run_backtest(Quiet(), [lane], progress=stop)


def test_the_same_run_gives_the_same_result() -> None:
    lanes = [Series(name, random_bars(500, seed), "1min", Grid(2)) for seed, name in enumerate("AB")]
    first, second = (run_backtest(Pair(), lanes) for _ in range(2))
    assert first.rows == second.rows
    assert first.equity.tolist() == second.equity.tolist()


def test_a_strategy_waits_until_its_indicators_are_ready() -> None:
    class Waiting(Strategy):
        first: int | None = None

        def on_start(self) -> None:
            self.average = self.indicator(SMA(7))

        def on_bar(self, bar: Bar) -> None:
            if self.first is None:
                self.first = bar.index
                assert self.average.ready

    strategy = Waiting()
    run_backtest(strategy, [series(*flat(1.0, 10))])
    assert strategy.first == 6
    short = Waiting()
    run_backtest(short, [series(*flat(1.0, 5))])
    assert short.first is None


def test_history_ends_with_the_bar_at_hand() -> None:
    class Historian(Strategy):
        def on_bar(self, bar: Bar) -> None:
            columns: BarColumns = self.history(3)
            assert columns.close[-1] == bar.close
            assert len(columns) == min(3, bar.index + 1)

    run_backtest(Historian(), [Series("X", random_bars(50, 2), "1min", Grid(2))])


@pytest.mark.parametrize(
    ("lanes", "message"),
    [
        ([], "must run on 1 to 1 symbols, was given 0"),
        ([series(*flat(1, 1)), series(*flat(1, 1), symbol="Y")], "was given 2"),
        ([series(*flat(1, 1)), series(*flat(1, 1))], "must differ in symbol or interval"),
        ([series()], "must be there, was none"),
    ],
)
def test_series_that_the_strategy_cannot_run_on_are_refused(lanes: list[Series], message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        run_backtest(Quiet(), lanes)
