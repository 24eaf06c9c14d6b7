"""One feed for each provider with live symbols, kept in step with the subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from datahub.bus.outlet import RemoteFeeds
from datahub.live.ingest import LiveIngest
from datahub.live.leases import EveryFeed, Leases
from datahub.live.past import Past, read_past, recovered_past
from datahub.live.provider_feed import ProviderFeed
from datahub.live.recovery import Recovered
from datahub.live.remote import facts_of as remote_facts
from datahub.live.remote import runs_elsewhere, told
from datahub.live.states import FeedFacts
from datahub.live.symbols import LiveName, LiveSeries, LiveSymbols
from datahub.providers.runtime import ProviderRuntime
from quasar import errors, logs
from quasar.clock import Clock
from quasar.database.pool import Database

WAIT_S = 1.0
"""A feed whose lease is held and that still runs elsewhere is looked at so often."""

_log = logs.get(__name__)


class Feeds:
    """All feeds of this process, kept in step with the subscriptions."""

    def __init__(
        self,
        symbols: LiveSymbols,
        runtime: ProviderRuntime,
        ingest: LiveIngest,
        database: Database,
        clock: Clock,
        changed: Callable[[], None],
        recover: Callable[[], Recovered] = Recovered,
        leases: Leases | None = None,
        remote: RemoteFeeds | None = None,
    ) -> None:
        """Run feeds for what `symbols` wants; `changed` hears when `revision` has grown.

        Args:
            symbols: What is wanted.
            runtime: The providers.
            ingest: Takes in what feeds bring.
            database: Where the past of symbols is.
            clock: The time.
            changed: Hears when `revision` has grown.
            recover: Returns what was published before symbols were followed here.
            leases: Which feeds run here; by default every one.
            remote: How those are that run elsewhere.
        """
        self._recover = recover
        self._recovers = True
        self._waits = False
        self._leases = leases or EveryFeed()
        self.shared = leases is not None
        """Whether other replicas run some of the feeds."""
        self.remote = remote or RemoteFeeds()
        self.symbols = symbols
        self._runtime = runtime
        self._ingest = ingest
        self._database = database
        self._clock = clock
        self._tell_change = changed
        self.revision = 0
        """Grows whenever a feed or a symbol is in another state."""
        self.symbols_revision = 0
        """Grows whenever other symbols are wanted."""
        self.running: dict[str, ProviderFeed] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._awaited: list[asyncio.Future[None]] = []

    async def caught_up(self) -> None:
        """Wait until the subscriptions that exist now were read, or until that has failed."""
        read = asyncio.get_running_loop().create_future()
        self._awaited.append(read)
        self._changed.set()
        await read

    def facts_of(self, name: LiveName) -> FeedFacts | None:
        """Return what is known of the feed of a symbol."""
        return self.facts_of_provider(name.provider)

    def facts_of_provider(self, provider: str) -> FeedFacts | None:
        """Return what is known of a feed, here or at another replica."""
        feed = self.running.get(provider)
        return feed.facts if feed else remote_facts(self.remote, provider, self._clock.time_ns())

    def told(self) -> dict[str, Any]:
        """Return what other replicas are told of the feeds of this one."""
        return {provider: told(feed.facts) for provider, feed in self.running.items()}

    async def run(self, every_s: float = 5.0) -> None:
        """Keep feeds running until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                # Taken before the look: who asks while it goes on needs the next one.
                self._changed.clear()
                awaited, self._awaited = self._awaited, []
                try:
                    await self._reconcile(group)
                except errors.QuasarError as error:
                    _log.warning("live subscriptions not read", problem=error.message)
                for read in awaited:
                    if not read.done():
                        read.set_result(None)
                try:
                    async with asyncio.timeout(WAIT_S if self._waits else every_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def _reconcile(self, group: asyncio.TaskGroup) -> None:
        former = self.symbols.current.keys()
        current = await self.symbols.refresh()
        held = await self._leases.hold(self.symbols.providers)
        here = frozenset(provider for provider in held if self._may_run(provider))
        self._waits = here != held
        await self._follow({name: series for name, series in current.items() if name.provider in here})
        if current.keys() != former:
            self.symbols_revision += 1
            self._tell_change()
        for provider in list(self.running):
            if provider not in here:
                await self.running.pop(provider).want(())
                self._tasks.pop(provider).cancel()
        for provider in sorted(here):
            feed = self.running.get(provider)
            wanted = self.symbols.of_provider(provider)
            if feed is not None:
                await feed.want(wanted)
                continue
            feed = ProviderFeed(provider, self._runtime, self._ingest, self._clock, self.note_change)
            await feed.want(wanted)
            self.running[provider] = feed
            self._tasks[provider] = group.create_task(feed.run(), name=f"feed {provider}")

    def _may_run(self, provider: str) -> bool:
        """Tell whether a feed runs here, or no other replica tells of it any more."""
        return provider in self.running or not runs_elsewhere(self.remote, provider, self._clock.time_ns())

    def note_change(self) -> None:
        """Note that a feed, here or elsewhere, or one of its symbols is in another state."""
        self.revision += 1
        self._tell_change()

    async def _follow(self, current: Mapping[LiveName, LiveSeries]) -> None:
        new = [series for series in current.values() if not self._ingest.follows(series.ticks.series_id)]
        past: dict[int, Past] = {}
        if new:
            # A symbol that was given up a moment ago may have ticks on their way to the table.
            await self._ingest.stored()
            past = await read_past(self._database, new)
        # Afterwards everything that is published of a symbol here is on its way to the table, unless another replica
        # published it.
        recovered = self._recover() if new and self._recovers else Recovered()
        self._recovers = self.shared or not new
        for series in new:
            series_id = series.ticks.series_id
            past[series_id], unstored = recovered_past(past[series_id], series, recovered)
            self._ingest.restore(series, unstored, show=not self.shared)
        for series in current.values():
            self._ingest.follow(series, past.get(series.ticks.series_id, Past()))
        began = [series_id for series_id, known in past.items() if known.end.event_ns]
        await self._ingest.interrupted(began, "the DataHub was not running, or did not follow it", "NOT_COLLECTED")
