"""How the feeds are that other replicas run: told over the bus every second, and believed for a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from datahub.bus.outlet import RemoteFeeds
from datahub.live.states import FeedFacts

BELIEVED_NS: Final = 10_000_000_000
"""A replica that has told nothing for so long has no feeds any more."""
TOLD_NS: Final = 3_000_000_000
"""Who has told of a feed within so long runs it."""
_TOLD: Final = ("connected", "detail", "since_ns", "last_message_ns", "connects", "host", "rows", "gaps", "down")


def told(facts: FeedFacts) -> dict[str, Any]:
    """Return what other replicas are told of a feed."""
    return {name: getattr(facts, name) for name in _TOLD} | {"refused": dict(facts.refused)}


def facts_of(remote: RemoteFeeds, provider: str, now_ns: int) -> FeedFacts | None:
    """Return how a provider's feed is at another replica; None: none runs it."""
    heard_ns, known = remote.facts.get(provider, (0, {}))
    if not known or now_ns - heard_ns > BELIEVED_NS:
        return None
    return _facts(provider, known)


def runs_elsewhere(remote: RemoteFeeds, provider: str, now_ns: int) -> bool:
    """Tell whether another replica runs the feed of a provider."""
    return now_ns - remote.facts.get(provider, (0, {}))[0] < TOLD_NS


def _facts(provider: str, known: Mapping[str, Any]) -> FeedFacts:
    facts = FeedFacts(provider, refused=dict(known["refused"]))
    for name in _TOLD:
        setattr(facts, name, known[name])
    return facts
