from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar import errors
from quasar.engine.backtest import run_backtest
from quasar.engine.grid import Grid, detect_price_decimals, exact
from quasar.engine.rules import MarketRules
from quasar.engine.series import Series
from quasar.strategy import Bar, Strategy
from tests.unit.engine.markets import bars, flat, series


@given(st.integers(-(10**9), 10**9), st.integers(0, 6))
def test_a_price_on_the_grid_stays_as_it_is(units: int, decimals: int) -> None:
    grid = Grid(decimals)
    written = exact(units, decimals)
    assert grid.price(float(written)) == grid.price(written) == grid.price(str(written)) == float(written)
    assert grid.exact_price(float(written)) == written
    assert grid.units(float(written)) == units


def test_a_price_off_the_grid_goes_to_the_nearest_tick() -> None:
    assert Grid(2).price(100.29999999999998) == 100.3
    assert Grid(2, price_tick=25).price(100.4) == 100.5
    assert Grid(2, price_tick=25).price("100.3") == 100.25


def test_rounding_down_does_not_fall_for_the_noise_of_doubles() -> None:
    grid = Grid(2)
    for cents in range(1, 100_000, 7):
        assert grid.floor(cents / 100 * 0.98) == (cents * 98 // 100) / 100
    assert grid.ceil(100.001) == 100.01
    assert grid.ceil(0.1 + 0.2) == 0.3


def test_a_size_is_cut_to_whole_lots() -> None:
    assert Grid(2, 3).lots("1.23456") == 1234
    assert Grid(2, 3).lots(1.234) == 1234
    assert Grid(2).lots(7) == 7


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x", None])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(errors.InvalidArgument):
        Grid(2).price(value)  # type: ignore[arg-type]  # an author's mistake


@pytest.mark.parametrize("decimals", range(8))
def test_the_decimals_of_prices_are_found(decimals: int) -> None:
    units = np.random.default_rng(decimals).integers(1, 10**7, 1000) * 10 + 1
    assert detect_price_decimals(units / 10**decimals) == decimals


def test_prices_with_more_digits_than_a_double_holds_get_the_most_that_it_can() -> None:
    assert detect_price_decimals(np.array([123.45678901234567, 1.0])) == 9
    assert detect_price_decimals(np.array([123_456_789.12345678])) <= 6


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(1.0, 1.0, 1.0, float("nan"))], "close must be finite"),
        ([(1.0, 2.0, 1.5, 1.7)], "open must lie between low and high"),
        ([(1.0, 1.0, 1.0, 1.0), (1.0, 0.9, 1.0, 1.0)], "in row 1"),
    ],
)
def test_bars_that_cannot_be_are_refused(rows: list[tuple[float, ...]], message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        series(*rows)


def test_bars_out_of_order_are_refused() -> None:
    columns = bars((1, 1, 1, 1), (1, 1, 1, 1))[np.array([1, 0])]
    with pytest.raises(errors.InvalidArgument, match="must ascend strictly by open time"):
        Series("X", columns)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"price_decimals": 13}, "0 to 12, was 13"),
        ({"price_tick": 0}, "at least 1"),
        ({"multiplier": Decimal(0)}, "above 0"),
    ],
)
def test_a_grid_out_of_range_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        Grid(**fields)  # type: ignore[arg-type]  # mixed field types


@pytest.mark.parametrize(
    ("grid", "asked", "wanted"),
    [
        (Grid(2, 1, size_step=5), "0.74", 5),
        (Grid(2, 1, size_step=5), 3, 30),
        (Grid(2, 0, size_step=25), 60, 50),
        (Grid(2, 0, size_step=25), "-60", -50),
        (Grid(2, 0, size_step=25), 24, 0),
    ],
)
def test_a_size_is_cut_to_the_step_where_that_is_no_power_of_ten(grid: Grid, asked: object, wanted: int) -> None:
    assert grid.lots(asked) == wanted  # type: ignore[arg-type]  # a number or a text


class Sizer(Strategy):
    """Sizes an order in each of the ways that the SDK has, then goes flat."""

    def on_bar(self, bar: Bar) -> None:
        if bar.index == 0:
            self.buy(notional=1099)
        elif bar.index == 2:
            self.buy(fraction="0.5")
        elif bar.index == 4:
            self.order_target(7)
        elif bar.index == 6:
            self.close()


@pytest.mark.parametrize(
    ("step", "decimals", "wanted"),
    [(25, 1, [10, 45, -50, -5]), (5, 1, [10.5, 44.5, -48, -7]), (2, 0, [10, 44, -48, -6])],
)
def test_orders_that_the_sdk_sizes_lie_on_the_step(step: int, decimals: int, wanted: list[float]) -> None:
    grid = Grid(2, decimals, size_step=step)
    result = run_backtest(Sizer(), [series(*flat(100.0, 9), grid=grid)], MarketRules(cash=Decimal(10_000)))
    assert [float(each.quantity) * each.side.sign for each in result.exact_fills()] == wanted
