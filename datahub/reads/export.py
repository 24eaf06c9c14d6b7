"""What goes into files: bars, stored or computed, and ticks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from datahub.reads.files import FileFormat, FileWriter, Kind
from datahub.reads.query import BarQuery
from datahub.reads.readable import Readable
from datahub.reads.resampling import BarSource
from datahub.reads.ticks import ALL_KINDS, PAGE_ROWS, TickReader
from datahub.series.series import Series, SeriesName
from quasar.model.bars import BarColumns
from quasar.model.instants import TimeRange
from quasar.model.ticks import Side, TickColumns, TickFlag, TickKind

_PRICES = ("open", "high", "low", "close", "volume")
_WHOLE = ("trade_count", "origin", "source_series_id")
_TICK_TIMES = ("event", "receive", "publish")
_TICK_NUMBERS = ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size")
_TICK_KINDS: Mapping[str, Kind] = {
    "event_time": "instant",
    "receive_time": "instant",
    "publish_time": "instant",
    "kind": "text",
    "side": "text",
    **dict.fromkeys(_TICK_NUMBERS, "float"),
    "venue_sequence": "whole",
    "trade_id": "whole",
    "flags": "text",
}
_KIND_WORDS = np.array(["", *(kind.name for kind in TickKind)], dtype=object)
_SIDE_WORDS = np.array([None, *(side.name for side in Side if side)], dtype=object)
_FLAG_WORDS = np.array(
    [" ".join(str(flag.name) for flag in TickFlag if flag and flag & value) or None for value in range(256)],
    dtype=object,
)


class Export(Protocol):
    """What is to be written."""

    @property
    def names(self) -> Sequence[SeriesName]:
        """The series, in the order of the file."""
        ...

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The columns of the file behind those that name the series, and what they hold."""
        ...

    def rows(self) -> AsyncGenerator[tuple[SeriesName, Mapping[str, Any], int], None]:
        """Yield rows in columns, series after series."""
        ...


@dataclass(frozen=True, slots=True)
class BarExport:
    """Bars."""

    source: BarSource
    series: Sequence[Readable]
    query: BarQuery

    @property
    def names(self) -> Sequence[SeriesName]:
        """The series, in the order of the file."""
        return [each.name for each in self.series]

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The columns of the file behind those that name the series, and what they hold."""
        optional = {_column(name): _kind(name) for name in self.query.columns}
        return {"open_time": "time", "close_time": "time", **dict.fromkeys(_PRICES, "float"), **optional}

    async def rows(self) -> AsyncGenerator[tuple[SeriesName, Mapping[str, Any], int], None]:
        """Yield bars in columns, series after series."""
        names = ("open_time_ns", "close_time_ns", *_PRICES, *self.query.columns)
        for each in self.series:
            async with aclosing(self.source.pages(each, self.query)) as pages:
                async for page in pages:
                    yield each.name, _bar_columns(page, names), len(page)


@dataclass(frozen=True, slots=True)
class TickExport:
    """Ticks, of every kind, in the order of their time."""

    reader: TickReader
    series: Sequence[Series]
    span: TimeRange

    @property
    def names(self) -> Sequence[SeriesName]:
        """The series, in the order of the file."""
        return [each.name for each in self.series]

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The columns of the file behind those that name the series, and what they hold."""
        return _TICK_KINDS

    async def rows(self) -> AsyncGenerator[tuple[SeriesName, Mapping[str, Any], int], None]:
        """Yield ticks in columns, series after series."""
        for each in self.series:
            pages = self.reader.pages(each, self.span, ALL_KINDS, after=None, rows=PAGE_ROWS)
            async with aclosing(pages):
                async for page in pages:
                    yield each.name, _tick_columns(page.columns), len(page.columns)


async def file_data(export: Export, format: FileFormat) -> AsyncGenerator[tuple[bytes, int], None]:  # noqa: A002 - the contract's word
    """Yield the bytes of a file as they come, with the number of rows in them."""
    writer = await asyncio.to_thread(FileWriter, format, export.kinds)
    async with aclosing(export.rows()) as parts:
        async for name, columns, rows in parts:
            names = (name.provider, name.symbol, name.interval)
            yield await asyncio.to_thread(writer.add, names, columns, rows), rows
    yield await asyncio.to_thread(writer.close), 0


def _column(name: str) -> str:
    return name.removesuffix("_ns")


def _kind(name: str) -> Kind:
    if name.endswith("_ns"):
        return "time"
    return "whole" if name in _WHOLE else "float"


def _bar_columns(bars: BarColumns, names: Sequence[str]) -> Mapping[str, Any]:
    return {_column(name): values for name in names if (values := getattr(bars, name)) is not None}


def _tick_columns(ticks: TickColumns) -> Mapping[str, Any]:
    columns: dict[str, Any] = {f"{name}_time": getattr(ticks, f"{name}_time_ns") for name in _TICK_TIMES}
    for name in (*_TICK_NUMBERS, "venue_sequence", "trade_id"):
        columns[name] = getattr(ticks, name)
    columns["kind"] = _KIND_WORDS[_or_none(ticks.kind, len(ticks), TickKind.TRADE)]
    columns["side"] = _SIDE_WORDS[_or_none(ticks.side, len(ticks), Side.UNKNOWN)]
    columns["flags"] = _FLAG_WORDS[_or_none(ticks.flags, len(ticks), TickFlag.NONE)]
    return columns


def _or_none(values: Any, rows: int, otherwise: int) -> Any:
    return np.full(rows, int(otherwise)) if values is None else values
