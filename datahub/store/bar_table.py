"""The tables of bars: columns in and out by binary COPY."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from datahub.ingest.differences import OPTIONAL, REQUIRED, told
from datahub.store.statements import SQL
from quasar.database.copy import Column, Decoded, Kind, RowFormat
from quasar.model.bars import Bar, BarColumns
from quasar.model.columns import Int64Array, ascending
from quasar.model.instants import TimeRange, from_ns

_FIXED: Sequence[tuple[str, Kind]] = (
    ("series_id", "int4"),
    ("open_time", "timestamptz"),
    ("close_time", "timestamptz"),
    *((name, "float8") for name in REQUIRED),
    ("known_at", "timestamptz"),
    ("source_series_id", "int4"),
    ("revision", "int4"),
    ("origin", "int2"),
)
_DEFAULTS: Mapping[str, int] = {"source_series_id": 0, "revision": 0, "origin": 1}
"""What the table puts there itself; the server stores rows a tenth faster that do not bring it."""
_MANY = 1_000
_INLINE_BYTES = 4 << 20
_INLINE_TIMES = 200_000
_MISSING: Mapping[Kind, str] = {"int8": "-1", "float8": "'NaN'::float8"}
_NEWEST = RowFormat(
    [
        Column("series_id", "int4"),
        Column("open_time", "timestamptz"),
        Column("close_time", "timestamptz"),
        *(Column(name, "float8") for name in REQUIRED),
        Column("origin", "int2"),
    ]
)
_TIMES = RowFormat([Column("open_time", "timestamptz")])


def kind_of(name: str) -> Kind:
    """Return the type of an optional column."""
    return "int8" if name == "trade_count" else "float8"


@lru_cache(maxsize=256)
def _written(optional: tuple[str, ...], left_out: tuple[str, ...] = ()) -> RowFormat:
    columns = [Column(name, kind) for name, kind in _FIXED if name not in left_out]
    return RowFormat([*columns, *(Column(name, kind_of(name)) for name in optional)])


@lru_cache(maxsize=256)
def _read(optional: tuple[str, ...]) -> RowFormat:
    prices = [Column(name, "float8") for name in REQUIRED]
    key, revision = Column("open_time", "timestamptz"), Column("revision", "int4")
    return RowFormat([key, *prices, revision, *(Column(name, kind_of(name)) for name in optional)])


async def any_in(connection: Any, series_id: int, span: TimeRange) -> bool:
    """Tell whether any bar of a series is stored in a range."""
    found: bool = await connection.fetchval(SQL["bars_exist"], series_id, span.start, span.end)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Bars as they are stored."""

    columns: BarColumns
    revisions: Int64Array
    """How often each bar was replaced."""


async def stored(connection: Any, series_id: int, span: TimeRange, optional: tuple[str, ...]) -> Stored:
    """Return the historical bars in a range, with the optional columns that are asked for."""
    chosen = "".join(f", coalesce({name}, {_MISSING[kind_of(name)]}) as {name}" for name in optional)
    raw = await copy_out(connection, SQL["bars_stored"].format(optional=chosen), series_id, span.start, span.end)
    columns = dict((await _decoded(_read(optional), raw)).columns)
    revisions = columns.pop("revision")
    return Stored(BarColumns(open_time_ns=columns.pop("open_time") * 1_000, **columns), revisions)


async def times(connection: Any, series_id: int, span: TimeRange, *, live_only: bool = False) -> Int64Array:
    """Return the open times of what is stored in a range, ascending."""
    statement = SQL["live_bar_times" if live_only else "bar_times"]
    raw = await copy_out(connection, statement, series_id, span.start, span.end)
    found = (await _decoded(_TIMES, raw)).columns["open_time"]
    return await asyncio.to_thread(_in_order, found) if len(found) > _INLINE_TIMES else _in_order(found)


async def insert(
    connection: Any, series_id: int, columns: BarColumns, marks: Mapping[str, Any], *, table: str = "historical_data"
) -> None:
    """Store rows that are known not to be there.

    Args:
        connection: Inside a transaction that holds the lock of the series.
        series_id: Of which series.
        columns: The rows, with close times.
        marks: `known_at` (microseconds), `origin`, `source_series_id`, `revision`.
        table: Where they go.
    """
    optional = told(columns)
    usual = tuple(name for name, value in _DEFAULTS.items() if np.ndim(marks[name]) == 0 and marks[name] == value)
    form = _written(optional, usual)
    values, nulls = _values(columns, optional)
    pieces = form.encode_pieces({"series_id": np.int32(series_id), **values, **marks}, len(columns), nulls)
    source = _streamed(pieces)
    schema = None if table == "bar_changes" else "datahub"
    await connection.copy_to_table(table, source=source, columns=form.names, format="binary", schema_name=schema)


