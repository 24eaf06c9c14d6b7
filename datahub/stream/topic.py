"""What readers select: a series and one kind of content of it."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from quasar.model.ticks import TickKind


class Content(IntEnum):
    """A kind of content; numbered as `StreamContent` in the contract, where bars of every source have one number."""

    TRADES = 1
    QUOTES = 2
    BOOK_TOP = 3
    CLOSED_BARS = 4
    FORMING_BARS = 5
    GAPS = 6
    FEED_HEALTH = 7
    """Stands in heartbeats; nothing is ever published under it."""
    PUSHED_BARS = 14
    """Closed bars that the vendor pushes of what is built from ticks as well."""
    PUSHED_FORMING = 15
    """Its forming bars of the same."""
    LONE_BARS = 24
    """Closed bars that the vendor pushes of what has no ticks."""
    LONE_FORMING = 25
    """Its forming bars of the same."""

    @property
    def told(self) -> Content:
        """What it is in the contract."""
        return _TOLD.get(self, self)


CLOSED: Final = frozenset({Content.CLOSED_BARS, Content.PUSHED_BARS, Content.LONE_BARS})
FORMING: Final = frozenset({Content.FORMING_BARS, Content.PUSHED_FORMING, Content.LONE_FORMING})
_TOLD: Final = dict.fromkeys(CLOSED, Content.CLOSED_BARS) | dict.fromkeys(FORMING, Content.FORMING_BARS)
LONE: Final = {Content.PUSHED_BARS: Content.LONE_BARS, Content.PUSHED_FORMING: Content.LONE_FORMING}
"""What pushed bars are where nothing is built from ticks."""
NEVER_LEFT_OUT: Final = CLOSED | {Content.GAPS}
"""What a conflating reader gets in any case."""

CONTENT_OF_KIND: Final = {
    TickKind.TRADE: Content.TRADES,
    TickKind.QUOTE: Content.QUOTES,
    TickKind.BOOK_TOP: Content.BOOK_TOP,
}
TICK_CONTENTS: Final = frozenset(CONTENT_OF_KIND.values())


class Topic(NamedTuple):
    """One series and one kind of content; a tuple, because dictionaries are full of them."""

    series_id: int
    content: Content
