"""The figures of a finished run, by the formulas that the contract gives beside each of them.

Returns are those of equity at the end of each day in UTC, the first one against the equity at the start. What has no
meaning (no trades, no variance) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import numpy as np

from quasar.engine.statistics import YEAR_NS, daily
from quasar.model.columns import FloatArray, Int64Array
from strategy_engine.backtests.figure_lists import drawdowns, period_returns, symbols
from strategy_engine.backtests.records import EquityColumns, FillRecord, TradeRecord

TRADING_DAYS: Final = 252.0
EVERY_DAY: Final = 365.0
_COARSE: Final = {"1w": 52.0, "1M": 12.0}
_ALWAYS_OPEN: Final = frozenset({"24/7", "24x7", "ALWAYS"})

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What figures are computed from."""

    currency: str
    initial: Decimal
    final: Decimal | None
    """Exact equity at the end; None: the last value of the curve."""
    equity: EquityColumns
    fills: Sequence[FillRecord]
    trades: Sequence[TradeRecord]
    periods_per_year: float
    first_open_ns: int | None = None
    """Open time of the first bar; None: the first value of the curve."""
    risk_free_rate: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)
    closes: Sequence[tuple[float, float]] = ()
    """The first and the last close of each series."""


def periods_per_year(calendars: Iterable[str], intervals: Iterable[str] = ()) -> float:
    """Return the returns in a year of series of these calendars: one a day, 365 where one never closes.

    Bars of a week or a month have one a bar, where none is finer.
    """
    coarse = {_COARSE.get(each, 0.0) for each in intervals}
    if coarse and all(coarse):
        return max(coarse)
    return EVERY_DAY if any(name in _ALWAYS_OPEN for name in calendars) else TRADING_DAYS


def figures(ground: Ground) -> Figures:
    """Return every figure that has a meaning, by its name in the contract; amounts are exact decimals."""
    found = _span(ground) | _amounts(ground) | _returns(ground) | _falls(ground) | _exposure(ground)
    found |= _trades(ground.trades) | _counts(ground) | _lists(ground)
    return {name: value for name, value in found.items() if value is not None and not _is_nan(value)}


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _over(top: float, bottom: float) -> float:
    return top / bottom if bottom else math.nan


def _span(ground: Ground) -> Figures:
    times = ground.equity.time_ns
    if not len(times):
        return {"bars": 0}
    start = int(times[0]) if ground.first_open_ns is None else ground.first_open_ns
    end = int(times[-1])
    return {"start_time": start, "end_time": end, "duration": (end - start) / 1e9, "bars": len(times)}


def _amounts(ground: Ground) -> Figures:
    curve = ground.equity.columns["equity"]
    final = _final(ground)
    return {
        "currency": ground.currency,
        "initial_equity": ground.initial,
        "final_equity": final,
        "net_profit": final - ground.initial,
        "peak_equity": _decimal(float(curve.max())) if len(curve) else ground.initial,
        "lowest_equity": _decimal(float(curve.min())) if len(curve) else ground.initial,
        "traded_notional": sum((fill.quantity * fill.price for fill in ground.fills), Decimal(0)),
        "commission": sum((fill.commission for fill in ground.fills), Decimal(0)),
    }


def _final(ground: Ground) -> Decimal:
    if ground.final is not None:
        return ground.final
    curve = ground.equity.columns["equity"]
    return _decimal(float(curve[-1])) if len(curve) else ground.initial


def _decimal(value: float) -> Decimal:
    return Decimal(repr(round(value, 9)))


def _lists(ground: Ground) -> Figures:
    times, curve = ground.equity.time_ns, ground.equity.columns["equity"]
    ends, returns = _daily_returns(ground)
    held = [last / first for first, last in ground.closes if first > 0]
    return {
        "drawdowns": drawdowns(float(ground.initial), times, curve),
        "monthly_returns": period_returns(ends, returns),
        "yearly_returns": period_returns(ends, returns, years=True),
        "symbols": symbols(ground.trades, ground.fills),
        "buy_and_hold_return": sum(held) / len(held) - 1.0 if held else None,
    }


def _daily_returns(ground: Ground) -> tuple[Int64Array, FloatArray]:
    """Return when each day ended and what it brought."""
    ends, values = daily(ground.equity.time_ns, ground.equity.columns["equity"])
    before = np.concatenate(([float(ground.initial)], values[:-1])) if len(values) else values
    return ends, np.divide(values, before, out=np.ones(len(values)), where=before > 0) - 1.0


