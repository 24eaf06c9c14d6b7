from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from quasar import errors
from quasar.engine.grid import Grid
from quasar.engine.indicators import ATR, EMA, RSI, SMA, Highest, Indicator, Lowest, Momentum, StdDev
from quasar.engine.series import BarView
from quasar.model.bars import BarColumns
from tests.unit.engine.markets import bars, random_bars


def one_by_one(indicator: Indicator, columns: BarColumns) -> list[float]:
    view, values = BarView("X"), []
    for bar in columns.bars():
        view.open, view.high, view.low, view.close = bar.open, bar.high, bar.low, bar.close
        values.append(indicator.update(view))
    return values


MAKERS = [SMA, StdDev, EMA, Highest, Lowest, ATR, RSI, Momentum]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("length", [1, 2, 14])
def test_a_column_holds_to_the_last_bit_what_single_bars_give(make: type[Indicator], length: int) -> None:
    columns = random_bars(300, 11)
    whole, single = make(length), make(length)
    for indicator in (whole, single):
        indicator.bind(Grid(2))
    expected = np.array(one_by_one(single, columns))
    np.testing.assert_array_equal(whole.column(columns), expected)
    assert np.isnan(expected[: whole.length - 1]).all()
    assert np.isfinite(expected[whole.length - 1 :]).all()


def test_the_average_is_the_double_nearest_to_the_exact_one() -> None:
    columns = random_bars(500, 5)
    average = SMA(30)
    average.bind(Grid(2))
    cents = [Fraction(round(close * 100), 100) for close in columns.close.tolist()]
    expected = [float(sum(cents[row - 29 : row + 1], Fraction(0)) / 30) for row in range(29, 500)]
    assert average.column(columns)[29:].tolist() == expected


def test_averages_that_are_equal_compare_equal() -> None:
    # 0.1 + 0.2 is not 0.3 in doubles; the averages of (0.1, 0.2) and of (0.1, 0.2, 0.15) are both 0.15.
    columns = bars(*[(price,) * 4 for price in (0.15, 0.1, 0.2)])
    short, long = SMA(2), SMA(3)
    for indicator in (short, long):
        indicator.bind(Grid(2))
    assert short.column(columns)[2] == long.column(columns)[2] == 0.15


def test_an_average_of_very_long_sums_is_exact_too() -> None:
    columns = bars(*[(price,) * 4 for price in (90_000.12345678, 90_000.12345679)] * 30_000)
    average, single = SMA(20_000), SMA(20_000)
    for indicator in (average, single):
        indicator.bind(Grid(8))
    assert average.column(columns)[-1] == one_by_one(single, columns)[-1] == 90_000.123456785


def test_known_values() -> None:
    columns = bars((10, 11, 9, 10), (10, 12, 10, 12), (12, 13, 9, 9), (9, 10, 8, 10))
    wanted = {
        EMA(3): 10.0 + 0.0,
        Highest(3): 13.0,
        Lowest(2): 8.0,
        Momentum(2): 10 / 12 - 1,
        StdDev(2): 0.5,
        # Ranges 2, 2, 4, 2; mean of the first three 8/3, then (8/3 * 2 + 2) / 3.
        ATR(3): (8 / 3 * 2 + 2) / 3,
        # Gains 2, 0, 1 and losses 0, 3, 0: means over two (1, 1.5), then ((1 + 1) / 2, (1.5 + 0) / 2).
        RSI(2): 100 * 1.0 / 1.75,
    }
    for indicator, value in wanted.items():
        indicator.bind(Grid(2))
        assert indicator.column(columns)[-1] == pytest.approx(value), type(indicator).__name__


def test_the_rsi_of_a_market_that_stands_still_is_fifty() -> None:
    assert RSI(2).column(bars(*[(5, 5, 5, 5)] * 4))[-1] == 50.0


def test_fewer_bars_than_the_length_give_no_value() -> None:
    average = SMA(10)
    values = average.column(random_bars(5, 1))
    assert len(values) == 5
    assert np.isnan(values).all()
    assert not average.ready


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(errors.InvalidArgument, match="length must be at least 1, was 0"):
        SMA(0)


class Spread(Indicator):
    sources = ("high", "low")

    def update(self, bar: BarView) -> float:
        return bar.high - bar.low


def test_an_authors_own_indicator_needs_update_only() -> None:
    values = Spread(1).column(bars((10, 12, 9, 11), (11, 11.5, 11, 11)))
    assert values.tolist() == [3.0, 0.5]
    assert not math.isnan(values[0])
