"""A folder of CSV, Parquet or Feather files as a source: one file a symbol and interval, read again when it changes.

The folder is watched: bars that are appended to a file while it is subscribed live are told at once.

A file is called `SYMBOL-INTERVAL.csv` (`.csv.gz`, `.parquet`, `.feather`); a `/` in a symbol is written `_`. Columns
are found by name, in any letter case: `open_time`, `time`, `timestamp`, `ts`, `date` or `datetime`; `open`, `high`,
`low`, `close`; `volume` when there is one. Times are ISO 8601, or numbers in s, ms, µs or ns since 1970, told apart by
their size; a time without a zone is UTC.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from quasar.errors import InvalidArgument, NotFound
from quasar.model.columns import FloatArray, Int64Array
from quasar.model.intervals import Interval
from quasar.provider import (
    BarColumns,
    BarRequest,
    BarState,
    Feed,
    HistoryItem,
    Instrument,
    LiveItem,
    LiveSymbol,
    Preference,
    Provider,
    SymbolNotice,
    SymbolState,
    UnknownSymbol,
    Unsupported,
)

if TYPE_CHECKING:  # pyarrow takes a third of a second to load, and listing files needs none of it
    import pyarrow as pa

SUFFIXES: Final = (".csv", ".csv.gz", ".parquet", ".feather")
# A nameless column is the index of a data frame that was written without a name for it.
_TIME_NAMES: Final = ("open_time", "time", "timestamp", "ts", "date", "datetime", "")
_DAY: Final = Interval.parse("1d")
_Stamp = tuple[int, int]  # time and size, by which a changed file is told
_NAMED = re.compile(r"^(?P<symbol>.+)-(?P<interval>[0-9]+[A-Za-z]+)$")


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    symbol: str
    interval: Interval


class Files(Provider):
    """Bars from files in a folder of this machine."""

    name = "files"
    version = "1"
    intervals = ("1min", "5min", "15min", "30min", "1h", "4h", "1d", "1w", "1M")
    concurrency = 2
    streams_ticks = False

    folder = Preference("", description="The folder, an absolute path on the DataHub's machine.", needs_restart=True)
    poll = Preference(1.0, minimum=0.05, maximum=3600.0, unit="s", description="Time between two looks at the folder.")

    async def start(self) -> None:
        """Begin with nothing read."""
        self._read: dict[Path, tuple[_Stamp, BarColumns]] = {}

    async def bars(self, request: BarRequest) -> AsyncIterator[HistoryItem]:
        """Yield what the symbol's file holds of the range; a bar whose interval is not over is forming."""
        source = self._source(request.symbol, request.length)
        yield self._dated(await self._columns(source), request.length).within(request.span)

    async def live(self, feed: Feed) -> AsyncIterator[LiveItem]:
        """Yield the bars that are added to files, from the newest that was there at the beginning."""
        told: dict[tuple[str, str], int] = {}
        while True:
            for wanted in list(feed.symbols.values()):
                for item in await self._news(wanted, told):
                    yield item
            for key in [key for key in told if key[0] not in feed.symbols]:
                del told[key]
            await self.clock.sleep(self.poll)

    async def _news(self, wanted: LiveSymbol, told: dict[tuple[str, str], int]) -> list[LiveItem]:
        items: list[LiveItem] = []
        if not wanted.intervals and (wanted.symbol, "") not in told:
            told[wanted.symbol, ""] = 0
            items.append(SymbolNotice(wanted.symbol, SymbolState.REFUSED, "files hold bars; ask for an interval"))
        for code in wanted.intervals:
            items += await self._news_of(wanted.symbol, code, told)
        return items

    async def _news_of(self, symbol: str, code: str, told: dict[tuple[str, str], int]) -> list[LiveItem]:
        length, key = Interval.parse(code), (symbol, code)
        try:
            columns = await self._columns(self._source(symbol, length))
        except (NotFound, InvalidArgument) as error:
            if key in told:
                return []  # gone, or half written: the next look may find it whole
            told[key] = -1
            return [SymbolNotice(symbol, SymbolState.REFUSED, str(error))]
        newest = int(columns.open_time_ns[-1]) if len(columns) else -1
        before = told.get(key)
        told[key] = newest
        if before is None:
            return [SymbolNotice(symbol, SymbolState.SUBSCRIBED)]
        fresh = columns[columns.open_time_ns > before]
        return [(symbol, code, self._dated(fresh, length))] if len(fresh) else []

    def _dated(self, columns: BarColumns, length: Interval) -> BarColumns:
        """Return the bars with their states.

        A day ends with its session, which the platform knows and a file does not: days are left as they are.
        """
        if not len(columns) or length == _DAY:
            return columns
        forming = length.closes(columns.open_time_ns) > self.clock.time_ns()
        return replace(columns, state=np.where(forming, BarState.FORMING, BarState.CLOSED).astype(np.uint8))

    def _source(self, symbol: str, length: Interval) -> _Source:
        sources = [source for source in self._sources() if source.symbol == symbol]
        if not sources:
            known = ", ".join(sorted({source.symbol for source in self._sources()})[:20]) or "none"
            raise UnknownSymbol(f"no file is named {symbol}-{length}; there are: {known}")
        source = next((one for one in sources if one.interval == length), None)
        if source is None:
            there = ", ".join(str(one.interval) for one in sources)
            raise Unsupported(f"{symbol} has files for {there}, none for {length}")
        return source

    async def symbols(self, exchange: str = "") -> AsyncIterator[Sequence[Instrument]]:
        """Yield the symbols of the file names."""
        yield [self.instrument(symbol) for symbol in sorted({source.symbol for source in self._sources()})]

    def _sources(self) -> list[_Source]:
        if not self.folder:
            raise InvalidArgument("preference folder must name a folder, was empty")
        root = Path(self.folder)
        if not root.is_dir():
            raise InvalidArgument(f"preference folder must name a folder that exists, was {self.folder!r}")
        return [source for path in sorted(root.iterdir()) if (source := _source(path)) is not None]

    async def _columns(self, source: _Source) -> BarColumns:
        found = source.path.stat()
        stamp = (found.st_mtime_ns, found.st_size)
        former = self._read.get(source.path)
        if former is None or former[0] != stamp:
            former = (stamp, await asyncio.to_thread(read_bars, source.path))
            self._read[source.path] = former
        return former[1]


