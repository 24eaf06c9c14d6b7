"""What of a delivery is new and what differs from what is stored, computed in columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quasar.model.bars import BarColumns
from quasar.model.columns import BoolArray

REQUIRED = ("open", "high", "low", "close", "volume")
OPTIONAL = (
    "trade_count",
    "vwap",
    "quote_volume",
    "adjusted_close",
    "dividend",
    "split_factor",
    "open_interest",
)


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """The rows of a delivery, parted."""

    new: BoolArray
    """Rows whose open time is not stored."""
    changed: BoolArray
    """Rows that are stored with other values."""

    @property
    def unchanged(self) -> int:
        """How many rows are stored already as they are."""
        return int(len(self.new) - self.new.sum() - self.changed.sum())


def told(columns: BarColumns) -> tuple[str, ...]:
    """Return the optional columns that a delivery has; about the others it says nothing."""
    return tuple(name for name in OPTIONAL if getattr(columns, name) is not None)


def differences(delivered: BarColumns, stored: BarColumns) -> Differences:
    """Compare a delivery with what is stored. Both are sorted by open time, each time once.

    A missing value equals a missing value. Columns that the delivery lacks are not compared: a source that does not
    tell a figure does not take it back.
    """
    rows = np.searchsorted(stored.open_time_ns, delivered.open_time_ns)
    inside = rows < len(stored)
    found = np.zeros(len(delivered), dtype=np.bool_)
    found[inside] = stored.open_time_ns[rows[inside]] == delivered.open_time_ns[inside]
    other = np.zeros(int(found.sum()), dtype=np.bool_)
    places = rows[found]
    for name in (*REQUIRED, *told(delivered)):
        mine, theirs = getattr(delivered, name)[found], getattr(stored, name)
        if theirs is None:
            theirs = np.full(len(stored), -1 if mine.dtype.kind == "i" else np.nan, dtype=mine.dtype)
        other |= ~_same(mine, theirs[places])
    changed = np.zeros(len(delivered), dtype=np.bool_)
    changed[found] = other
    return Differences(~found, changed)


def _same(mine: np.ndarray, theirs: np.ndarray) -> BoolArray:
    same = mine == theirs
    if mine.dtype.kind == "f":
        same |= np.isnan(mine) & np.isnan(theirs)
    return np.asarray(same)
