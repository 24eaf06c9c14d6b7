"""Where live ticks begin or begin again: what was missed is fetched, and both sides are joined without a repeat."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from quasar.model.columns import MISSING, BoolArray, Int64Array
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


class RecentTrades:
    """The ids of the latest trades of one symbol: a vendor that repeats itself around a reconnect is heard once."""

    def __init__(self, newest: int = MISSING, *, kept: int = 4096) -> None:
        """Begin after a trade.

        Args:
            newest: Its id; `MISSING`: none is known.
            kept: How many ids are kept at least.
        """
        self.newest = newest
        """The greatest id so far."""
        self._kept = kept
        self._parts: deque[Int64Array] = deque([np.array([newest], np.int64)])
        self._size = 1
        self._forgotten = newest
        """The greatest id that is not remembered any more."""

    def knows_since(self, trade_id: int) -> bool:
        """Tell whether every trade that came and has a greater id is remembered."""
        return trade_id != MISSING and trade_id >= self._forgotten

    def fresh(self, ticks: TickColumns) -> TickColumns:
        """Return the ticks that did not come before, and remember them; those without an id always are."""
        ticks = self.unseen(ticks)
        ids = ticks.trade_id
        if ids is not None and len(ids):
            self.newest = max(self.newest, int(ids.max()))
            self._remember(ids)
        return ticks

    def unseen(self, ticks: TickColumns) -> TickColumns:
        """Return the ticks that did not come before, the same object where none did; those without an id never did."""
        ids = ticks.trade_id
        if ids is None or not len(ids) or (ids[0] > self.newest and bool((ids[1:] > ids[:-1]).all())):
            return ticks
        first = np.zeros(len(ids), dtype=np.bool_)
        first[np.unique(ids, return_index=True)[1]] = True
        keep: BoolArray = (ids == MISSING) | (first & ~np.isin(ids, np.concatenate(self._parts)))
        return ticks if keep.all() else ticks[keep]

    def _remember(self, ids: Int64Array) -> None:
        self._parts.append(ids)
        self._size += len(ids)
        while self._size - len(self._parts[0]) >= self._kept:
            ids = self._parts.popleft()
            self._forgotten = max(self._forgotten, int(ids.max()))
            self._size -= len(ids)
