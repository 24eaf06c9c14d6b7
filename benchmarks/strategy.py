"""How fast a back-test runs in the strategy's process, from columns in this process to the last record.

    python -m benchmarks.strategy [bars]

Prints the bars per second of the engine's loop, and of the whole way: start of the process, transfer of the columns,
the run, and the records back. The bars are made from a fixed seed.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np

from quasar.model.bars import BarColumns
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from strategy_engine.backtests.records import Job, LoadedSeries, Outcome, SeriesFacts, WantedSeries
from strategy_engine.rpc.backtest_process import BacktestProcess

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "strategies" / "sma_cross.py"
MINUTE_NS = 60_000_000_000


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


async def measure(count: int) -> tuple[float, Outcome]:
    """Return the seconds of the whole way and the outcome."""
    facts = SeriesFacts(provider="bench", symbol="WALK", interval="1min", calendar="24/7")
    series = LoadedSeries(WantedSeries(symbol="WALK", interval="1min", provider="bench"), facts, minute_bars(count))
    source = EXAMPLE.read_bytes()
    code = CodeVersion(kind=Kind.STRATEGY, name="sma_cross", source=source, file_name="sma_cross.py", ports=())
    cash = {"amount": {"value": "1000000"}, "currency": "USD"}
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


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    elapsed, outcome = asyncio.run(measure(count))
    print(f"bars: {count:,}; trades: {outcome.counts['trades']:,}")
    print(f"engine in the strategy's process: {outcome.bars_per_second:,.0f} bars/s")
    print(f"the whole way: {count / elapsed:,.0f} bars/s ({elapsed:.2f} s)")


if __name__ == "__main__":
    main()
