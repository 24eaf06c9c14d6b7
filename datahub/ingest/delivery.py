"""What is to be stored, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields

from datahub.ingest.quarantine import HeldRow
from datahub.series.series import Series
from quasar.model.bars import BarColumns, BarOrigin
from quasar.model.coverage import NO_RANGES, TimeRanges
from quasar.model.instants import TimeRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Bars of one series as a source gave them, and what the source's answer covers."""

    series: Series
    columns: BarColumns
    requested: TimeRange | None = None
    """Open times that were asked for; rows outside are held back. None: any."""
    answered: TimeRange | None = None
    """Open times that the source has answered for: what is missing there is missing. None: nothing can be said."""
    empty: TimeRanges = NO_RANGES
    """Where the source said that it has nothing."""
    no_trade: TimeRanges = NO_RANGES
    """Where it said that nothing was traded."""
    refused: Sequence[HeldRow] = ()
    """Rows that could not be put into columns."""
    origin: BarOrigin = BarOrigin.HISTORICAL
    source_series_id: int = 0
    """For borrowed bars: the series that they are from."""
    repaired_from: str = ""
    """The provider that fills gaps by this delivery; empty: it is no repair."""
    missing_cause: str = "INCOMPLETE_ANSWER"
    """Why what is missing is missing: a word of the contract's `GapCause`."""
    revision_cause: str = "vendor correction"
    run_id: int | None = None
    operation_id: uuid.UUID | None = None
    given_up: TimeRanges = NO_RANGES
    """Where every source was asked in vain."""
    unanswered: bool = False
    """No source answered: what is missing is missing, also before the first bar."""
    lax: bool = False
    """Store rows whose prices are out of order or whose volume is negative: somebody released them."""
    partial: bool = False
    """It says nothing of what it lacks: where `answered` has no bar, what is known of the slot stays as it is."""
    only_new: bool = False
    """Leave bars that are stored as they are, whatever the delivery says of them."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows of deliveries."""

    fetched: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    quarantined: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Add up."""
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Counts)))
