from __future__ import annotations

import importlib
import math
from decimal import Decimal

import numpy as np
import pytest

from quasar.engine.backtest import run_backtest
from quasar.engine.commission import FixedCommission
from quasar.engine.grid import Grid
from quasar.engine.result import BacktestResult
from quasar.engine.rules import MarketRules
from quasar.engine.statistics import daily, drawdowns, longest_drawdown_ns, sharpe, sortino
from quasar.strategy import Bar, Strategy
from tests.unit.engine.markets import DAY_NS, series


class Trader(Strategy):
    def on_bar(self, bar: Bar) -> None:
        if bar.index == 0:
            self.buy(10)
        elif bar.index in (2, 3):
            self.sell(4 if bar.index == 2 else 10)
        elif bar.index == 5:
            self.close()


ROWS = [
    (10, 10, 10, 10),
    (10, 12, 9, 11),
    (11, 15, 11, 14),
    (14, 14, 12, 13),
    (12, 13, 10, 10),
    (10, 11, 8, 9),
    (9, 9, 9, 9),
]


@pytest.fixture
def result() -> BacktestResult:
    rules = MarketRules(cash=Decimal(1000), commission=FixedCommission(Decimal(1)))
    return run_backtest(Trader(), [series(*ROWS, interval="1d", grid=Grid(2))], rules)


def test_round_trips_are_matched_first_in_first_out(result: BacktestResult) -> None:
    trades = result.trades
    # Bought 10 at 10; sold 4 at 14, then 10 at 12 (6 close, 4 open short); bought 4 back at 9.
    assert trades.direction.tolist() == [1, 1, -1]
    assert trades.quantity.tolist() == [4.0, 6.0, 4.0]
    assert trades.entry_price.tolist() == [10.0, 10.0, 12.0]
    assert trades.exit_price.tolist() == [14.0, 12.0, 9.0]
    assert trades.bars_held.tolist() == [2, 3, 2]
    assert trades.commission.tolist() == pytest.approx([0.4 + 1.0, 0.6 + 0.6, 0.4 + 1.0])
    assert trades.profit.tolist() == pytest.approx([16 - 1.4, 12 - 1.2, 12 - 1.4])
    assert trades.mae.tolist() == [1.0, 1.0, 1.0]
    assert trades.mfe.tolist() == [5.0, 5.0, 4.0]
    assert trades.ratio.tolist() == pytest.approx([14.6 / 40, 10.8 / 60, 10.6 / 48])


def test_the_figures_of_a_run_are_those_reckoned_by_hand(result: BacktestResult) -> None:
    # Cash after the fills: 899, 954, 1073, 1036.
    assert result.equity.tolist() == [1000.0, 1009.0, 1039.0, 1032.0, 1033.0, 1037.0, 1036.0]
    figures = result.statistics
    assert figures.total_return == pytest.approx(0.036)
    assert figures.cagr == pytest.approx(1.036 ** (365.25 / 6) - 1)
    assert figures.max_drawdown == pytest.approx(7 / 1039)
    assert figures.max_drawdown_amount == pytest.approx(7)
    assert figures.max_drawdown_days == 4.0
    assert (figures.trades, figures.win_rate) == (3.0, 1.0)
    assert figures.expectancy == pytest.approx(12.0)
    assert math.isnan(figures.profit_factor)
    assert figures.exposure == pytest.approx(5 / 7)
    assert figures.commission == pytest.approx(4.0)


def test_exact_fills_tell_the_position_after_each(result: BacktestResult) -> None:
    assert [fill.position_after for fill in result.exact_fills()] == [10, 6, -4, 0]
    assert [order.client_order_id for order in result.orders()] == ["1", "2", "3", "4"]


def test_a_run_without_trades_has_figures_that_say_so() -> None:
    figures = run_backtest(Strategy(), [series(*ROWS, interval="1d")]).statistics
    assert (figures.total_return, figures.trades, figures.exposure) == (0.0, 0.0, 0.0)
    assert math.isnan(figures.sharpe)
    assert math.isnan(figures.win_rate)


def test_ratios_follow_their_formulas() -> None:
    returns = np.array([0.01, -0.02, 0.03, 0.00])
    spread = math.sqrt(sum((value - 0.005) ** 2 for value in returns) / 3)
    assert sharpe(returns, 252) == pytest.approx(0.005 / spread * math.sqrt(252))
    assert sortino(returns, 252) == pytest.approx(0.005 / math.sqrt(0.0004 / 4) * math.sqrt(252))


def test_the_last_value_of_a_day_is_the_one_at_midnight() -> None:
    times = np.array([DAY_NS - 1, DAY_NS, DAY_NS + 1, 3 * DAY_NS], dtype=np.int64)
    days, values = daily(times, np.array([1.0, 2.0, 3.0, 4.0]))
    assert (days.tolist(), values.tolist()) == ([DAY_NS, DAY_NS + 1, 3 * DAY_NS], [2.0, 3.0, 4.0])


def test_drawdowns() -> None:
    equity = np.array([100.0, 120.0, 90.0, 130.0, 100.0])
    times = np.arange(5, dtype=np.int64)
    assert drawdowns(equity) == (0.25, 30.0)
    assert longest_drawdown_ns(times, equity) == 2
    assert longest_drawdown_ns(times, np.arange(5.0)) == 0


def test_sharpe_sortino_and_drawdown_agree_with_empyrical() -> None:
    try:
        empyrical = importlib.import_module("empyrical")
    except ImportError:
        pytest.skip("empyrical-reloaded is not installed")
    returns = np.random.default_rng(1).normal(0.0005, 0.01, 500)
    assert sharpe(returns, 252) == pytest.approx(empyrical.sharpe_ratio(returns))
    assert sortino(returns, 252) == pytest.approx(empyrical.sortino_ratio(returns))
    equity = np.concatenate(([1.0], np.cumprod(1 + returns)))
    assert -drawdowns(equity)[0] == pytest.approx(empyrical.max_drawdown(returns))