def _returns(ground: Ground) -> Figures:
    returns, per_year = _daily_returns(ground)[1], ground.periods_per_year
    total = _over(float(_final(ground)), float(ground.initial)) - 1.0
    count = len(returns)
    found: Figures = {
        "periods": count,
        "periods_per_year": per_year,
        "risk_free_rate": ground.risk_free_rate,
        "total_return": total,
    }
    times = ground.equity.time_ns
    years = (int(times[-1]) - int(times[0])) / YEAR_NS if count > 1 else 0.0
    if years > 0 and total > -1:
        found["cagr"] = (1.0 + total) ** (1.0 / years) - 1.0
    if count < 2:
        return found
    return found | _ratios(returns, per_year, ground.risk_free_rate) | _shape(returns)


def _ratios(returns: FloatArray, per_year: float, rate: float) -> Figures:
    each = (1.0 + rate) ** (1.0 / per_year) - 1.0
    excess = returns - each
    root = math.sqrt(per_year)
    spread = float(excess.std(ddof=1))
    downside = math.sqrt(float(np.mean(np.minimum(excess, 0.0) ** 2))) * root
    gains, losses = float(np.maximum(excess, 0.0).sum()), float(np.maximum(-excess, 0.0).sum())
    grown = float(np.prod(1.0 + returns))
    return {
        "annual_return": grown ** (per_year / len(returns)) - 1.0 if grown > 0 else math.nan,
        "volatility": float(returns.std(ddof=1)) * root,
        "downside_deviation": downside,
        "sharpe": _over(float(excess.mean()), spread) * root,
        "sortino": _over(float(excess.mean()) * per_year, downside),
        "omega": _over(gains, losses),
    }


def _shape(returns: FloatArray) -> Figures:
    centred = returns - returns.mean()
    second = float(np.mean(centred**2))
    low, high = np.quantile(returns, (0.05, 0.95))
    moved = returns[returns != 0]
    worst = np.sort(returns)[: int(0.05 * (len(returns) - 1)) + 1]
    return {
        "tail_ratio": _over(abs(float(high)), abs(float(low))),
        "stability": _stability(returns),
        "skewness": _over(float(np.mean(centred**3)), second**1.5),
        "kurtosis": _over(float(np.mean(centred**4)), second**2) - 3.0,
        "best_period": float(returns.max()),
        "worst_period": float(returns.min()),
        "winning_periods": _over(int((moved > 0).sum()), len(moved)),
        "value_at_risk_95": float(low),
        "conditional_value_at_risk_95": float(worst.mean()),
    }


def _stability(returns: FloatArray) -> float:
    if (returns <= -1).any():
        return math.nan
    grown = np.cumsum(np.log1p(returns))
    if not grown.std():
        return math.nan
    return float(np.corrcoef(np.arange(len(grown)), grown)[0, 1] ** 2)


def _falls(ground: Ground) -> Figures:
    start = float(ground.initial)
    curve = np.concatenate(([start], ground.equity.columns["equity"]))
    if len(curve) < 2:
        return {}
    times = np.concatenate((ground.equity.time_ns[:1], ground.equity.time_ns))
    peaks = np.maximum.accumulate(curve)
    parts = np.divide(curve, peaks, out=np.ones(len(curve)), where=peaks > 0) - 1.0
    amount = float((curve - peaks).min())
    depths, spans = _drawdowns(curve >= peaks, parts, times)
    deepest = float(parts.min())
    annual = _returns(ground).get("annual_return", math.nan)
    return {
        "max_drawdown": deepest,
        "max_drawdown_amount": _decimal(amount),
        "max_drawdown_duration": max(spans, default=0) / 1e9,
        "average_drawdown": _over(sum(depths), len(depths)),
        "average_drawdown_duration": sum(spans) / len(spans) / 1e9 if spans else None,
        "ulcer_index": math.sqrt(float(np.mean(parts[1:] ** 2))),
        "recovery_factor": _over(float(_final(ground) - ground.initial), abs(amount)),
        "calmar": _over(annual, abs(deepest)),
    }


def _drawdowns(at_peak: np.ndarray[Any, Any], parts: FloatArray, times: Any) -> tuple[list[float], list[int]]:
    """Return depth and length of each fall from a peak; the last one may still go on at the end."""
    peaks = np.flatnonzero(at_peak)
    ends = np.append(peaks[1:], len(parts) - 1)
    depths, spans = [], []
    for peak, end in zip(peaks.tolist(), ends.tolist(), strict=True):
        if (depth := float(parts[peak : end + 1].min())) < 0:
            depths.append(depth)
            spans.append(int(times[end]) - int(times[peak]))
    return depths, spans


