"""The daily maintenance of CME Globex, which exchange_calendars leaves out: it lets each session touch the next one.

Since the trade date 2015-09-21 every market on Globex stands still from 16:00 to 17:00 Chicago; before, equity indices,
metals and energy traded until 16:15 (notice of CME Group of September 2015). Shorter hours of single products, such as
those of grains, are not told by a calendar of the whole exchange.
"""

from __future__ import annotations

import datetime as dt
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from quasar.model.columns import Int64Array
from quasar.model.instants import day_ns, ns_date, to_ns
from quasar.model.sessions import Sessions

_CHICAGO: Final = ZoneInfo("America/Chicago")
_EARLIER_FROM_NS: Final = day_ns(dt.date(2015, 9, 21))
_FORMER_HALT, _HALT = dt.time(16, 15), dt.time(16)

GLOBEX: Final = frozenset({"CMES", "us_futures"})
"""The calendars of exchange_calendars that follow the hours of Globex."""


def before_maintenance(sessions: Sessions) -> Sessions:
    """Return sessions of Globex that end when its maintenance begins, or earlier where they do already."""
    closes = np.minimum(sessions.close_ns, _halts(sessions.date_ns))
    return Sessions(sessions.date_ns, sessions.open_ns, closes, sessions.break_start_ns, sessions.break_end_ns)


def _halts(dates_ns: Int64Array) -> Int64Array:
    halts = [
        dt.datetime.combine(ns_date(date), _HALT if date >= _EARLIER_FROM_NS else _FORMER_HALT, tzinfo=_CHICAGO)
        for date in dates_ns.tolist()
    ]
    return np.array([to_ns(halt) for halt in halts], dtype=np.int64)
