"""What a read of bars wants."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import IntEnum

from quasar.model.instants import MAX_NS, MIN_NS, TimeRange


class Source(IntEnum):
    """Which of the bars that are kept are wanted; numbered as in the contract."""

    MERGED = 1
    HISTORICAL = 2
    LIVE_PROVIDER = 3
    LIVE_TICKS = 4


class Adjustment(IntEnum):
    """How prices are adjusted; numbered as in the contract."""

    RAW = 1
    SPLIT = 2
    TOTAL = 3


EVERYTHING = TimeRange(MIN_NS, MAX_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class BarQuery:
    """Bars of one series."""

    known_at: dt.datetime
    """Answer with what was known then."""
    span: TimeRange = EVERYTHING
    """Open times."""
    source: Source = Source.MERGED
    own_only: bool = False
    """Leave out borrowed bars."""
    adjustment: Adjustment = Adjustment.RAW
    columns: tuple[str, ...] = ()
    """Optional columns wanted, as in `BarColumns`."""
