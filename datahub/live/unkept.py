"""Ticks that were stored and never published, or not in what was kept of it.

A process that is killed while its disk does not take the journal, or that ends while the bus is away, leaves such
ticks. A reader that resumes would get what was kept and what comes now, and nothing of what lies between. So it is
told, with the range to read from the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from datahub.live.gaps import FeedGaps
from datahub.live.recovery import last_ticks
from datahub.live.symbols import LiveSeries
from datahub.store.statements import SQL
from datahub.stream.log import Entry
from quasar import logs
from quasar.database.pool import Database
from quasar.model.instants import to_ns

WHY: Final = "a DataHub ended before it could publish, or keep, everything that it had taken in"

_log = logs.get(__name__)


async def tell_unkept(
    database: Database, gaps: FeedGaps, entries: Sequence[Entry], series: Sequence[LiveSeries]
) -> None:
    """Tell readers of stored ticks that were to be published after the last entry of their series that was.

    Args:
        database: Where the ticks are.
        gaps: Tells.
        entries: What was published, in order, as far as it was kept.
        series: The symbols in question.

    Raises:
        DatabaseUnavailable: The database is away.
    """
    if not entries:
        return  # no cursor of a former life is good
    by_id = {one.ticks.series_id: one for one in series if one.store_ticks}
    published = last_ticks(entries, set(by_id))
    for row in await database.fetch(SQL["ticks_stored_last"], list(by_id)):
        series_id, last_ns = row["series_id"], to_ns(row["event_time"]) + row["event_ns"]
        # Without an entry it was published before the oldest one, if it was.
        time_ns, begin_ns = published.get(series_id, (entries[0].time_ns, entries[0].time_ns))
        if to_ns(row["publish_time"]) > time_ns:
            _log.warning("ticks are stored and were not published", series=str(by_id[series_id].ticks.name))
            await gaps.left_out(by_id[series_id], min(begin_ns, last_ns), last_ns + 1, WHY)
