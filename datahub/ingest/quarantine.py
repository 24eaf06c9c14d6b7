"""Rows that are not stored: why, and as they came."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quasar.model.bar_checks import BarCheck, Flaw, describe
from quasar.model.bars import BarColumns
from quasar.model.columns import MISSING

_REASONS = (
    (Flaw.NOT_FINITE, "NOT_FINITE"),
    (Flaw.OUTSIDE_REQUEST, "OUTSIDE_RANGE"),
    (Flaw.NOT_ALIGNED, "OFF_GRID"),
    (Flaw.HIGH_BELOW_LOW, "PRICE_ORDER"),
    (Flaw.OUTSIDE_HIGH_LOW, "PRICE_ORDER"),
    (Flaw.NEGATIVE_VOLUME, "NEGATIVE"),
    (Flaw.CONFLICTING, "CONFLICT"),
)
_SHOWN = ("open_time_ns", "open", "high", "low", "close", "volume")
FURTHER = ("trade_count", "vwap", "quote_volume", "adjusted_close", "dividend", "split_factor", "open_interest")
"""What a row may have beside that; a released row has it again."""


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A row that is held back."""

    time_ns: int | None
    """Its open time; None: it has none that can be read."""
    reason: str
    """A word of the contract's `QuarantineReason`."""
    detail: str
    payload: dict[str, Any]
    """The row as it came; numbers that JSON lacks stand as text."""


def held_rows(columns: BarColumns, check: BarCheck, now_ns: int) -> list[HeldRow]:
    """Return the bad rows of a delivery. A row that merely came twice is not held: it is stored once."""
    return list(_held(columns, check, now_ns))


def _held(columns: BarColumns, check: BarCheck, now_ns: int) -> Iterator[HeldRow]:
    for row in np.flatnonzero(check.flaws & ~np.uint16(Flaw.REPEATED)):
        flaws = Flaw(int(check.flaws[row]))
        time_ns = int(columns.open_time_ns[row])
        reason = next(word for flaw, word in _REASONS if flaw in flaws)
        if reason == "OUTSIDE_RANGE" and time_ns > now_ns:
            reason = "FUTURE"
        payload = {name: readable(getattr(columns, name)[row].item()) for name in _SHOWN}
        detail = f"{describe(flaws)}, was {_values(payload)}"
        yield HeldRow(time_ns, reason, detail, payload | _further(columns, int(row)))


def _further(columns: BarColumns, row: int) -> dict[str, Any]:
    """Return what else a row has; what it lacks is left out."""
    given = {name: values[row].item() for name in FURTHER if (values := getattr(columns, name)) is not None}
    return {name: value for name, value in given.items() if value == value and value != MISSING}


def readable(value: object) -> object:
    """Return a value as JSON has it."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _values(payload: dict[str, Any]) -> str:
    return ", ".join(f"{name} {payload[name]}" for name in _SHOWN[1:])


def times_of(rows: Sequence[HeldRow]) -> list[int]:
    """Return the open times of rows that have one."""
    return [row.time_ns for row in rows if row.time_ns is not None]
