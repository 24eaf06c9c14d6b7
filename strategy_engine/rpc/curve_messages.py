"""What requests for equity curves have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from quasar.errors import FieldViolation, InvalidArgument
from quasar.model.columns import FloatArray, Int64Array
from quasar.model.instants import to_ns
from quasar_proto.strategy.v1 import statistics_pb2

_PREFIX: Final = "EQUITY_COLUMN_"
KEPT: Final = ("equity", "cash", "net_exposure", "gross_exposure", "drawdown", "realised_pnl")
"""Columns of the curves of accounts and instances."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """An equity curve in columns: int64 nanoseconds UTC, ascending, and float64 by name."""

    times: Int64Array
    columns: Mapping[str, FloatArray]

    @classmethod
    def of(cls, rows: Sequence[Any], names: Sequence[str]) -> Curve:
        """Return the curve of stored marks, with these columns."""
        times = np.array([to_ns(row["time"]) for row in rows], dtype=np.int64)
        columns = {name: np.array([float(row[name] or 0) for row in rows]) for name in names if name != "drawdown"}
        if "drawdown" in names:
            peaks = np.maximum.accumulate(columns["equity"]) if len(rows) else columns["equity"]
            safe = np.where(peaks > 0, peaks, 1.0)
            columns["drawdown"] = np.where(peaks > 0, columns["equity"] / safe - 1.0, 0.0)
        return cls(times, columns)

    def chunk(self, rows: Int64Array, first_row: int) -> statistics_pb2.EquityChunk:
        """Return some of its rows as a message."""
        columns = {name: values[rows].tolist() for name, values in self.columns.items()}
        return statistics_pb2.EquityChunk(first_row=first_row, time_ns=self.times[rows].tolist(), **columns)


def require_plain_resumption(request: Any) -> None:
    """Refuse to skip rows of a curve that is thinned: they would be other ones each time.

    Raises:
        InvalidArgument: Both are asked for.
    """
    if request.first_row and request.max_rows:
        text = f"must be 0 together with max_rows, was {request.first_row}"
        raise InvalidArgument(f"first_row {text}.", violations=[FieldViolation("first_row", text)])


def column_names(numbers: Sequence[int], kept: Sequence[str]) -> list[str]:
    """Return the names of the columns that are wanted and kept; equity is always among them."""
    names = [statistics_pb2.EquityColumn.Name(number) for number in numbers]  # type: ignore[arg-type]  # enum values travel as plain integers
    wanted = [name.removeprefix(_PREFIX).lower() for name in names]
    return list(dict.fromkeys(["equity", *(name for name in wanted if name in kept)]))


def nanoseconds_of(request: Any) -> tuple[int | None, int | None]:
    """Return start and end of the range of a request in nanoseconds UTC; None: no bound."""
    start, end = (
        getattr(request.range, name).ToNanoseconds() if request.range.HasField(name) else None
        for name in ("start", "end")
    )
    return start, end
