"""Ticks that were stored and are not in the kept log: the process was killed while its disk did not take the journal.

A reader that resumes would get what is in the journal and what comes now, and nothing of what lies between. So it is
told, with the range to read from the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from datahub.live.gaps import FeedGaps
from datahub.live.recovery import last_events
from datahub.live.symbols import LiveSeries, LiveSymbols
from datahub.store.statements import SQL
from datahub.stream.log import Entry
from quasar import errors, logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.model.instants import from_ns, to_ns

AGAIN_S: Final = 1.0
WHY: Final = "the DataHub was killed while its disk did not take the journal of the live log"

_log = logs.get(__name__)


async def tell_unkept(database: Database, gaps: FeedGaps, entries: Sequence[Entry], clock: Clock) -> None:
    """Tell readers of ticks that were published after the last entry that was kept; wait for the database.

    Args:
        database: Where the ticks are.
        gaps: Tells.
        entries: What was kept, in order.
        clock: The time.
    """
    if not entries:
        return  # no cursor of a former life is good
    while True:
        try:
            wanted = (await LiveSymbols(database).refresh()).values()
            await _tell(database, gaps, entries, [one for one in wanted if one.store_ticks])
        except errors.QuasarError as error:
            _log.warning("what the journal lacks is not known so far", problem=error.message)
            await clock.sleep(AGAIN_S)
        else:
            return


async def _tell(database: Database, gaps: FeedGaps, entries: Sequence[Entry], series: Iterable[LiveSeries]) -> None:
    end_ns = entries[-1].time_ns
    by_id = {one.ticks.series_id: one for one in series}
    rows = await database.fetch(SQL["ticks_published_after"], list(by_id), from_ns(end_ns))
    begins = last_events(entries, {row["series_id"] for row in rows})
    for row in rows:
        series_id, last_ns = row["series_id"], to_ns(row["event_time"]) + row["event_ns"]
        begin_ns = min(begins.get(series_id, end_ns), last_ns)
        _log.warning("the journal lacks ticks that are stored", series=str(by_id[series_id].ticks.name))
        await gaps.left_out(by_id[series_id], begin_ns, last_ns + 1, WHY)
