"""Recorded bars as vendors would serve them: EODHD's and Kraken's answers on sockets, files in a folder."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from quasar.model.ticks import TickColumns
from quasar.testing.kraken_exchanges import Levels
from tests.unit.recorded import recorded

_NEW_YORK = ZoneInfo("America/New_York")
_LEAN_PRICE = 10_000.0


def eodhd_rows() -> dict[str, Sequence[Mapping[str, Any]]]:
    """Return what EODHD has: daily bars of BHP in Sydney, and five minutes of Apple."""
    found = {}
    for path, file in (
        ("eod/BHP.AU", "eodhd/eod_BHP.AU.http.json.gz"),
        ("intraday/AAPL.US", "eodhd/intraday5m_AAPL.US_2025-06-07.http.json.gz"),
    ):
        exchange = json.loads(gzip.decompress(recorded(file).read_bytes()))
        found[path] = json.loads(exchange["response"]["body"])
    return found


class RecordedKrakenExchange:
    """Kraken's answer to `OHLC` of XBT/USDT: 720 minutes, the last of them in progress."""

    def __init__(self) -> None:
        self._pairs = json.loads(recorded("kraken/rest/http_asset_pairs.json").read_text())["result"]
        body = json.loads(gzip.decompress(recorded("kraken/rest/http_ohlc.json.gz").read_bytes()))
        self.rows: list[list[Any]] = body["result"]["XBTUSDT"]

    def pairs(self) -> dict[str, dict[str, Any]]:
        """Return the recorded pairs."""
        return dict(self._pairs)

    def ohlc(self, altname: str, minutes: int, since_s: int, now_ns: int) -> list[list[Any]]:
        """Return the recorded rows after a second."""
        return [row for row in self.rows if row[0] > since_s] if (altname, minutes) == ("XBTUSDT", 1) else []

    def trades(self, symbol: str, start_ns: int, end_ns: int) -> TickColumns:
        """Return nothing: the recording has none."""
        return TickColumns.empty()

    def book(self, symbol: str, depth: int, now_ns: int) -> Levels | None:
        """Return none: the recording has none."""
        return None

    def frames(self, channel: str, symbol: str) -> Sequence[str]:
        """Return none: the recording is of REST."""
        return ()


def fill_folder(folder: Path) -> None:
    """Write the recorded files under the names that the Files provider knows, rows as they were recorded."""
    for name, path in (
        ("GOOG-1d.csv", "ohlcv/backtesting/GOOG.csv"),
        ("GBPUSD-1min.csv.gz", "ohlcv/nautilus/gbpusd-m1-bid-2012.csv.gz"),
        ("ADA_BTC-5min.feather", "ohlcv/freqtrade/ADA_BTC-5m.feather"),
    ):
        (folder / name).write_bytes(recorded(path).read_bytes())
    _write(folder / "6EH4-1min.csv", _ended_minutes("ohlcv/nautilus/6EH4.XCME_1min_bars_20240101_20240131.csv.gz"))
    _write(folder / "SPY-1d.csv", _lean_days("lean/equity/usa/daily/spy.zip"))
    days = [f"lean/equity/usa/minute/spy/201310{day}_trade.zip" for day in ("07", "08", "11")]
    _write(folder / "SPY-1min.csv", [row for day in days for row in _lean_minutes(day)])


def _ended_minutes(path: str) -> list[list[Any]]:
    """A recording that stamps minutes with their end: the first one after the halt of 16:00 Chicago has 17:01."""
    rows = list(csv.reader(io.StringIO(gzip.decompress(recorded(path).read_bytes()).decode())))[1:]
    minute = dt.timedelta(minutes=1)
    return [[(dt.datetime.fromisoformat(time) - minute).isoformat(), *figures] for time, *figures in rows]


def _lean_days(path: str) -> list[list[Any]]:
    rows = []
    for date, *figures in _lean_rows(path):
        day = dt.datetime.strptime(date, "%Y%m%d %H:%M").replace(tzinfo=dt.UTC)
        rows.append([day.isoformat(), *(float(price) / _LEAN_PRICE for price in figures[:4]), figures[4]])
    return rows


def _lean_minutes(path: str) -> list[list[Any]]:
    """Milliseconds since midnight in New York become times in UTC; trades before the open and after the close too."""
    midnight = dt.datetime.strptime(Path(path).name[:8], "%Y%m%d").replace(tzinfo=_NEW_YORK)
    rows = []
    for since, *figures in _lean_rows(path):
        time = (midnight + dt.timedelta(milliseconds=int(since))).astimezone(dt.UTC)
        rows.append([time.isoformat(), *(float(price) / _LEAN_PRICE for price in figures[:4]), figures[4]])
    return rows


def _lean_rows(path: str) -> list[list[str]]:
    with zipfile.ZipFile(recorded(path)) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    return list(csv.reader(io.StringIO(text)))


def _write(path: Path, rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["time", "open", "high", "low", "close", "volume"], *rows])
