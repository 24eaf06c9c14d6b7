"""Puts the live half together and starts what runs beside it; called by the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from datahub.live.feeds import Feeds
from datahub.live.gaps import FeedGap, FeedGaps
from datahub.live.ingest import LiveIngest
from datahub.live.prices import PriceBoard
from datahub.live.storage import LiveStore, MakesRoom
from datahub.live.symbols import LiveSymbols
from datahub.providers.runtime import ProviderRuntime
from datahub.rpc.live_messages import gap_message
from datahub.rpc.live_selectors import LiveSelectors
from datahub.rpc.live_service import LiveService
from datahub.stream.envelope import GAPS
from datahub.stream.hub import Hub
from datahub.stream.log import LiveLog
from datahub.stream.topic import Content, Topic
from quasar.clock import Clock
from quasar.convert import wire
from quasar.database.pool import Database

Start = Callable[..., Any]
"""Runs a task beside: `start(coroutine, name)`."""


class LiveHalf:
    """The live half of a DataHub."""

    def __init__(
        self, database: Database, storage: MakesRoom, runtime: ProviderRuntime, clock: Clock, start: Start
    ) -> None:
        """Put it together; `run` starts it."""
        self.hub = Hub(LiveLog(clock.time_ns() // 1_000_000), clock)
        self.board = PriceBoard()
        self.store = LiveStore(database, storage, clock)
        self.gaps = FeedGaps(database, self._tell)
        self.ingest = LiveIngest(self.hub, self.board, self.store, self.gaps, clock, start)
        self.feeds = Feeds(LiveSymbols(database), runtime, self.ingest, database, clock, self.hub.wake_all)
        selectors = LiveSelectors(self.feeds.symbols, database, self.feeds.caught_up)
        self.service = LiveService(self.hub, self.board, self.feeds, self.ingest, selectors, clock)
        self._start = start
        self._clock = clock

    def run(self, draining: asyncio.Event) -> None:
        """Start feeds, fan-out and storage; they run until the background ends.

        Args:
            draining: Set when the service begins to stop.
        """
        self._start(self.hub.run(), "fan-out")
        self._start(self.store.run(), "live storage")
        self._start(self.gaps.run(self._clock), "gaps of feeds")
        self._start(self.feeds.run(), "feeds")
        self._start(self.service.publish_forming(), "forming bars")
        self._start(self.service.drain(draining), "drain of streams")

    def _tell(self, gap: FeedGap) -> None:
        self.hub.publish(
            Topic(gap.series_id, Content.GAPS), wire.embedded(GAPS, gap_message(gap).SerializeToString()), 1
        )
