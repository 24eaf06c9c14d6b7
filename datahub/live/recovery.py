"""What was published in a former life of this process and may not have reached the database, read from the kept log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from datahub.stream.envelope import payload_of
from datahub.stream.log import Entry
from datahub.stream.topic import CLOSED, TICK_CONTENTS
from quasar.convert.columns import TickChunk, decode_bars, decode_ticks
from quasar.model.bars import Bar, BarOrigin


class Recovered:
    """The kept entries, by series. Nothing is decoded before somebody asks."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Take entries in the order of their positions."""
        self._ticks: dict[int, list[bytes]] = {}
        self._bars: dict[int, list[bytes]] = {}
        for entry in entries:
            content, series_id = entry.topic.content, entry.topic.series_id
            if content in TICK_CONTENTS:
                self._ticks.setdefault(series_id, []).append(entry.field)
            elif content in CLOSED:
                self._bars.setdefault(series_id, []).append(entry.field)

    def ticks_after(self, series_id: int, sequence: int) -> list[TickChunk]:
        """Return the ticks of a series that were numbered after `sequence`, in order, and forget the series."""
        found: list[TickChunk] = []
        for field in reversed(self._ticks.pop(series_id, [])):
            chunk = decode_ticks(payload_of(field))
            last = chunk.first_sequence + len(chunk.columns) - 1
            if not chunk.first_sequence or last <= sequence:
                break
            skipped = max(0, sequence + 1 - chunk.first_sequence)
            found.append(TickChunk(series_id, chunk.columns[skipped:], chunk.first_sequence + skipped))
        return found[::-1]

    def bars(self, series_id: int) -> list[tuple[Bar, BarOrigin]]:
        """Return the closed bars of a series with where they are from, in order, and forget the series."""
        found: list[tuple[Bar, BarOrigin]] = []
        for field in self._bars.pop(series_id, []):
            columns = decode_bars(payload_of(field)).columns
            origin = BarOrigin.LIVE_TICKS if columns.origin is None else BarOrigin(int(columns.origin[0]))
            found += [(bar, origin) for bar in columns.bars()]
        return found


def last_ticks(entries: Sequence[Entry], wanted: Set[int]) -> dict[int, tuple[int, int]]:
    """Return when the last ticks of some series were published and when they were, as far as entries have them."""
    found: dict[int, tuple[int, int]] = {}
    for entry in reversed(entries):
        series_id = entry.topic.series_id
        if entry.topic.content in TICK_CONTENTS and series_id in wanted and series_id not in found:
            times = decode_ticks(payload_of(entry.field)).columns.event_time_ns
            found[series_id] = entry.time_ns, int(times.max())
            if len(found) == len(wanted):
                break
    return found
