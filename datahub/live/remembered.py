"""The latest of each symbol from before this process: a snapshot has it also where nothing trades for days."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple

from datahub.live.bars import BuiltBar
from datahub.live.chunks import bar_field, tick_field
from datahub.live.symbols import LiveSeries
from datahub.reads.ticks import TickReader
from datahub.store.statements import SQL
from datahub.stream.topic import CONTENT_OF_KIND, Content, Topic
from quasar.database.pool import Database
from quasar.model.bars import Bar, BarOrigin, BarState
from quasar.model.columns import MISSING
from quasar.model.instants import NS_PER_DAY, TimeRange, to_ns

REACH_NS: Final = 8 * NS_PER_DAY
"""So far back ticks are looked for: over a week of holidays."""
_FAR_NS: Final = 365 * NS_PER_DAY
"""Some markets are ahead of our clock."""


class Remembered(NamedTuple):
    """What stood last under a topic."""

    topic: Topic
    field: bytes
    time_ns: int
    """When it was published."""


async def remembered(database: Database, series: Sequence[LiveSeries], now_ns: int) -> AsyncGenerator[Remembered]:
    """Yield the last stored tick of each kind and the last closed live bars of symbols.

    Raises:
        DatabaseUnavailable: The database is away.
    """
    ids = {bar.series_id: interval for one in series for interval, bar in one.bars.items()}
    rows = await database.fetch(SQL["live_bars_newest"], list(ids))
    built = {row["series_id"] for row in rows if row["origin"] == BarOrigin.LIVE_TICKS}
    for row in rows:
        series_id, origin = row["series_id"], BarOrigin(row["origin"])
        pushed = Content.PUSHED_BARS if series_id in built else Content.LONE_BARS
        content = Content.CLOSED_BARS if origin is BarOrigin.LIVE_TICKS else pushed
        bar = Bar(
            open_time_ns=to_ns(row["open_time"]),
            close_time_ns=to_ns(row["close_time"]),
            open=row["open"],
            high=row["high"],
            low=row["low"],
            close=row["close"],
            volume=row["volume"],
            trade_count=row["trade_count"],
            vwap=row["vwap"],
            state=BarState.REVISED if row["revision"] else BarState.CLOSED,
        )
        field = bar_field(BuiltBar(series_id, ids[series_id], bar, origin=origin))
        yield Remembered(Topic(series_id, content), field, to_ns(row["known_at"]))
    reader, span = TickReader(database), TimeRange(now_ns - REACH_NS, now_ns + _FAR_NS)
    for one in series:
        for kind in sorted(one.kinds) if one.store_ticks else ():
            page = await reader.page(one.ticks, span, [kind], after=None, rows=1, newest_first=True)
            if page is not None:
                published = page.columns.publish_time_ns
                known = published is not None and int(published[0]) != MISSING
                at_ns = int(published[0]) if published is not None and known else page.last.event_ns
                field = tick_field(one.ticks.series_id, page.columns, page.last.sequence, at_ns, None)
                yield Remembered(Topic(one.ticks.series_id, CONTENT_OF_KIND[kind]), field, at_ns)
