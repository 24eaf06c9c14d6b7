"""What a session came to before this process: its figures go on after a restart instead of beginning with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from datahub.live.past import Past, Unstored
from datahub.live.prices import PriceBoard, SessionSoFar
from datahub.live.symbols import LiveSeries
from datahub.store.statements import SQL
from quasar.calendars import Calendar
from quasar.database.pool import Database
from quasar.model.instants import from_ns
from quasar.model.intervals import Interval
from quasar.model.slots import AUCTION_NS, REACH_NS, Slot

_HOUR: Final = Interval.parse("1h")
_MINUTE: Final = Interval.parse("1min")


@dataclass(frozen=True, slots=True, eq=False)
class KnownPast:
    """A symbol and what is known of it from before this process."""

    series: LiveSeries
    stored: Past
    unstored: Unstored


async def go_on(database: Database, board: PriceBoard, known: Sequence[KnownPast], now_ns: int) -> None:
    """Give the board what the present or last session of each symbol came to: whole minutes, then the stored trades.

    Args:
        database: Where the minutes are.
        board: What shows the session.
        known: The symbols; what is unstored of them is shown by whoever stores it.
        now_ns: The time.

    Raises:
        DatabaseUnavailable: The database is away.
    """
    asked: list[tuple[KnownPast, Slot, int]] = []
    for one in known:
        last_ns, until_ns = _ends(one, now_ns)
        slot = board.session_at(one.series.ticks.series_id, last_ns)
        if slot is not None and _MINUTE in one.series.bars:
            asked.append((one, slot, until_ns))
    if not asked:
        return
    rows = await database.fetch(
        SQL["session_so_far"],
        [one.series.bars[_MINUTE].series_id for one, _, _ in asked],
        [from_ns(slot.since_ns) for _, slot, _ in asked],
        [from_ns(until_ns) for _, _, until_ns in asked],
        [from_ns(_before(one.series.ticks.calendar, slot)) for one, slot, _ in asked],
    )
    for (one, slot, until_ns), row in zip(asked, rows, strict=True):
        series_id, trades = one.series.ticks.series_id, one.stored.trades
        names = ("open", "high", "low", "close", "volume", "value", "trades", "previous_close")
        board.go_on(series_id, SessionSoFar(slot.since_ns, *(row[name] for name in names)))
        board.update(series_id, trades[trades.event_time_ns >= max(until_ns, slot.since_ns)])


def _ends(one: KnownPast, now_ns: int) -> tuple[int, int]:
    """Return when a symbol traded last, and up to when minutes are counted and not trades."""
    if len(one.stored.trades):  # those of the hour of the last one are all there
        return one.stored.end.event_ns, _HOUR.floor_ns(one.stored.end.event_ns)
    first_ns = min((int(part.columns.event_time_ns.min()) for part in one.unstored.ticks), default=now_ns)
    return first_ns, _MINUTE.floor_ns(first_ns)


def _before(calendar: Calendar, slot: Slot) -> int:
    """Return when the session before another one ended, its closing auction included."""
    if calendar.always_open:
        return slot.since_ns
    sessions = calendar.sessions(slot.since_ns - REACH_NS, slot.since_ns)
    ended = sessions.close_ns[sessions.close_ns < slot.since_ns]
    return min(slot.since_ns, int(ended.max()) + AUCTION_NS) if len(ended) else slot.since_ns
