"""One feed for each provider with live symbols, kept in step with the subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from typing import Any

from datahub.live.ingest import LiveIngest
from datahub.live.leases import EveryFeed, Leases
from datahub.live.past import Past, read_past, recovered_past
from datahub.live.provider_feed import ProviderFeed
from datahub.live.recovery import Recovered
from datahub.live.remote import RemoteFeeds, told
from datahub.live.session_figures import KnownPast
from datahub.live.shards import Spread, spread
from datahub.live.states import FeedFacts
from datahub.live.symbols import LiveName, LiveSeries, LiveSymbols
from datahub.providers.runtime import ProviderRuntime
from quasar import errors, logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.model.sessions import SessionSource
from quasar.model.slots import REACH_NS
from quasar.model.ticks import TickKind

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
        know: Callable[[int, SessionSource], None] = lambda _series_id, _sessions: None,
        unkept: Callable[[Sequence[LiveSeries]], Awaitable[None]] | None = None,
        go_on: Callable[[Sequence[KnownPast]], Awaitable[None]] | None = None,
        remember: Callable[[Sequence[LiveSeries]], None] = lambda _: None,
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
            know: Hears by which sessions a new symbol trades, by its series of ticks.
            remember: Hears of new symbols, here and elsewhere: snapshots are to have what came last.
            go_on: Hears what is known of new symbols from before, before anything of it is shown.
            unkept: Tells of what was stored of symbols before they were followed here, and not published.
        """
        self._unkept = unkept
        self._go_on = go_on
        self._remember = remember
        self._know = know
        self._known: frozenset[LiveName] = frozenset()
        self._paused: frozenset[LiveName] = frozenset()
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
        """By the id of the feed."""
        self._spread: dict[str, Spread] = {}
        self._followed: dict[LiveName, int] = {}
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
        feed = self.feed_of(name)
        return feed.facts if feed else self.remote.facts_of(name.provider, name.symbol, self._clock.time_ns())

    def feed_of(self, name: LiveName) -> ProviderFeed | None:
        """Return the feed of this process that carries a symbol, or that refuses it for want of room."""
        number = self._spread.get(name.provider, Spread()).number_of.get(name.symbol, 0)
        return self.running.get(f"{name.provider}/{number}")

    def of_provider(self, provider: str) -> list[ProviderFeed]:
        """Return the feeds of a provider that run in this process, by number."""
        return [feed for feed in self.running.values() if feed.facts.provider == provider]

    def told(self) -> dict[str, Any]:
        """Return what other replicas are told of the feeds of this one, by id."""
        return {
            feed_id: told(feed.facts, feed.series if feed.facts.number else ())
            for feed_id, feed in self.running.items()
        }

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
        former = _contents(self.symbols.current)
        current = await self.symbols.refresh()
        await self._get_to_know(current)
        held = await self._leases.hold(self.symbols.providers)
        here = frozenset(provider for provider in held if self._may_run(provider))
        self._waits = here != held
        await self._follow({name: series for name, series in current.items() if name.provider in here})
        if _contents(current) != former:
            self.note_symbols()
        self._forget({name for name in current if name.provider in here})
        running = {one.name.provider for one in current.values() if not one.paused} & here
        for provider in self._spread.keys() - running:
            del self._spread[provider]
        for feed_id, feed in list(self.running.items()):
            if feed.facts.number >= self._connections(feed.facts.provider, running):
                await self.running.pop(feed_id).want(())
                self._tasks.pop(feed_id).cancel()
        for provider in sorted(running):
            await self._spread_out(provider, group)
        await self._interrupt_paused(
            {name: one for name, one in current.items() if one.paused and name.provider in here}
        )

    async def _interrupt_paused(self, paused: Mapping[LiveName, LiveSeries]) -> None:
        """Tell, once no feed brings them any more, that symbols are paused: what is missed meanwhile is a hole."""
        for name in paused.keys() - self._paused:
            one = paused[name]
            await self._ingest.interrupted([one.ticks.series_id], one.paused, "PROVIDER_PAUSED")
        self._paused = frozenset(paused)

    def _connections(self, provider: str, here: Set[str]) -> int:
        return self._spread.get(provider, Spread()).connections if provider in here else 0

    def _forget(self, followed: set[LiveName]) -> None:
        """Take in no longer what is wanted no longer."""
        for name in self._followed.keys() - followed:
            self._ingest.forget(self._followed[name])
        self._followed = {name: self.symbols.current[name].ticks.series_id for name in followed}

    async def _spread_out(self, provider: str, group: asyncio.TaskGroup) -> None:
        """Put the symbols of a provider on as many connections as its vendor wants."""
        wanted = {one.name.symbol: one for one in self.symbols.of_provider(provider) if not one.paused}
        entry = self._runtime.directory.find(provider)
        room, most = (entry.manifest.symbols_per_connection, entry.manifest.max_live_streams) if entry else (0, 1)
        placed = self._spread[provider] = spread(wanted, self._spread.get(provider, Spread()), room, most)
        why = f"{provider} carries {room} symbols on each of {max(1, most)} connections, and all have their number"
        for number in range(placed.connections):
            carried = [wanted[symbol] for symbol in sorted(placed.carried_by(number))]
            beyond = [wanted[symbol] for symbol in sorted(placed.beyond)] if number == 0 else []
            feed_id = f"{provider}/{number}"
            if feed_id in self.running:
                await self.running[feed_id].want(carried, beyond, why)
                continue
            feed = ProviderFeed(provider, self._runtime, self._ingest, self._clock, self.note_change, number)
            await feed.want(carried, beyond, why)
            self.running[feed_id] = feed
            self._tasks[feed_id] = group.create_task(feed.run(), name=f"feed {feed_id}")

    def _may_run(self, provider: str) -> bool:
        """Tell whether a feed runs here, or no other replica tells of it any more."""
        return f"{provider}/0" in self.running or not self.remote.runs(provider, self._clock.time_ns())

    def note_symbols(self) -> None:
        """Note that other symbols are live, or that selectors stand for other ones."""
        self.symbols_revision += 1
        self.note_change()

    def note_change(self) -> None:
        """Note that a feed, here or elsewhere, or one of its symbols is in another state."""
        self.revision += 1
        self._tell_change()

    async def _get_to_know(self, current: Mapping[LiveName, LiveSeries]) -> None:
        """Load the sessions of new symbols, also of those that run elsewhere."""
        new = [series for name, series in current.items() if name not in self._known]
        if new:
            await asyncio.to_thread(_warm, new, self._clock.time_ns())
        for series in new:
            self._know(series.ticks.series_id, series.ticks.calendar)
        if new:
            self._remember(new)
        self._known = frozenset(current)

    async def _follow(self, current: Mapping[LiveName, LiveSeries]) -> None:
        new = [series for series in current.values() if not self._ingest.follows(series.ticks.series_id)]
        past: dict[int, Past] = {}
        if new:
            # A symbol that was given up a moment ago may have ticks on their way to the table.
            await self._ingest.stored()
            past = await read_past(self._database, new)
        # Afterwards everything that is published of a symbol here is on its way to the table, unless another replica
        # published it.
        recovered = Recovered()
        if new and self._recovers:
            recovered = self._recover()
            if self._unkept is not None:
                await self._unkept(new)
        self._recovers = self.shared or not new
        known: list[KnownPast] = []
        for series in new:
            series_id = series.ticks.series_id
            stored = past[series_id]
            past[series_id], unstored = recovered_past(stored, series, recovered)
            known.append(KnownPast(series, stored, unstored))
        if known and self._go_on is not None:
            await self._go_on(known)
        for one in known:
            self._ingest.restore(one.series, one.unstored, show=not self.shared)
        for series in current.values():
            self._ingest.follow(series, past.get(series.ticks.series_id, Past()))
        quotes_only = {one.ticks.series_id for one in new if TickKind.TRADE not in one.kinds}
        began = [at for at, known in past.items() if known.end.event_ns or (at in quotes_only and known.end.row_ns)]
        await self._ingest.interrupted(began, "the DataHub was not running, or did not follow it", "NOT_COLLECTED")


def _warm(series: Iterable[LiveSeries], now_ns: int) -> None:
    """Load the sessions that bars of days are cut by, which takes a second where a calendar was never asked."""
    for calendar in {one.ticks.calendar.name: one.ticks.calendar for one in series}.values():
        if not calendar.always_open:
            calendar.sessions(now_ns - REACH_NS, now_ns + REACH_NS)


def _contents(current: Mapping[LiveName, LiveSeries]) -> dict[LiveName, object]:
    """Return what readers can select of each symbol."""
    return {name: (one.all_ids, one.kinds, one.paused, one.ticks) for name, one in current.items()}
