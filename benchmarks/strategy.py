"""How fast a back-test runs in the strategy's process, against the same engine called in this process.

    python -m benchmarks.strategy [bars]

The whole way is measured as the service goes it: start of the process, transfer of the columns, the run, and the
records back; reading the bars and writing the records into a database are not part of it. Both sides run the same
strategy with the same terms. The bars are made from a fixed seed.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import statistics
import sys
import tempfile
import time
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from quasar.engine.backtest import run_backtest
from quasar.engine.rules import MarketRules
from quasar.engine.series import Series
from quasar.model.bars import BarColumns
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from strategy_engine.backtests.records import Job, LoadedSeries, Outcome, SeriesFacts, WantedSeries
from strategy_engine.rpc.backtest_process import BacktestProcess

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "strategies" / "sma_cross.py"
MINUTE_NS = 60_000_000_000
BARS = 500_000
REPEATS = 3
CASH = Decimal(1_000_000)


def minute_bars(count: int) -> BarColumns:
    """Return minute bars of a random walk, on cents."""
    rng = np.random.default_rng(20240101)
    close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0004, count))), 2)
    opening = np.concatenate(([100.0], close[:-1]))
    spread = np.round(np.abs(rng.normal(0.0, 0.02, count)), 2)
    high, low = np.maximum(opening, close) + spread, np.minimum(opening, close) - spread
    times = np.arange(count, dtype=np.int64) * MINUTE_NS
    volume = np.full(count, 1000.0)
    return BarColumns(times, open=opening, high=np.round(high, 2), low=np.round(low, 2), close=close, volume=volume)


def in_process(count: int) -> float:
    """Return the seconds that the engine takes when it is called here, on the same bars."""
    namespace = runpy.run_path(str(EXAMPLE))
    lane = Series("WALK", minute_bars(count), "1min")
    rules = MarketRules(cash=CASH)
    began = time.perf_counter()
    run_backtest(namespace["SmaCross"](), [lane], rules)
    return time.perf_counter() - began


async def measure(count: int) -> tuple[float, Outcome]:
    """Return the seconds of the whole way and the outcome."""
    facts = SeriesFacts(provider="bench", symbol="WALK", interval="1min", calendar="24/7")
    series = LoadedSeries(WantedSeries(symbol="WALK", interval="1min", provider="bench"), facts, minute_bars(count))
    source = EXAMPLE.read_bytes()
    code = CodeVersion(kind=Kind.STRATEGY, name="sma_cross", source=source, file_name="sma_cross.py", ports=())
    cash = {"amount": {"value": str(CASH)}, "currency": "USD"}
    terms = {"cash": cash, "record_level": "RECORD_LEVEL_TRADES"}
    with tempfile.TemporaryDirectory() as folder:
        async with PluginPool(Path(folder)) as pool:
            job = Job(backtest_id=uuid.uuid4(), code=code, series=[series], parameters={}, terms=terms)
            began = time.perf_counter()
            outcome = None
            async for records in BacktestProcess(pool).run(job):
                outcome = records.outcome or outcome
            elapsed = time.perf_counter() - began
    assert outcome is not None
    return elapsed, outcome


def rows(count: int = BARS, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """Measure in turns and return one row for each figure; the medians count."""
    here, whole, loop = [], [], []
    for _ in range(repeats):
        here.append(count / in_process(count))
        elapsed, outcome = asyncio.run(measure(count))
        whole.append(count / elapsed)
        loop.append(outcome.bars_per_second)
    peer = statistics.median(here)
    return [
        _row("back-test in the strategy's process, the loop", statistics.median(loop), peer),
        _row("back-test in the strategy's process, the whole way", statistics.median(whole), peer),
    ]


def _row(name: str, value: float, peer: float) -> dict[str, Any]:
    return {
        "issue": "skeleton",
        "name": name,
        "value": round(value),
        "unit": "bars/s",
        "against": "the same engine in process",
        "against_value": round(peer),
        "ratio": round(value / peer, 2),
        "bar": None,
        "holds": None,
    }


def main() -> None:
    """Measure and print."""
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else BARS):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