async def _streamed(pieces: Iterator[memoryview]) -> AsyncGenerator[memoryview, None]:
    """Yield encoded rows as the connection takes them: the server stores the first while others are being built."""
    for piece in pieces:
        yield piece


async def revise(
    connection: Any,
    series_id: int,
    columns: BarColumns,
    marks: Mapping[str, Any],
    former: Stored,
    run_id: int | None,
    cause: str,
) -> None:
    """Replace stored bars by others of the same open times and keep the former ones.

    Args:
        connection: Inside a transaction that holds the lock of the series.
        series_id: Of which series.
        columns: The bars as they are now, by open time.
        marks: As in `insert`.
        former: What is stored in the range.
        run_id: The run that brought them.
        cause: Why they were replaced.
    """
    span = TimeRange(int(columns.open_time_ns[0]), int(columns.open_time_ns[-1]) + 1_000)
    known = from_ns(int(marks["known_at"]) * 1_000)
    arguments = (series_id, span.start, span.end, known, run_id, cause)
    first, last = np.searchsorted(former.columns.open_time_ns, [span.start_ns, span.end_ns])
    whole = int(last - first) == len(columns) >= _MANY
    if whole and not await _keeps_more(connection, series_id, span, told(columns)):
        # An update of every row costs twice as much as taking them all out and copying the others in.
        await connection.execute(SQL["move_former_bars"], *arguments)
        await insert(connection, series_id, columns, {**marks, "revision": former.revisions[first:last] + 1})
        return
    await connection.execute(SQL["revision_place"])
    await insert(connection, series_id, columns, marks, table="bar_changes")
    await connection.execute(SQL["keep_former_bars"], *arguments)
    taken = "".join(f", {name} = b.{name}" for name in told(columns))
    await connection.execute(SQL["apply_changes"].format(optional=taken), series_id, span.start, span.end)


async def _keeps_more(connection: Any, series_id: int, span: TimeRange, optional: tuple[str, ...]) -> bool:
    untold = [f"{name} is not null" for name in OPTIONAL if name not in optional]
    if not untold:
        return False
    statement = SQL["keeps_more"].format(optional=" or ".join(untold))
    found: bool = await connection.fetchval(statement, series_id, span.start, span.end)
    return found


async def newest(connection: Any, statement: str, *arguments: Any) -> Mapping[str, npt.NDArray[Any]]:
    """Return the newest bar of each of some series in columns: `series_id`, times in microseconds, values, `origin`.

    Args:
        connection: Where to look.
        statement: One of the statements `latest_bars…`.
        arguments: Its parameters.
    """
    return _NEWEST.decode(await copy_out(connection, statement, *arguments)).columns


async def put_last(connection: Any, series_id: int, columns: BarColumns, origin: int, known_at: dt.datetime) -> None:
    """Keep the last row as the newest bar of the series, if it is that."""
    last = columns.bar(-1)
    before: Bar | None = columns.bar(-2) if len(columns) > 1 else None
    await connection.execute(
        SQL["bar_last_put"],
        series_id,
        last.open_time,
        last.close_time,
        last.open,
        last.high,
        last.low,
        last.close,
        last.volume,
        origin,
        known_at,
        before.close if before else None,
    )


async def _decoded(form: RowFormat, raw: bytes) -> Decoded:
    """Read rows; many of them in a thread, since the event loop has streams to serve meanwhile."""
    return await asyncio.to_thread(form.decode, raw) if len(raw) > _INLINE_BYTES else form.decode(raw)


def _in_order(times_us: Int64Array) -> Int64Array:
    return ascending(times_us) * 1_000


async def copy_out(connection: Any, query: str, *arguments: Any) -> bytes:
    """Return the bytes of a query's rows in binary COPY format."""
    parts: list[bytes] = []

    async def take(part: bytes) -> None:
        parts.append(part)

    await connection.copy_from_query(query, *arguments, output=take, format="binary")
    return b"".join(parts)


def _values(columns: BarColumns, optional: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.bool_]]]:
    """Return the columns as the table has them, and which values are missing."""
    assert columns.close_time_ns is not None
    values: dict[str, Any] = {
        "open_time": columns.open_time_ns // 1_000,
        "close_time": columns.close_time_ns // 1_000,
    }
    nulls: dict[str, npt.NDArray[np.bool_]] = {}
    for name in (*REQUIRED, *optional):
        column = getattr(columns, name)
        values[name] = column
        missing = np.isnan(column) if column.dtype.kind == "f" else column == -1
        if missing.any():
            nulls[name] = missing
    return values, nulls
