"""The figures of a run, with formulas owned here.

Returns are those of equity at the end of each day in UTC (a run of daily bars has one value a day as it is). A year
has 365.25 days; the number of return periods in a year is measured: periods / years. So a market that trades on 252
days and one that never closes are both annualised rightly without a setting. Where a figure has no meaning (no
trades, no variance, less than two days) it is NaN.

Sources: W. F. Sharpe, The Sharpe Ratio (1994); F. A. Sortino and R. van der Meer, Downside Risk (1991); T. W. Young,
Calmar Ratio (1991); R. Tharp, system quality number. Sharpe, Sortino and drawdown are defined as in empyrical, of
which CAGR differs: years by the calendar here, by the count of periods there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from quasar.engine.trades import Trades
from quasar.model.columns import FloatArray, Int64Array

DAY_NS: Final = 86_400_000_000_000
YEAR_NS: Final = 365.25 * DAY_NS


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures of one run. Ratios are parts (0.1 is 10 %), amounts are of the account's currency."""

    total_return: float
    """Final equity / start - 1."""
    cagr: float
    """(final / start) ** (1 / years) - 1, years between the first and the last value."""
    volatility: float
    """Sample standard deviation of daily returns, times the root of the periods in a year."""
    sharpe: float
    """Mean of daily returns / their sample standard deviation, times the root of the periods in a year."""
    sortino: float
    """Mean of daily returns / root of the mean of squared negative returns, times the root of the periods in a year."""
    max_drawdown: float
    """Greatest fall from a peak of equity in parts of the peak, over every bar; at least 0."""
    max_drawdown_amount: float
    """Greatest fall from a peak of equity, over every bar; at least 0."""
    max_drawdown_days: float
    """Longest time between a peak and the next value not below it, or the end of the run."""
    calmar: float
    """cagr / max_drawdown."""
    value_at_risk: float
    """5 % quantile of daily returns, linear between ranks, by its absolute value where it is a loss, else 0."""
    exposure: float
    """Part of the values of equity at which something was held."""
    trades: float
    """Closed round trips."""
    win_rate: float
    """Trades with a profit above 0 / trades."""
    profit_factor: float
    """Sum of profits / absolute sum of losses."""
    expectancy: float
    """Mean profit of a trade, commission deducted."""
    average_win: float
    average_loss: float
    """Mean of the losing trades' profits; at most 0."""
    best_trade: float
    worst_trade: float
    average_bars_held: float
    system_quality: float
    """Mean profit of a trade / its sample standard deviation, times the root of the number of trades."""
    commission: float
    """Paid on closed round trips."""

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def _over(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom else math.nan


def daily(time_ns: Int64Array, equity: FloatArray) -> tuple[Int64Array, FloatArray]:
    """Return the last value of each day in UTC.

    Args:
        time_ns: int64, ascending, nanoseconds UTC: when each bar closed. Midnight belongs to the day that ends.
        equity: float64, as long.
    """
    days = (time_ns - 1) // DAY_NS
    last = np.append(days[1:] != days[:-1], True) if len(days) else np.empty(0, dtype=bool)
    return time_ns[last], equity[last]


def drawdowns(equity: FloatArray) -> tuple[float, float]:
    """Return the greatest fall from a peak, in parts of the peak and as an amount; both at least 0."""
    if not len(equity):
        return 0.0, 0.0
    peaks = np.maximum.accumulate(equity)
    falls = peaks - equity
    parts = np.divide(falls, peaks, out=np.zeros(len(equity)), where=peaks > 0)
    return float(parts.max()), float(falls.max())


def longest_drawdown_ns(time_ns: Int64Array, equity: FloatArray) -> int:
    """Return the longest time from a peak to the next value not below it, or to the end; 0 when equity never falls."""
    if len(equity) < 2:
        return 0
    at_peak = np.flatnonzero(equity >= np.maximum.accumulate(equity))
    ends = np.append(at_peak[1:], len(equity) - 1)
    under = np.append(np.diff(at_peak) > 1, at_peak[-1] < len(equity) - 1)
    spans = (time_ns[ends] - time_ns[at_peak])[under]
    return int(spans.max()) if len(spans) else 0


def sharpe(returns: FloatArray, periods_per_year: float) -> float:
    """Return mean / sample standard deviation * sqrt(periods)."""
    if len(returns) < 2:
        return math.nan
    return _over(float(returns.mean()), float(returns.std(ddof=1))) * math.sqrt(periods_per_year)


def sortino(returns: FloatArray, periods_per_year: float) -> float:
    """Return mean / sqrt(mean(min(r, 0)²)) * sqrt(periods)."""
    if len(returns) < 2:
        return math.nan
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    return _over(float(returns.mean()), downside) * math.sqrt(periods_per_year)


def _trade_figures(trades: Trades) -> dict[str, float]:
    profit = trades.profit
    count = len(profit)
    wins, losses = profit[profit > 0], profit[profit < 0]
    spread = float(profit.std(ddof=1)) if count > 1 else 0.0
    return {
        "trades": float(count),
        "win_rate": _over(len(wins), count),
        "profit_factor": _over(float(wins.sum()), abs(float(losses.sum()))),
        "expectancy": _over(float(profit.sum()), count),
        "average_win": _over(float(wins.sum()), len(wins)),
        "average_loss": _over(float(losses.sum()), len(losses)),
        "best_trade": float(profit.max()) if count else math.nan,
        "worst_trade": float(profit.min()) if count else math.nan,
        "average_bars_held": _over(float(trades.bars_held.sum()), count),
        "system_quality": _over(float(profit.sum()) / count, spread) * math.sqrt(count) if count > 1 else math.nan,
        "commission": float(trades.commission.sum()),
    }


def measure(time_ns: Int64Array, equity: FloatArray, trades: Trades, *, start: float, exposure: float) -> Statistics:
    """Measure a run.

    Args:
        time_ns: int64, close time of each value.
        equity: float64, as long.
        trades: The closed round trips.
        start: Equity before the first bar.
        exposure: Part of the values at which something was held.
    """
    days, values = daily(time_ns, equity)
    before = np.concatenate(([start], values[:-1])) if len(values) else values
    # The first day's return is against the start, so that nothing that happens on it is lost.
    returns = np.divide(values, before, out=np.ones(len(values)), where=before > 0) - 1.0
    years = (int(days[-1]) - int(days[0])) / YEAR_NS if len(days) > 1 else math.nan
    periods = (len(days) - 1) / years if len(days) > 1 else math.nan
    final = float(equity[-1]) if len(equity) else start
    grown = _over(final, start)
    cagr = grown ** (1.0 / years) - 1.0 if len(days) > 1 and grown > 0 else math.nan
    fall, fall_amount = drawdowns(np.concatenate(([start], equity)))
    risk = float(np.quantile(returns, 0.05)) if len(returns) else math.nan
    return Statistics(
        total_return=grown - 1.0,
        cagr=cagr,
        volatility=float(returns.std(ddof=1)) * math.sqrt(periods) if len(returns) > 1 else math.nan,
        sharpe=sharpe(returns, periods),
        sortino=sortino(returns, periods),
        max_drawdown=fall,
        max_drawdown_amount=fall_amount,
        max_drawdown_days=longest_drawdown_ns(time_ns, equity) / DAY_NS,
        calmar=_over(cagr, fall),
        value_at_risk=max(0.0, -risk) if risk == risk else math.nan,
        exposure=exposure,
        **_trade_figures(trades),
    )
