"""Files of bars read block by block: which rows belong to which series, and which rows cannot be read."""

from __future__ import annotations

import csv
import datetime as dt
import io
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from datahub.ingest.quarantine import HeldRow
from datahub.reads.files import KEYS, FileFormat
from datahub.series.series import SeriesName
from quasar.errors import InvalidArgument, QuasarError
from quasar.model.bars import BarColumns
from quasar.model.columns import MISSING, Int64Array
from quasar.model.instants import MISSING_NS, NS_PER_DAY, to_ns
from quasar.model.intervals import Interval
from quasar.model.violations import violation

if TYPE_CHECKING:  # pyarrow takes a third of a second to load, and most services never read a file
    import pyarrow as pa

BLOCK_ROWS = 20_000
_BUFFER_BYTES = 1 << 20
_LINE_CHARACTERS = 1 << 17
_PRICES = ("open", "high", "low", "close")
_OPTIONAL = ("trade_count", "vwap", "quote_volume", "adjusted_close", "dividend", "split_factor", "open_interest")
FIELDS = (*KEYS, "open_time", "close_time", *_PRICES, "volume", *_OPTIONAL)
"""What a column of a file may be."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is to be read."""

    series: SeriesName | None = None
    """The series of all rows; None: the file has columns that name it."""
    column_names: Mapping[str, str] = field(default_factory=dict)
    """Field to column, where they differ."""
    zone: ZoneInfo | None = None
    """Of times that carry none; None: such times are refused."""
    times_are_closes: bool = False

    def column(self, name: str) -> str:
        """Return the column of a field."""
        return self.column_names.get(name, name)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is no bar."""

    number: int
    held: HeldRow


@dataclass(frozen=True, slots=True, eq=False)
class SeriesRows:
    """Rows of one series in a block."""

    name: SeriesName
    numbers: Int64Array
    """Row numbers in the file."""
    columns: BarColumns
    refused: Sequence[Refused] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows of a file."""

    rows: int
    series: Sequence[SeriesRows]
    unnamed: Sequence[tuple[int, str]] = ()
    """Rows that belong to no series, each with what is wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class _Raw:
    numbers: Int64Array
    columns: Mapping[str, pa.Array]
    broken: Sequence[tuple[int, str]] = ()


def format_of(head: bytes) -> FileFormat:
    """Tell the format of a file from its first bytes."""
    if head.startswith(b"PAR1"):
        return FileFormat.PARQUET
    return FileFormat.ARROW if head.startswith(b"\xff\xff\xff\xff") else FileFormat.CSV


def row_count(file: IO[bytes], format: FileFormat) -> int | None:  # noqa: A002 - the contract's word
    """Return how many rows a file says that it has; None where it does not say, or is no such file."""
    if format is not FileFormat.PARQUET:
        return None
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        return int(parquet.ParquetFile(file).metadata.num_rows)
    except (pa.ArrowInvalid, OSError):
        return None
    finally:
        file.seek(0)


def blocks(file: IO[bytes], format: FileFormat, layout: Layout) -> Iterator[Block]:  # noqa: A002 - the contract's word
    """Yield a file in blocks. Blocking: call it in a thread.

    Raises:
        InvalidArgument: The file is not what its format says, or lacks a column.
    """
    import pyarrow as pa

    try:
        for raw in _READERS[format](file):
            yield _block(raw, layout)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, csv.Error, UnicodeDecodeError, OSError) as error:
        raise InvalidArgument(f"The file must be {format.name}, was not: {str(error).splitlines()[0][:200]}") from None


def _parquet(file: IO[bytes]) -> Iterator[_Raw]:
    import pyarrow.parquet as parquet

    # With a buffer, a row group of any size is read piece by piece; without one its columns are read whole.
    opened = parquet.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    yield from _numbered(opened.iter_batches(batch_size=BLOCK_ROWS))


def _arrow(file: IO[bytes]) -> Iterator[_Raw]:
    import pyarrow as pa

    # Mapped, so that a batch of any size costs no more memory than the rows that are looked at. Nothing closes the map
    # but the end of the last column that looks into it.
    if not file.seek(0, io.SEEK_END):
        raise InvalidArgument("The file must be ARROW, was empty.")
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with pa.ipc.open_stream(pa.py_buffer(mapped)) as batches:
        yield from _numbered(batches)


def _numbered(batches: Any) -> Iterator[_Raw]:
    first = 1
    for batch in batches:
        for start in range(0, batch.num_rows, BLOCK_ROWS):
            part = batch.slice(start, BLOCK_ROWS)
            numbers = np.arange(first, first + part.num_rows)
            first += part.num_rows
            yield _Raw(numbers, dict(zip(part.schema.names, part.columns, strict=True)))


def _csv(file: IO[bytes]) -> Iterator[_Raw]:
    """Yield rows by the number of their line, so that an editor finds them."""
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        yield from _lines(csv.reader(_short(text), strict=True))
    finally:
        if not file.closed:
            text.detach()  # the file is its opener's, and is not to be closed with the text


def _short(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(_LINE_CHARACTERS):
        if len(line) == _LINE_CHARACTERS:
            raise csv.Error(f"a line has more than {_LINE_CHARACTERS} characters")
        yield line


def _lines(lines: Any) -> Iterator[_Raw]:
    import pyarrow as pa

    header: list[str] = next(lines, [])
    while True:
        numbers: list[int] = []
        rows: list[list[str]] = []
        broken: list[tuple[int, str]] = []
        for row in lines:
            if len(row) == len(header):
                numbers.append(lines.line_num)
                rows.append(row)
            elif row:
                broken.append((lines.line_num, f"must have {len(header)} columns, has {len(row)}"))
            if len(rows) + len(broken) >= BLOCK_ROWS:
                break
        if not rows and not broken:
            return
        values = list(zip(*rows, strict=True)) if rows else [()] * len(header)
        columns = {
            name: pa.array([each or None for each in column], pa.string())
            for name, column in zip(header, values, strict=True)
        }
        yield _Raw(np.array(numbers, np.int64), columns, broken)


_READERS: Mapping[FileFormat, Callable[[IO[bytes]], Iterator[_Raw]]] = {
    FileFormat.PARQUET: _parquet,
    FileFormat.ARROW: _arrow,
    FileFormat.CSV: _csv,
}


def _block(raw: _Raw, layout: Layout) -> Block:
    needed = ["open_time", *_PRICES, *(() if layout.series else KEYS)]
    lacking = [layout.column(name) for name in needed if layout.column(name) not in raw.columns]
    if lacking:
        was = ", ".join(raw.columns)[:200]
        raise InvalidArgument(f"The file must have the columns {', '.join(lacking)} (or name others), was: {was}.")
    groups, unnamed = _groups(raw, layout)
    series = [_series_rows(raw, layout, name, rows) for name, rows in groups.items()]
    return Block(len(raw.numbers) + len(raw.broken), series, [*raw.broken, *unnamed])


def _groups(raw: _Raw, layout: Layout) -> tuple[dict[SeriesName, Int64Array], list[tuple[int, str]]]:
    """Return the places of the rows of each series."""
    if layout.series is not None:
        return {layout.series: np.arange(len(raw.numbers))}, []
    keys = zip(*(raw.columns[layout.column(name)].to_pylist() for name in KEYS), strict=True)
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    groups: dict[SeriesName, Int64Array] = {}
    unnamed: list[tuple[int, str]] = []
    for key, rows in places.items():
        try:
            if not all(isinstance(part, str) and part for part in key):
                raise violation("provider, symbol and interval", "given", key)
            groups[SeriesName.of(*key)] = np.array(rows)
        except QuasarError as error:
            unnamed += [(int(raw.numbers[row]), error.message) for row in rows]
    return groups, unnamed


def _series_rows(raw: _Raw, layout: Layout, name: SeriesName, places: Int64Array) -> SeriesRows:
    taken = {
        each: raw.columns[layout.column(each)].take(places)
        for each in FIELDS[len(KEYS) :]
        if layout.column(each) in raw.columns
    }
    numbers, interval = raw.numbers[places], Interval.parse(name.interval)
    problems: dict[int, tuple[str, str]] = {}
    times = _times(taken.pop("open_time"), layout.zone, interval, problems)
    closes = taken.pop("close_time", None)
    columns: dict[str, Any] = {each: _figures(each, values, problems) for each, values in taken.items()}
    columns.setdefault("volume", np.full(len(places), np.nan))
    if layout.times_are_closes:
        columns["close_time_ns"], times = times, _opens(times, interval)
    elif closes is not None:
        unread: dict[int, tuple[str, str]] = {}
        columns["close_time_ns"] = _times(closes, layout.zone, interval, unread)
        columns["close_time_ns"][list(unread)] = MISSING
    bars = BarColumns(open_time_ns=times, **columns)
    if not problems:
        return SeriesRows(name, numbers, bars)
    good = np.ones(len(places), np.bool_)
    good[list(problems)] = False
    held = [
        Refused(int(numbers[row]), _held(reason, detail, int(times[row]), taken, row))
        for row, (reason, detail) in sorted(problems.items())
    ]
    return SeriesRows(name, numbers[good], bars[good], held)


def _held(reason: str, detail: str, time_ns: int, columns: Mapping[str, pa.Array], row: int) -> HeldRow:
    payload = {name: str(values[row].as_py()) for name, values in columns.items()}
    return HeldRow(None if time_ns == MISSING_NS else time_ns, reason, detail, payload)


def _opens(closes: Int64Array, interval: Interval) -> Int64Array:
    if interval.length_ns and not interval.is_dated:
        return closes - interval.length_ns
    return interval.floors(closes - 1) if interval.is_time else closes


def _figures(name: str, values: pa.Array, problems: dict[int, tuple[str, str]]) -> Any:
    """Return numbers; rows that hold something else are noted in `problems`."""
    import pyarrow as pa

    whole = name == "trade_count"
    try:
        numbers = values.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        numbers = pa.array([_number(name, row, value, problems) for row, value in enumerate(values.to_pylist())])
        numbers = numbers.cast(pa.float64())
    if whole:
        return numbers.fill_null(MISSING).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers.fill_null(np.nan).to_numpy(zero_copy_only=False)


def _number(name: str, row: int, value: Any, problems: dict[int, tuple[str, str]]) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        problems[row] = ("MALFORMED", f"{name} must be a number, was {str(value)[:80]!r}")
        return None


def _times(
    values: pa.Array, zone: ZoneInfo | None, interval: Interval, problems: dict[int, tuple[str, str]]
) -> Int64Array:
    """Return times in nanoseconds; rows that hold none are noted in `problems`."""
    import pyarrow as pa

    if pa.types.is_string(values.type) or (pa.types.is_timestamp(values.type) and values.type.tz):
        try:
            found = values.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
            if not found.null_count:
                return np.asarray(found.to_numpy(zero_copy_only=False) * 1_000)
        except pa.ArrowInvalid:
            found = None  # one by one, so that each bad row is named
    times = np.full(len(values), MISSING_NS, np.int64)
    for row, value in enumerate(values.to_pylist()):
        try:
            times[row] = _time_ns(value, zone, interval)
        except _NaiveTime as naive:
            problems[row] = ("NAIVE_TIME", str(naive))
        except (ValueError, TypeError, QuasarError):
            problems[row] = ("MALFORMED", f"time must be ISO 8601, was {str(value)[:80]!r}")
    return times


class _NaiveTime(Exception):
    """A time without a zone."""


def _time_ns(value: Any, zone: ZoneInfo | None, interval: Interval) -> int:
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    if not isinstance(value, dt.datetime):
        raise TypeError
    if value.tzinfo is not None:
        return to_ns(value)
    if interval.is_dated and value.time() == dt.time():
        # Bars of a day and longer are keyed by the date itself, whatever the zone of the market.
        return to_ns(value.replace(tzinfo=dt.UTC)) // NS_PER_DAY * NS_PER_DAY
    if zone is None:
        raise _NaiveTime(f"time must have a zone (or give time_zone), was {value.isoformat()!r}")
    return to_ns(value.replace(tzinfo=zone))
