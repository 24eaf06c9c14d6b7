from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quasar.errors import InvalidArgument
from quasar.provider import (
    BarColumns,
    BarRequest,
    BarState,
    Context,
    Feed,
    LiveSymbol,
    SymbolState,
    UnknownSymbol,
    Unsupported,
)
from quasar.providers.files import Files, read_bars
from quasar.testing.clock import FakeClock
from tests.unit.recorded import recorded

EVER = 1 << 62


async def provider(folder: Path) -> Files:
    made = Files(preferences={"folder": str(folder)})
    await made.start()
    return made


async def bars(source: Files, symbol: str, interval: str, start: int = 0, end: int = EVER) -> BarColumns:
    (found,) = [item async for item in source.bars(BarRequest(symbol, interval, start, end))]
    assert isinstance(found, BarColumns)
    return found


async def test_a_csv_file_is_a_series_and_its_rows_come_in_order(tmp_path: Path) -> None:
    (tmp_path / "BTC_USD-1d.csv").write_text("Date,Open,High,Low,Close\n2025-01-03,3,4,2,3\n2025-01-02,1,2,0.5,1.5\n")
    source = await provider(tmp_path)
    found = await bars(source, "BTC/USD", "1d")
    assert [found.bar(i).open_time.day for i in range(len(found))] == [2, 3]
    listed = [one.symbol async for page in source.symbols() for one in page]
    assert listed == ["BTC/USD"]


async def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    import os

    path = tmp_path / "X-1d.csv"
    path.write_text("time,open,high,low,close,volume\n2025-01-02,1,2,0.5,1.5,7\n")
    source = await provider(tmp_path)
    assert len(await bars(source, "X", "1d")) == 1
    path.write_text("time,open,high,low,close,volume\n2025-01-02,1,2,0.5,1.5,7\n2025-01-03,1,2,0.5,1.5,\n")
    os.utime(path, (1e9, 1e9))
    found = await bars(source, "X", "1d")
    assert len(found) == 2
    assert np.isnan(found.volume[1])


@pytest.mark.parametrize(("scale", "unit"), [(1, "s"), (1_000, "ms"), (1_000_000, "µs"), (1_000_000_000, "ns")])
async def test_numbers_are_times_in_the_unit_that_their_size_shows(tmp_path: Path, scale: int, unit: str) -> None:
    (tmp_path / "X-1min.csv").write_text(f"ts,open,high,low,close,volume\n{1_700_000_040 * scale},1,2,0.5,1.5,7\n")
    found = await bars(await provider(tmp_path), "X", "1min")
    assert found.open_time_ns.tolist() == [1_700_000_040_000_000_000], unit


def test_the_recorded_feather_and_csv_files_are_read() -> None:
    assert len(read_bars(recorded("ohlcv/freqtrade/XRP_ETH-1m.feather"))) == 2469
    goog = read_bars(recorded("ohlcv/backtesting/GOOG.csv"))
    assert len(goog) == 2148
    assert goog.close[0] == 100.34


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "X-1d.csv").write_text("time,open,close\n2025-01-02,1,2\n")
    source = await provider(tmp_path)
    with pytest.raises(InvalidArgument, match="lacks high, low"):
        await bars(source, "X", "1d")
    with pytest.raises(UnknownSymbol, match="there are: X"):
        await bars(source, "Y", "1d")
    with pytest.raises(Unsupported, match="files for 1d, none for 1min"):
        await bars(source, "X", "1min")
    with pytest.raises(InvalidArgument, match="folder must name a folder"):
        await bars(await provider(tmp_path / "nowhere"), "X", "1d")


async def test_a_parquet_file_is_read_with_its_own_times(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = pa.array([1_700_000_040_000_000_000], pa.timestamp("ns", "UTC"))
    one = pa.array([1.5])
    table = pa.table({"open_time": times, "open": one, "high": one, "low": one, "close": one, "volume": one})
    pq.write_table(table, tmp_path / "BTC_USD-1min.parquet")
    found = await bars(await provider(tmp_path), "BTC/USD", "1min")
    assert found.open_time_ns.tolist() == [1_700_000_040_000_000_000]


async def test_the_row_of_an_interval_that_is_not_over_is_forming(tmp_path: Path) -> None:
    rows = "time,open,high,low,close\n2026-01-04T23:00:00,1,2,0.5,1\n2026-01-05T00:00:00,1,2,0.5,1\n"
    (tmp_path / "X-1h.csv").write_text(rows)
    (tmp_path / "X-1d.csv").write_text(rows.replace("T23:00:00", "").replace("T00:00:00", ""))
    source = Files(Context(clock=FakeClock()), {"folder": str(tmp_path)})  # 5 January 2026, 00:00 UTC
    await source.start()
    hours, days = await bars(source, "X", "1h"), await bars(source, "X", "1d")
    assert [hours.bar(row).state for row in range(2)] == [BarState.CLOSED, BarState.FORMING]
    assert [days.bar(row).state for row in range(2)] == [BarState.CLOSED, BarState.CLOSED]  # the platform knows
    assert days.close_time_ns is None


async def test_the_folder_is_watched_and_what_is_added_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "X-1d.csv"
    path.write_text("time,open,high,low,close\n2025-01-02,1,2,0.5,1\n")
    clock = FakeClock()
    source = Files(Context(clock=clock), {"folder": str(tmp_path), "poll": 1.0})
    await source.start()
    feed = Feed([LiveSymbol("X", intervals=("1d",)), LiveSymbol("Y", intervals=("1d",)), LiveSymbol("X2")])
    items: list[Any] = []

    async def read() -> None:
        async for item in source.live(feed):
            items.append(item)  # noqa: PERF401 - it never ends

    async def look(text: str = "") -> list[Any]:
        items.clear()
        if text:
            path.write_text(path.read_text() + text)
        await clock.advance(1.0)
        await clock.wait_for_sleepers(1)
        return list(items)

    task = asyncio.create_task(read())
    await clock.wait_for_sleepers(1)
    states = {(item.symbol, item.state) for item in items}
    assert states == {
        ("X", SymbolState.SUBSCRIBED),
        ("Y", SymbolState.REFUSED),
        ("X2", SymbolState.REFUSED),
    }
    assert await look() == []
    ((symbol, interval, added),) = await look("2025-01-03,1,2,0.5,3\n")
    assert (symbol, interval, added.close.tolist()) == ("X", "1d", [3.0])
    assert await look("2025-01-04,1,2") == []  # half written
    ((_, _, added),) = await look(",0.5,4\n")
    assert added.close.tolist() == [4.0]
    task.cancel()
