"""Bars as rows of messages, for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from datahub.rpc.series_messages import series_key
from datahub.series.series import Series, SeriesName
from quasar.model.bars import BarColumns, BarState
from quasar.rpc.wellknown import timestamp
from quasar_proto.datahub.v1 import market_data_pb2 as pb

_NUMBERS = ("open", "high", "low", "close", "volume", "vwap", "quote_volume")


def bar_messages(columns: BarColumns, adjustment: int, sources: Mapping[int, Series]) -> list[pb.Bar]:
    """Return bars as messages; a missing value is absent."""
    return [_bar(columns, row, adjustment, sources) for row in range(len(columns))]


def _bar(columns: BarColumns, row: int, adjustment: int, sources: Mapping[int, Series]) -> pb.Bar:
    bar = pb.Bar(adjustment=adjustment or pb.ADJUSTMENT_RAW)  # type: ignore[arg-type]
    bar.open_time.FromNanoseconds(int(columns.open_time_ns[row]))
    if columns.close_time_ns is not None:
        bar.close_time.FromNanoseconds(int(columns.close_time_ns[row]))
    for name in _NUMBERS:
        values = getattr(columns, name)
        if values is not None and not math.isnan(values[row]):
            setattr(bar, name, float(values[row]))
    if columns.trade_count is not None and columns.trade_count[row] >= 0:
        bar.trade_count = int(columns.trade_count[row])
    bar.state = int(columns.state[row]) if columns.state is not None else int(BarState.CLOSED)  # type: ignore[assignment]
    if columns.origin is not None:
        bar.origin = int(columns.origin[row])  # type: ignore[assignment]
    if columns.known_time_ns is not None:
        bar.known_time.FromNanoseconds(int(columns.known_time_ns[row]))
    if columns.source_series_id is not None and (found := sources.get(int(columns.source_series_id[row]))):
        bar.source_series.CopyFrom(series_key(found.name))
    return bar


def revision_message(row: Any, run_id: str) -> pb.BarRevision:
    """Return a former version of a bar as a message."""
    bar = pb.Bar(
        open_time=timestamp(row["open_time"]),
        close_time=timestamp(row["close_time"]),
        state=pb.BAR_STATE_REVISED if row["revision"] else pb.BAR_STATE_CLOSED,
        origin=row["origin"],
        known_time=timestamp(row["known_from"]),
        adjustment=pb.ADJUSTMENT_RAW,
    )
    for name in (*_NUMBERS, "trade_count"):
        if row[name] is not None:
            setattr(bar, name, row[name])
    if row["source_provider"]:
        source = SeriesName(row["source_provider"], row["source_symbol"], row["source_interval"])
        bar.source_series.CopyFrom(series_key(source))
    return pb.BarRevision(bar=bar, replaced_time=timestamp(row["known_until"]), run_id=run_id, cause=row["cause"])
