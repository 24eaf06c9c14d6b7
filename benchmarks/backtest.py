"""Back-test bars per second beside backtesting.py and nautilus_trader, on the same bars in the same run.

The bars: 1,000,000 minutes from numpy's `default_rng(20240101)`, log-returns of 0.0004, gaps of 0.15 of that, in
cents. The strategies: one that does nothing, an SMA 10/30 cross-over with market orders and 0.1 % commission, and a
maker that cancels and replaces two limit orders on each bar. What is timed is the run of the engine with equity for
every bar; making the bars is not. A peer that is too slow for all bars gets the first of them, as its row says. Peers
are in the dependency group `bench`; without them their rows say so.

Command: `python -m benchmarks.backtest` (some minutes), `python -m benchmarks.backtest --quick` (a tenth of the bars).
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from benchmarks import backtest_peers
from quasar.engine.backtest import run_backtest
from quasar.engine.commission import NoCommission, PercentCommission
from quasar.engine.rules import MarketRules
from quasar.engine.series import Series
from quasar.model.bars import BarColumns
from quasar.strategy import SMA, Bar, Strategy

BARS = 1_000_000
SEED = 20240101
SIGMA = 0.0004
START_NS = 1_600_000_000_000_000_000
MINUTE_NS = 60_000_000_000
REPEATS = 3
# Below this ratio two engines count as equally fast.
NO_DIFFERENCE = 1.5
# What the engine is held to: bars per second.
TARGETS = {"do nothing": 1_000_000, "sma 10/30": 1_000_000, "maker": 100_000}


def market(count: int = BARS, seed: int = SEED) -> BarColumns:
    """Make the bars; the same numbers in every run."""
    chance = np.random.default_rng(seed)
    returns = chance.normal(0, SIGMA, count)
    gaps = chance.normal(0, SIGMA * 0.15, count)
    closes = 100 * np.exp(np.cumsum(returns + gaps))
    opens = np.concatenate(([100.0], closes[:-1])) * np.exp(gaps)
    highs = np.maximum(opens, closes) * (1 + np.abs(chance.normal(0, SIGMA / 2, count)))
    lows = np.minimum(opens, closes) * (1 - np.abs(chance.normal(0, SIGMA / 2, count)))
    opens, highs, lows, closes = (np.round(column, 2) for column in (opens, highs, lows, closes))
    # Enough for every order at once: some peers fill by volume unless it is.
    volumes = chance.integers(10_000, 1_000_000, count).astype(np.float64)
    times = START_NS + np.arange(count, dtype=np.int64) * MINUTE_NS
    return BarColumns(times, opens, highs, lows, closes, volumes)


class Nothing(Strategy):
    def on_bar(self, bar: Bar) -> None:
        pass


class Cross(Strategy):
    def on_start(self) -> None:
        self.fast = self.indicator(SMA(10))
        self.slow = self.indicator(SMA(30))

    def on_bar(self, bar: Bar) -> None:
        if self.position.is_flat and self.fast.value > self.slow.value:
            self.buy(100)
        elif self.position.is_long and self.fast.value < self.slow.value:
            self.close()


class Maker(Strategy):
    def on_bar(self, bar: Bar) -> None:
        self.cancel_all()
        held = self.position.quantity
        if held < 10:
            self.buy(1, limit=bar.close - 0.05)
        if held > -10:
            self.sell(1, limit=bar.close + 0.05)


@dataclass(frozen=True, slots=True)
class Case:
    """One strategy and how many bars the slow peers get of it."""

    name: str
    strategy: type[Strategy]
    rules: MarketRules
    peer_bars: dict[str, int]


CASH = Decimal(10_000_000)
CASES = (
    Case("do nothing", Nothing, MarketRules(cash=CASH), {"backtesting.py": BARS, "nautilus_trader": 200_000}),
    Case(
        "sma 10/30",
        Cross,
        MarketRules(cash=CASH, commission=PercentCommission(Decimal("0.001"))),
        {"backtesting.py": BARS, "nautilus_trader": 100_000},
    ),
    Case(
        "maker",
        Maker,
        MarketRules(cash=CASH, commission=NoCommission()),
        {"backtesting.py": 100_000, "nautilus_trader": 10_000},
    ),
)


def _seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median wall time of a few runs."""
    spent = []
    for _ in range(repeats):
        gc.collect()
        begun = time.perf_counter()
        work()
        spent.append(time.perf_counter() - begun)
    return statistics.median(spent)


def _own(case: Case, bars: BarColumns, repeats: int) -> tuple[float, int]:
    """Return bars per second and the number of fills."""
    lane = Series("X", bars, "1min")
    fills = 0

    def work() -> None:
        nonlocal fills
        result = run_backtest(case.strategy(), [lane], case.rules)
        fills = len(result.rows)
        assert len(result.equity) == len(bars)

    return len(bars) / _seconds(work, repeats), fills


def _row(name: str, value: float, against: str, against_value: float | None, bar: float) -> dict[str, Any]:
    ratio = value / against_value if against_value else None
    return {
        "issue": "skeleton",
        "name": name,
        "value": round(value),
        "unit": "bars/s",
        "against": against,
        "against_value": None if against_value is None else round(against_value),
        "ratio": None if ratio is None else round(ratio, 2),
        "bar": bar,
        "holds": None if ratio is None else ratio >= bar,
    }


def _peer_row(case: Case, own: tuple[float, int], peer: str, bars: BarColumns, repeats: int) -> dict[str, Any]:
    value, own_fills = own
    count = min(case.peer_bars[peer], len(bars))
    part = "" if count == len(bars) else f", first {count:,} bars"
    module = {"backtesting.py": "backtesting", "nautilus_trader": "nautilus_trader"}[peer]
    try:
        importlib.import_module(module)
    except ImportError:
        return _row(f"back-test, {case.name}", value, f"{peer} (peer not installed)", None, NO_DIFFERENCE)
    if part:
        value, own_fills = _own(case, bars[:count], repeats)
    rate, fills = backtest_peers.RUNS[peer](case.name, bars[:count])
    row = _row(f"back-test, {case.name}", value, peer + part, rate, NO_DIFFERENCE)
    return row | {"fills": own_fills, "against_fills": fills}


def rows(count: int = BARS, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """Measure everything and return one row for each figure.

    Args:
        count: Bars in the series.
        repeats: Runs of the own engine, of which the median counts.
    """
    bars = market(count)
    found = []
    for case in CASES:
        own = value, fills = _own(case, bars, repeats)
        target = TARGETS[case.name]
        found.append(_row(f"back-test, {case.name}", value, "target", target, 1.0) | {"fills": fills})
        found.extend(_peer_row(case, own, peer, bars, repeats) for peer in case.peer_bars)
    return found


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a tenth of the bars, one run each")
    quick = parser.parse_args().quick
    for row in rows(BARS // 10, 1) if quick else rows():
        print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
