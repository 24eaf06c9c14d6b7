"""The bars that are forming now: of live series, where their feed runs in this process; nothing of them is stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from datahub.reads.query import BarQuery, Source
from quasar.model.bars import Bar, BarColumns, BarOrigin, BarState
from quasar.model.instants import to_ns

_SOURCES = {BarOrigin.LIVE_PROVIDER: Source.LIVE_PROVIDER, BarOrigin.LIVE_TICKS: Source.LIVE_TICKS}


@dataclass(frozen=True, slots=True)
class Forming:
    """A bar that is forming."""

    bar: Bar
    origin: BarOrigin


FormingOf = Callable[[Collection[int]], Mapping[int, Forming]]
"""Returns the bars that are forming of some series, by their ids."""


def nothing_forms(_series_ids: Collection[int]) -> Mapping[int, Forming]:
    """Return none: there is no live half."""
    return {}


def forming_row(found: Forming | None, query: BarQuery, after_ns: int) -> BarColumns:
    """Return a bar that is forming as a row that a read may have beside what is stored; no row where it may not.

    Args:
        found: The bar.
        query: What is wanted.
        after_ns: Open time of the newest stored bar: what is stored is not forming any more.
    """
    if found is None or not query.span.start_ns <= found.bar.open_time_ns < query.span.end_ns:
        return BarColumns.empty()
    if found.bar.open_time_ns <= after_ns or query.source not in (Source.MERGED, _SOURCES.get(found.origin)):
        return BarColumns.empty()
    columns = BarColumns.from_bars([found.bar])
    return BarColumns(
        columns.open_time_ns,
        columns.open,
        columns.high,
        columns.low,
        columns.close,
        columns.volume,
        close_time_ns=columns.close_time_ns,
        trade_count=columns.trade_count,
        vwap=columns.vwap,
        quote_volume=columns.quote_volume,
        state=np.array([BarState.FORMING], np.uint8),
        origin=np.array([found.origin], np.uint8),
        source_series_id=np.zeros(1, np.uint32),
        known_time_ns=np.array([to_ns(query.known_at)], np.int64),
    )
