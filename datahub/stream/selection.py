"""What a stream's selectors stand for: topics of live symbols, and a word on everything that has none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from datahub.live.symbols import LiveName, LiveSeries
from datahub.reads.query import Source
from datahub.stream.topic import CONTENT_OF_KIND, Content, Topic
from quasar.errors import InvalidArgument
from quasar.model.intervals import Interval

_OF_FEEDS = (Content.GAPS, Content.FEED_HEALTH)
KINDS = {content: kind for kind, content in CONTENT_OF_KIND.items()}


@dataclass(frozen=True, slots=True)
class Named:
    """A symbol that a selector names."""

    requested: str
    """As it was asked for: a common symbol, or provider and symbol."""
    name: LiveName | None
    """None: the name stands for nothing."""
    why: str = ""
    """Why it stands for nothing, for people."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What one selector asks of one symbol."""

    name: LiveName
    contents: tuple[Content, ...]
    intervals: tuple[str, ...] = ()
    source: Source = Source.MERGED
    """Which bars."""


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one symbol and content of a selector."""

    selector_id: str
    requested: str
    content: Content
    topic: Topic | None = None
    """Where it is published; names its series."""
    also: tuple[Topic, ...] = ()
    """Where the rest of it is published."""
    live: LiveSeries | None = None
    reason: str = ""
    """A name of `ErrorReason`; empty: accepted."""
    message: str = ""


@dataclass(slots=True)
class Selection:
    """The selectors of one stream."""

    items: dict[str, list[Item]] = field(default_factory=dict)
    """What each selector stands for, by its id."""
    selectors: dict[str, Any] = field(default_factory=dict)
    """The selectors as they were asked for, by their id."""

    @property
    def topics(self) -> frozenset[Topic]:
        """Everything that is accepted; who wants forming bars gets the closed ones too, and gaps come with any data."""
        found: set[Topic] = set()
        for item in self.all():
            if item.topic is None or item.live is None or item.content is Content.FEED_HEALTH:
                continue
            found.update((item.topic, *item.also))
            found.add(Topic(item.live.ticks.series_id, Content.GAPS))
        return frozenset(found)

    def update(self, other: Selection) -> None:
        """Take over the selectors of another selection."""
        self.items.update(other.items)
        self.selectors.update(other.selectors)

    def drop(self, selector_id: str) -> list[Item]:
        """Take out a selector; return its items."""
        self.selectors.pop(selector_id, None)
        return self.items.pop(selector_id, [])

    def all(self) -> Iterable[Item]:
        """Return the items of all selectors."""
        return (item for items in self.items.values() for item in items)


def refused(selector_id: str, requested: str, contents: Sequence[Content], why: tuple[str, str]) -> list[Item]:
    """Return the items of a name that cannot be had.

    Args:
        selector_id: Whose wish it is.
        requested: The name.
        contents: What of it is asked for.
        why: A name of `ErrorReason`, and the same for people.
    """
    reason, message = why
    return [Item(selector_id, requested, content, reason=reason, message=message) for content in contents]


def resolved(selector_id: str, wish: Wish, live: LiveSeries | None, why_not: tuple[str, str]) -> list[Item]:
    """Return the items of one wish.

    Args:
        selector_id: Whose wish it is.
        wish: What is asked for.
        live: The symbol, when its live data is collected.
        why_not: What to say when it is not: a name of `ErrorReason`, and the same for people.
    """
    requested = str(wish.name)
    if live is None:
        return refused(selector_id, requested, wish.contents, why_not)
    items: list[Item] = []
    for content in wish.contents:
        if content in KINDS and KINDS[content] not in live.kinds:
            told = f"{requested} is subscribed to without {content.name}; set tick_kinds of a live subscription of it."
            items.append(Item(selector_id, requested, content, reason="FAILED_PRECONDITION", message=told))
        elif content in KINDS or content in _OF_FEEDS:
            items.append(Item(selector_id, requested, content, Topic(live.ticks.series_id, content), live=live))
        elif wish.source is Source.HISTORICAL:
            told = "bar_source must be of live bars in a stream, was HISTORICAL; ReadBars has the history."
            items += refused(selector_id, requested, [content], ("INVALID_ARGUMENT", told))
        else:
            items += _bars(selector_id, wish, content, live)
    return items


def _bars(selector_id: str, wish: Wish, content: Content, live: LiveSeries) -> list[Item]:
    items, requested = [], str(wish.name)
    for text in wish.intervals or ("1min",):
        try:
            series = live.bars.get(Interval.parse(text))
            built = ", ".join(str(one) for one in live.bars)
            reason = "" if series else "FAILED_PRECONDITION"
            message = (
                "" if series else f"Live bars of {requested} are built at {built}; subscribe to it at {text} to add it."
            )
        except InvalidArgument as error:
            series, reason, message = None, error.reason, error.message
        named = f"{requested}@{text}"
        if series is None:
            items.append(Item(selector_id, named, content, reason=reason, message=message))
            continue
        topic, *also = (Topic(series.series_id, each) for each in _PUBLISHED[wish.source, content])
        items.append(Item(selector_id, named, content, topic, tuple(also), live))
    return items


_OF_SOURCE = {
    Source.MERGED: ((Content.CLOSED_BARS, Content.LONE_BARS), (Content.FORMING_BARS, Content.LONE_FORMING)),
    Source.LIVE_TICKS: ((Content.CLOSED_BARS,), (Content.FORMING_BARS,)),
    Source.LIVE_PROVIDER: ((Content.PUSHED_BARS, Content.LONE_BARS), (Content.PUSHED_FORMING, Content.LONE_FORMING)),
}
_PUBLISHED = {(source, Content.CLOSED_BARS): closed for source, (closed, _) in _OF_SOURCE.items()} | {
    (source, Content.FORMING_BARS): forming + closed for source, (closed, forming) in _OF_SOURCE.items()
}
"""Where bars of a source are published; who wants forming bars gets the closed ones too."""