def _source(path: Path) -> _Source | None:
    suffix = next((end for end in sorted(SUFFIXES, key=len, reverse=True) if path.name.endswith(end)), None)
    named = _NAMED.match(path.name.removesuffix(suffix)) if suffix else None
    if named is None:
        return None
    try:
        return _Source(path, named["symbol"].replace("_", "/"), Interval.parse(named["interval"]))
    except InvalidArgument:
        return None


def read_bars(path: Path) -> BarColumns:
    """Read a file of bars, in order of time, one for each time.

    Raises:
        InvalidArgument: The file, a column of it or a time cannot be read; the message names it.
    """
    import pyarrow as pa

    try:
        table = _table(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgument(f"{path.name} cannot be read, it may be half written: {error}") from error
    names = {name.lower().strip(): name for name in table.column_names}
    time_name = next((names[name] for name in _TIME_NAMES if name in names), None)
    missing = [name for name in ("open", "high", "low", "close") if name not in names]
    if time_name is None or missing:
        lacks = ", ".join([*(["a time"] if time_name is None else []), *missing])
        raise InvalidArgument(f"{path.name} must have the columns time, open, high, low, close; it lacks {lacks}")
    columns = BarColumns(
        open_time_ns=_times(table, time_name, path),
        open=_floats(table, names["open"]),
        high=_floats(table, names["high"]),
        low=_floats(table, names["low"]),
        close=_floats(table, names["close"]),
        volume=_floats(table, names["volume"]) if "volume" in names else np.full(table.num_rows, np.nan),
    )
    return columns.sort().dedupe()


def _table(path: Path) -> pa.Table:
    if path.name.endswith(".parquet"):
        import pyarrow.parquet as parquet

        return parquet.read_table(path)
    if path.name.endswith(".feather"):
        import pyarrow.feather as feather

        return feather.read_table(path)
    import pyarrow.csv as csv

    return csv.read_csv(path)


def _floats(table: pa.Table, name: str) -> FloatArray:
    import pyarrow as pa
    import pyarrow.compute as compute

    try:
        column = compute.cast(table.column(name), "float64")
    except pa.ArrowException as error:
        raise InvalidArgument(f"column {name} must hold numbers: {error}") from error
    values: FloatArray = column.to_numpy().astype(np.float64)
    return values


def _times(table: pa.Table, name: str, path: Path) -> Int64Array:
    import pyarrow as pa
    import pyarrow.compute as compute

    column = table.column(name)
    try:
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            return _from_numbers(column.to_numpy().astype(np.float64))
        stamps = compute.cast(column, pa.timestamp("ns", "UTC") if _zoned(column.type) else pa.timestamp("ns"))
        times: Int64Array = compute.cast(stamps, "int64").to_numpy().astype(np.int64)
        return times
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise InvalidArgument(f"column {name} of {path.name} must hold times: {error}") from error


def _zoned(kind: pa.DataType) -> bool:
    return getattr(kind, "tz", None) is not None


def _from_numbers(values: FloatArray) -> Int64Array:
    """Return nanoseconds; the unit follows from the size of the newest time (1e11 s is the year 5138)."""
    newest = float(np.nanmax(values)) if len(values) else 0.0
    factor = next((scale for limit, scale in _UNITS.items() if newest < limit), 1)
    times: Int64Array = np.rint(values).astype(np.int64) * factor
    return times


_UNITS: Mapping[float, int] = {1e11: 1_000_000_000, 1e14: 1_000_000, 1e17: 1_000}
