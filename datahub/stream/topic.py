"""What readers select: a series and one kind of content of it."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from quasar.model.ticks import TickKind


class Content(IntEnum):
    """A kind of content; numbered as `StreamContent` in the contract."""

    TRADES = 1
    QUOTES = 2
    BOOK_TOP = 3
    CLOSED_BARS = 4
    FORMING_BARS = 5
    GAPS = 6
    FEED_HEALTH = 7
    """Stands in heartbeats; nothing is ever published under it."""


NEVER_LEFT_OUT: Final = frozenset({Content.CLOSED_BARS, Content.GAPS})
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
