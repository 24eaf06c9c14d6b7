"""The figures of a run, against values computed by hand from the contract's formulas."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from strategy_engine.backtests.figures import Ground, figures, periods_per_year
from strategy_engine.backtests.records import EquityColumns, TradeRecord

DAY_NS = 86_400_000_000_000
D = Decimal
START = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


def ground(values: list[float], **more: Any) -> Ground:
    times = np.arange(1, len(values) + 1, dtype=np.int64) * DAY_NS
    equity = EquityColumns(times, {"equity": np.array(values)})
    return Ground(
        **{
            "currency": "USD",
            "initial": D(100),
            "final": None,
            "equity": equity,
            "fills": (),
            "trades": (),
            "periods_per_year": 252.0,
            **more,
        }
    )


def trade(profit: str, days: int = 1) -> TradeRecord:
    return TradeRecord(
        symbol="AAPL",
        side="LONG",
        quantity=D(1),
        entry_time=START,
        entry_price=D(100),
        commission=D(0),
        exit_time=START + dt.timedelta(days=days),
        exit_price=D(100) + D(profit),
        profit=D(profit),
        return_ratio=float(D(profit) / 100),
        document={},
    )


def test_returns_are_measured_from_the_cash_at_the_start() -> None:
    found = figures(ground([110.0, 99.0, 108.9]))
    returns = np.array([0.1, -0.1, 0.1])
    assert found["periods"] == 3
    assert found["total_return"] == pytest.approx(0.089)
    assert found["volatility"] == pytest.approx(returns.std(ddof=1) * math.sqrt(252))
    assert found["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(252))
    downside = math.sqrt(0.01 / 3) * math.sqrt(252)
    assert found["sortino"] == pytest.approx(returns.mean() * 252 / downside)
    assert found["omega"] == pytest.approx(2.0)


def test_the_deepest_fall_is_told_as_ratio_amount_and_time() -> None:
    found = figures(ground([120.0, 90.0, 96.0, 120.0, 114.0]))
    assert found["max_drawdown"] == pytest.approx(-0.25)
    assert found["max_drawdown_amount"] == D("-30.0")
    assert found["max_drawdown_duration"] == 3 * 86_400
    assert found["average_drawdown"] == pytest.approx((-0.25 - 0.05) / 2)


def test_trades_are_counted_and_weighed() -> None:
    found = figures(ground([100.0, 101.0], trades=[trade("10", 2), trade("-5"), trade("-5"), trade("20")]))
    assert (found["trades"], found["winning_trades"], found["losing_trades"]) == (4, 2, 2)
    assert (found["win_rate"], found["profit_factor"]) == (0.5, 3.0)
    assert (found["expectancy"], found["average_win"], found["average_loss"]) == (D(5), D(15), D(-5))
    assert (found["max_consecutive_losses"], found["max_trade_duration"]) == (2, 2 * 86_400)
    assert found["kelly"] == pytest.approx(0.5 - 0.5 / 3)


def test_figures_without_a_meaning_are_left_out() -> None:
    found = figures(ground([100.0]))
    assert not {"sharpe", "win_rate", "cagr", "sqn"} & set(found)
    assert all(math.isfinite(value) for value in found.values() if isinstance(value, float))


def test_a_market_that_never_closes_has_365_periods_in_a_year() -> None:
    assert periods_per_year(["24/7", "XNYS"]) == 365
    assert periods_per_year(["XNYS"]) == 252


def test_the_deepest_falls_are_listed_with_their_times_and_the_last_one_is_not_over() -> None:
    deepest, last = figures(ground([120.0, 90.0, 96.0, 120.0, 114.0]))["drawdowns"]
    assert (deepest["depth"], deepest["amount"]) == (pytest.approx(-0.25), D("-30.0"))
    assert [deepest[name] // DAY_NS for name in ("peak_time", "trough_time", "recovery_time")] == [1, 2, 4]
    assert (last["depth"], "recovery_time" in last) == (pytest.approx(-0.05), False)


def test_the_returns_of_months_and_years_are_chained() -> None:
    values = [110.0] * 31 + [121.0] * 28 + [60.5] * 307
    found = figures(ground(values))
    january, february, march, *rest = (each["value"] for each in found["monthly_returns"])
    assert (january, february, march) == (pytest.approx(0.1), pytest.approx(0.1), pytest.approx(-0.5))
    assert rest == pytest.approx([0.0] * 10)
    first, second = found["yearly_returns"]
    assert (first["start_time"], first["value"]) == (0, pytest.approx(-0.395))
    assert (second["start_time"] // DAY_NS, second["value"]) == (365, pytest.approx(0.0))


def test_each_symbol_has_its_share() -> None:
    (found,) = figures(ground([100.0, 101.0], trades=[trade("10"), trade("-5")]))["symbols"]
    assert (found["symbol"], found["net_profit"], found["trades"]) == ("AAPL", D(5), 2)
    assert (found["win_rate"], found["profit_factor"]) == (0.5, 2.0)


def test_bars_of_a_week_or_a_month_have_a_return_each() -> None:
    assert periods_per_year(["XNYS"], ["1w"]) == 52
    assert periods_per_year(["24/7"], ["1M"]) == 12
    assert periods_per_year(["XNYS"], ["1w", "1d"]) == 252


def test_buying_and_holding_is_the_mean_of_what_each_series_gave() -> None:
    found = figures(ground([100.0, 101.0], closes=[(100.0, 150.0), (10.0, 10.0)]))
    assert found["buy_and_hold_return"] == pytest.approx(0.25)
