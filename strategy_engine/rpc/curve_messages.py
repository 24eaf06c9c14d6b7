"""What requests for equity curves have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from quasar.errors import FieldViolation, InvalidArgument
from quasar_proto.strategy.v1 import statistics_pb2

_PREFIX: Final = "EQUITY_COLUMN_"


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
