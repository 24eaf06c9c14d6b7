"""How the feeds are that other replicas run: told over the bus every second, and believed for a while."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from datahub.live.states import FeedFacts

BELIEVED_NS: Final = 10_000_000_000
"""A replica that has told nothing for so long has no feeds any more."""
TOLD_NS: Final = 3_000_000_000
"""Who has told of a feed within so long runs it."""
_TOLD: Final = ("connected", "detail", "since_ns", "last_message_ns", "connects", "host", "rows", "gaps", "down")


def told(facts: FeedFacts, symbols: Iterable[str] = ()) -> dict[str, Any]:
    """Return what other replicas are told of a connection.

    Args:
        facts: What is known of it.
        symbols: What it carries, where it is not the first of its provider: whatever no other carries is on that.
    """
    known = {name: getattr(facts, name) for name in (*_TOLD, "provider", "number")}
    return known | {"refused": facts.refused, "no_room": sorted(facts.no_room), "symbols": sorted(symbols)}


class RemoteFeeds:
    """The connections of other replicas, as they were told last."""

    def __init__(self) -> None:
        """Begin without any."""
        self.rows_ns: dict[int, int] = {}
        """When the last row of a series of ticks came over the bus."""
        self._heard: dict[str, tuple[int, dict[int, FeedFacts], dict[str, int]]] = {}
        """When it was told, the connections by number, and which one carries a symbol, by provider."""

    def hear(self, feeds: Mapping[str, Mapping[str, Any]], now_ns: int) -> bool:
        """Take what one replica tells of all its connections, by id; tell whether one is in another state.

        Raises:
            KeyError: Something is missing in it.
        """
        heard: dict[str, tuple[int, dict[int, FeedFacts], dict[str, int]]] = {}
        for known in feeds.values():
            facts = _facts(known)
            _, connections, numbers = heard.setdefault(facts.provider, (now_ns, {}, {}))
            connections[facts.number] = facts
            numbers.update(dict.fromkeys(known["symbols"], facts.number))
        changed = any(_states(self._heard.get(provider)) != _states(news) for provider, news in heard.items())
        self._heard.update(heard)
        return changed

    def facts_of(self, provider: str, symbol: str, now_ns: int) -> FeedFacts | None:
        """Return how the connection is that carries a symbol, or refuses it; None: no other replica runs it."""
        heard_ns, connections, numbers = self._heard.get(provider, (0, {}, {}))
        return None if now_ns - heard_ns > BELIEVED_NS else connections.get(numbers.get(symbol, 0))

    def runs(self, provider: str, now_ns: int) -> bool:
        """Tell whether another replica runs the connections of a provider."""
        return provider in self._heard and now_ns - self._heard[provider][0] < TOLD_NS


def _facts(known: Mapping[str, Any]) -> FeedFacts:
    facts = FeedFacts(str(known["provider"]), int(known["number"]), refused=dict(known["refused"]))
    for name in _TOLD:
        setattr(facts, name, known[name])
    facts.no_room = frozenset(known["no_room"])
    return facts


def _states(heard: tuple[int, dict[int, FeedFacts], dict[str, int]] | None) -> object:
    """Return what readers are told of as soon as it changes."""
    if heard is None:
        return None
    _, connections, numbers = heard
    return {number: (one.connected, one.down, one.refused) for number, one in connections.items()}, numbers
