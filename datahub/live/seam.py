"""Where live ticks begin or begin again: what was missed is fetched, and both sides are joined without a repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quasar.model.columns import MISSING, BoolArray
from quasar.model.ticks import TickColumns, TickFlag


def missed(fetched: TickColumns, after: tuple[int, int], before: TickColumns) -> TickColumns:
    """Return the fetched ticks that lie between what was seen last and what came first.

    Venues count their trades, so ids decide where both sides have them; otherwise times do, strictly between.

    Args:
        fetched: From the vendor's history, by event time.
        after: Event time and trade id of the last tick before the hole; `MISSING` where there is no id.
        before: The first ticks after the hole.
    """
    if not len(fetched):
        return fetched
    last_ns, last_id = after
    keep: BoolArray = np.ones(len(fetched), dtype=np.bool_)
    ids = fetched.trade_id
    keep &= ids > last_id if ids is not None and last_id != MISSING else fetched.event_time_ns > last_ns
    if len(before):
        first_id = before.trade_id[0] if before.trade_id is not None else MISSING
        keep &= (
            ids < first_id
            if ids is not None and first_id != MISSING
            else fetched.event_time_ns < before.event_time_ns[0]
        )
    return _marked(fetched[keep])


def _marked(ticks: TickColumns) -> TickColumns:
    flags = np.full(len(ticks), TickFlag.REFILLED, np.uint8)
    return replace(ticks, flags=flags if ticks.flags is None else ticks.flags | flags)
