"""Bars that the tests of the engine trade on: written out by hand, drawn by chance, or read from the truth folder."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quasar.engine.grid import Grid
from quasar.engine.series import Series
from quasar.model.bars import BarColumns

MINUTE_NS = 60_000_000_000
DAY_NS = 86_400_000_000_000
START_NS = 1_704_067_200_000_000_000  # 2024-01-01 00:00 UTC


def bars(*rows: tuple[float, ...], step_ns: int = MINUTE_NS, start_ns: int = START_NS) -> BarColumns:
    """Make bars of (open, high, low, close[, volume]) rows; 1,000 units of volume unless said."""
    table = np.array([(*row, 1000.0)[:5] for row in rows], dtype=np.float64).reshape(-1, 5)
    times = start_ns + np.arange(len(rows), dtype=np.int64) * step_ns
    opens, highs, lows, closes, volumes = (np.ascontiguousarray(column) for column in table.T)
    return BarColumns(times, opens, highs, lows, closes, volumes)


def series(
    *rows: tuple[float, ...],
    symbol: str = "X",
    interval: str = "1min",
    grid: Grid | None = None,
    start_ns: int = START_NS,
) -> Series:
    """Make a series of rows; the interval gives the step."""
    step = {"1min": MINUTE_NS, "5min": 5 * MINUTE_NS, "1h": 60 * MINUTE_NS, "1d": DAY_NS}[interval]
    return Series(symbol, bars(*rows, step_ns=step, start_ns=start_ns), interval, grid)


def flat(price: float, count: int) -> list[tuple[float, ...]]:
    """Make rows that do not move."""
    return [(price, price, price, price)] * count


def random_bars(count: int, seed: int, *, decimals: int = 2, step_ns: int = MINUTE_NS) -> BarColumns:
    """Make a random walk on a grid of decimals, with gaps between bars and volumes."""
    chance = np.random.default_rng(seed)
    closes = 100 * np.exp(np.cumsum(chance.normal(0, 0.004, count)))
    opens = np.concatenate(([100.0], closes[:-1])) * np.exp(chance.normal(0, 0.001, count))
    highs = np.maximum(opens, closes) * (1 + np.abs(chance.normal(0, 0.002, count)))
    lows = np.minimum(opens, closes) * (1 - np.abs(chance.normal(0, 0.002, count)))
    opens, highs, lows, closes = (np.round(column, decimals) for column in (opens, highs, lows, closes))
    times = START_NS + np.arange(count, dtype=np.int64) * step_ns
    return BarColumns(times, opens, highs, lows, closes, np.round(chance.uniform(1, 500, count)))


def truth_folder() -> Path:
    """Return the folder of reference results, or skip the test."""
    checkout = Path(__file__).parents[3]
    data = os.environ.get("QUASAR_TEST_DATA")
    beside = Path(data).parent if data else checkout.parent / "shared"
    folder = Path(os.environ.get("QUASAR_TEST_TRUTH", beside / "truth"))
    if not (folder / "goog_1d.csv").exists():
        pytest.skip(f"the reference results are not in {folder}; set QUASAR_TEST_TRUTH")
    return folder


def goog() -> Series:
    """Return the daily bars that the reference results were made on, or skip the test."""
    with (truth_folder() / "goog_1d.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    days = [dt.datetime.fromisoformat(row["ts"]).replace(tzinfo=dt.UTC) for row in rows]
    times = np.array([int(day.timestamp()) * 10**9 for day in days], dtype=np.int64)
    names = ("Open", "High", "Low", "Close", "Volume")
    opens, highs, lows, closes, volumes = (np.array([float(row[name]) for row in rows]) for name in names)
    return Series("GOOG", BarColumns(times, opens, highs, lows, closes, volumes), "1d")


def truth(name: str) -> dict[str, Any]:
    """Return one reference result."""
    found: dict[str, Any] = json.loads((truth_folder() / f"{name}.json").read_text())
    return found
