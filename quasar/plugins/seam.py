"""Where one process of a feed takes over from another: both see the same ticks for a moment, readers once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from quasar.convert.columns import TickChunk, encode_ticks
from quasar.model.ticks import TickColumns
from quasar.plugins.batches import LiveBatch, LiveTicks

_COLUMNS: Final = (
    "event_time_ns",
    "kind",
    "price",
    "size",
    "side",
    "bid_price",
    "bid_size",
    "ask_price",
    "ask_size",
    "trade_id",
    "trade_id_text",
)


class Seam:
    """Remembers what the former process brought during the change, and takes it out of what the next one brings.

    Rows are compared with all that the venue says of them, and counted: two equal trades stay two.
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._seen: Counter[tuple[Any, ...]] = Counter()

    def __bool__(self) -> bool:
        """Whether anything is remembered."""
        return bool(self._seen)

    def remember(self, batch: LiveBatch) -> None:
        """Note the ticks that a reader was given."""
        for chunk in batch.tick_chunks:
            self._seen.update(_keys(chunk.symbol, chunk.columns))

    def without_repeats(self, batch: LiveBatch) -> LiveBatch:
        """Return the batch without ticks that a reader has been given already."""
        chunks = [kept for chunk in batch.tick_chunks if (kept := self._kept(chunk)) is not None]
        return LiveBatch(chunks, batch.bar_chunks, batch.notices)

    def _kept(self, chunk: LiveTicks) -> LiveTicks | None:
        fresh = np.ones(len(chunk.columns), dtype=np.bool_)
        for row, key in enumerate(_keys(chunk.symbol, chunk.columns)):
            if self._seen.get(key, 0):
                self._seen[key] -= 1
                fresh[row] = False
        if fresh.all():
            return chunk
        columns = chunk.columns[fresh]
        if not len(columns):
            return None
        return LiveTicks(chunk.symbol, chunk.series_id, columns, encode_ticks(TickChunk(chunk.series_id, columns)))


def _keys(symbol: str, columns: TickColumns) -> Iterator[tuple[Any, ...]]:
    present = [getattr(columns, name) for name in _COLUMNS]
    lists = [[None] * len(columns) if one is None else one.tolist() for one in present]
    for row in zip(*lists, strict=True):
        # NaN differs from itself; a column without values and one of missing values say the same.
        yield (symbol, *(None if value is None or value != value or value == "" else value for value in row))