def _exposure(ground: Ground) -> Figures:
    columns, curve = ground.equity.columns, ground.equity.columns["equity"]
    gross, net = columns.get("gross_exposure"), columns.get("net_exposure")
    if gross is None or net is None or not len(curve):
        return {}
    ratio = np.divide(gross, curve, out=np.zeros(len(curve)), where=curve > 0)
    signed = np.divide(net, curve, out=np.zeros(len(curve)), where=curve > 0)
    years = (int(ground.equity.time_ns[-1]) - int(ground.equity.time_ns[0])) / YEAR_NS
    traded = float(sum((fill.quantity * fill.price for fill in ground.fills), Decimal(0)))
    return {
        "exposure_time": float(np.mean(gross != 0)),
        "average_gross_exposure": float(ratio.mean()),
        "max_gross_exposure": float(ratio.max()),
        "average_net_exposure": float(signed.mean()),
        "turnover": _over(_over(traded, float(curve.mean())), years),
    }


def _counts(ground: Ground) -> Figures:
    closed = [trade for trade in ground.trades if trade.exit_time is not None]
    return {
        "orders": ground.counts.get("orders", 0),
        "denied_orders": ground.counts.get("denied_orders", 0),
        "fills": len(ground.fills),
        "trades": len(closed),
        "open_trades": len(ground.trades) - len(closed),
        "long_trades": sum(trade.side == "LONG" for trade in closed),
        "short_trades": sum(trade.side == "SHORT" for trade in closed),
    }


def _trades(trades: Sequence[TradeRecord]) -> Figures:
    closed = [trade for trade in trades if trade.profit is not None and trade.exit_time is not None]
    profits = [trade.profit for trade in closed if trade.profit is not None]
    wins, losses = [each for each in profits if each > 0], [each for each in profits if each < 0]
    found: Figures = {
        "winning_trades": len(wins),
        "losing_trades": len(losses),
        "max_consecutive_wins": _longest(profits, lambda profit: profit > 0),
        "max_consecutive_losses": _longest(profits, lambda profit: profit < 0),
    }
    if not closed:
        return found
    return found | _trade_amounts(profits, wins, losses) | _trade_ratios(closed, profits, wins, losses)


def _mean(amounts: Sequence[Decimal]) -> Decimal | None:
    return round(sum(amounts, Decimal(0)) / len(amounts), 9) if amounts else None


def _trade_amounts(profits: list[Decimal], wins: list[Decimal], losses: list[Decimal]) -> Figures:
    return {
        "expectancy": _mean(profits),
        "average_win": _mean(wins),
        "average_loss": _mean(losses),
        "best_trade": max(profits),
        "worst_trade": min(profits),
    }


def _trade_ratios(
    closed: list[TradeRecord], profits: list[Decimal], wins: list[Decimal], losses: list[Decimal]
) -> Figures:
    count = len(closed)
    values = np.array([float(each) for each in profits])
    win_rate = len(wins) / count
    payoff = _over(float(_mean(wins) or 0), abs(float(_mean(losses) or 0)))
    held = [(trade.exit_time - trade.entry_time).total_seconds() for trade in closed if trade.exit_time is not None]
    ratios = [trade.return_ratio for trade in closed]
    spread = float(values.std(ddof=1)) if count > 1 else 0.0
    return {
        "win_rate": win_rate,
        "profit_factor": _over(float(sum(wins, Decimal(0))), abs(float(sum(losses, Decimal(0))))),
        "expectancy_ratio": sum(ratios) / count,
        "payoff_ratio": payoff,
        "best_trade_return": max(ratios),
        "worst_trade_return": min(ratios),
        "average_trade_duration": sum(held) / count,
        "max_trade_duration": max(held),
        "sqn": _over(float(values.mean()), spread) * math.sqrt(count),
        "kelly": win_rate - _over(1 - win_rate, payoff),
        "average_adverse_excursion": _mean_of(closed, "adverse_excursion"),
        "average_favourable_excursion": _mean_of(closed, "favourable_excursion"),
    }


def _mean_of(closed: list[TradeRecord], name: str) -> float:
    return sum(float(trade.document.get(name, 0.0)) for trade in closed) / len(closed)


def _longest(profits: Sequence[Decimal], counts: Callable[[Decimal], bool]) -> int:
    longest = row = 0
    for profit in profits:
        row = row + 1 if counts(profit) else 0
        longest = max(longest, row)
    return longest
