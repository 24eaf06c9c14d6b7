"""What is known of the connections that another replica runs."""

from __future__ import annotations

import json
from typing import Any

from datahub.live.feeds import Feeds
from datahub.live.provider_feed import ProviderFeed
from datahub.live.remote import BELIEVED_NS, TOLD_NS, RemoteFeeds
from datahub.live.symbols import LiveName
from quasar.testing.clock import FakeClock
from tests.unit.datahub.live.test_ingest import series_of

Nobody: Any = None
"""Stands for what is not asked here."""


class Replica:
    """One that runs three connections of a vendor, and tells of them as it does over the bus."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.feeds = Feeds(Nobody, Nobody, Nobody, Nobody, self.clock, lambda: None)

    async def run(self, *carried: str, beyond: str = "") -> None:
        """Put a symbol on each connection, and one on none."""
        self.feeds.running.clear()
        for number, symbol in enumerate(carried):
            feed = ProviderFeed("vendor", Nobody, Nobody, self.clock, lambda: None, number)
            left_out = [series_of(90, beyond)] if beyond and not number else []
            await feed.want([series_of(10 * number, symbol)], left_out, "there is no room")
            feed.facts.connected = True
            self.feeds.running[feed.facts.feed_id] = feed

    def told(self) -> Any:
        """Return what the others hear."""
        return json.loads(json.dumps(self.feeds.told()))


async def test_a_symbol_has_the_state_of_the_connection_that_carries_it() -> None:
    replica, remote = Replica(), RemoteFeeds()
    await replica.run("BTC/USD", "ETH/USD", "SOL/USD", beyond="LTC/USD")
    replica.feeds.running["vendor/1"].facts.connected = False
    now_ns = replica.clock.time_ns()
    remote.hear(replica.told(), now_ns)

    other = Feeds(Nobody, Nobody, Nobody, Nobody, replica.clock, lambda: None, remote=remote)
    found = {name: other.facts_of(LiveName("vendor", name)) for name in ("BTC/USD", "ETH/USD", "SOL/USD", "LTC/USD")}
    assert {name: (facts.feed_id, facts.connected) for name, facts in found.items() if facts is not None} == {
        "BTC/USD": ("vendor/0", True),
        "ETH/USD": ("vendor/1", False),
        "SOL/USD": ("vendor/2", True),
        "LTC/USD": ("vendor/0", True),
    }
    refused = found["LTC/USD"]
    assert refused is not None
    assert (refused.refused, refused.no_room) == ({"LTC/USD": "there is no room"}, frozenset({"LTC/USD"}))
    assert other.facts_of(LiveName("nobody", "BTC/USD")) is None


async def test_what_was_told_is_read_once_and_believed_for_a_while() -> None:
    replica, remote = Replica(), RemoteFeeds()
    await replica.run("BTC/USD")
    now_ns = replica.clock.time_ns()
    remote.hear(replica.told(), now_ns)
    first = remote.facts_of("vendor", "BTC/USD", now_ns)
    assert first is not None
    assert remote.facts_of("vendor", "BTC/USD", now_ns + BELIEVED_NS) is first
    assert remote.facts_of("vendor", "BTC/USD", now_ns + BELIEVED_NS + 1) is None
    assert [remote.runs("vendor", now_ns + passed) for passed in (0, TOLD_NS - 1, TOLD_NS)] == [True, True, False]
    assert not remote.runs("nobody", now_ns)


async def test_another_state_of_any_connection_is_a_change_and_a_connection_that_is_gone_is_forgotten() -> None:
    replica, remote = Replica(), RemoteFeeds()
    await replica.run("BTC/USD", "ETH/USD")
    assert remote.hear(replica.told(), 1)
    replica.feeds.running["vendor/1"].facts.rows = 5
    assert not remote.hear(replica.told(), 2)
    replica.feeds.running["vendor/1"].facts.connected = False
    assert remote.hear(replica.told(), 3)
    await replica.run("BTC/USD")
    assert remote.hear(replica.told(), 4)
    left = remote.facts_of("vendor", "ETH/USD", 4)
    assert left is not None
    assert left.feed_id == "vendor/0"
