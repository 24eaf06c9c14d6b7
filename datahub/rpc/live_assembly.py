"""Puts the live half together and starts what runs beside it; called by the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from datahub.bus.journal_writer import JournalWriter
from datahub.bus.outlet import Outlet
from datahub.ingest.writer import BarWriter
from datahub.live.coverage import LiveCoverage
from datahub.live.feeds import Feeds
from datahub.live.gaps import FeedGap, FeedGaps
from datahub.live.ingest import LiveIngest
from datahub.live.leases import Leases
from datahub.live.losses import Gauge, Losses, Place
from datahub.live.prices import PriceBoard
from datahub.live.recovery import Recovered
from datahub.live.remembered import remembered
from datahub.live.session_figures import KnownPast, go_on
from datahub.live.storage import LiveStore, MakesRoom
from datahub.live.symbols import LiveSeries, LiveSymbols
from datahub.live.unkept import tell_unkept
from datahub.live.vendor_bars import Disagreements
from datahub.providers.runtime import ProviderRuntime
from datahub.rpc.live_messages import gap_message
from datahub.rpc.live_selectors import LiveSelectors
from datahub.rpc.live_service import LiveService
from datahub.stream.envelope import GAPS
from datahub.stream.hub import Hub
from datahub.stream.log import LiveLog
from datahub.stream.topic import Content, Topic
from quasar import logs
from quasar.clock import Clock
from quasar.convert import wire
from quasar.database.pool import Database
from quasar.errors import DatabaseUnavailable, DeadlineExceeded
from quasar.ops.events import Events
from quasar.ops.hints import Hint

if TYPE_CHECKING:
    from datahub.bus.jetstream import JetStreamBus  # its library is optional

_log = logs.get(__name__)
HEARD_S = 1.5
"""After so long every other replica has told of its feeds."""
BUS_WAS_AWAY = "the bus between replicas was away for too long"
DATABASE_WAS_AWAY = "the database was away, or too slow, for too long"
UNSTORED_S = 1.0
"""Ticks that were not stored are looked for so often."""
Start = Callable[..., Any]
"""Runs a task beside: `start(coroutine, name)`."""


class LiveHalf:
    """The live half of a DataHub."""

    def __init__(
        self,
        database: Database,
        storage: MakesRoom,
        runtime: ProviderRuntime,
        clock: Clock,
        start: Start,
        events: Events,
        writer: BarWriter,
        carrier: JournalWriter | JetStreamBus | None = None,
        leases: Leases | None = None,
        show: Callable[[str], None] = lambda _: None,
        registry_changed: Hint | None = None,
    ) -> None:
        """Put it together; `run` starts it.

        Args:
            database: Where symbols, ticks and bars are.
            storage: Makes partitions.
            runtime: The providers.
            clock: The time.
            start: Runs a task beside.
            events: Where disagreements of bars are told.
            writer: Enters coverage into the ledger.
            carrier: Keeps what is published, or carries it to other replicas; without one a cursor ends with this
                process.
            leases: Which feeds run here; for replicas that share a bus.
            show: Hears what is lost of live data now, in words for people; empty: nothing is.
            registry_changed: Given when the registry changed: selectors may stand for other symbols then.
        """
        journal = carrier if isinstance(carrier, JournalWriter) else None
        self._bus = None if isinstance(carrier, JournalWriter) else carrier
        self._start = start
        self._clock = clock
        self._database = database
        self.hub = _hub(journal, clock) if self._bus is None else _hub_of_bus(self._bus, clock)
        self._outlet: Outlet = self._bus or self.hub
        self.board = PriceBoard()
        self.store = LiveStore(database, storage, clock)
        self.gaps = FeedGaps(database, self._tell, clock)
        self.losses = Losses(_places(journal, self._bus, self.store), database, events, clock, show)
        self.disagreements = Disagreements(database, events, clock)
        self.ingest = LiveIngest(self._outlet, self.board, self.store, self.gaps, clock, start, self.disagreements.tell)
        self.coverage = LiveCoverage(self.ingest.stretches, self.ingest.stored, writer.store, clock)
        self.feeds = Feeds(
            LiveSymbols(database),
            runtime,
            self.ingest,
            database,
            clock,
            self.hub.wake_all,
            self._recover,
            leases if self._bus is not None else None,
            self._bus.remote if self._bus is not None else None,
            self.board.know,
            self._tell_unkept,
            self._go_on if self._bus is None else None,
            lambda new: start(self._remember(new), "latest of symbols"),
        )
        selectors = LiveSelectors(self.feeds.symbols, database, self.feeds.caught_up)
        ready = self._bus.caught_up if self._bus is not None else None
        self.service = LiveService(
            self.hub, self.board, self.feeds, self.ingest, selectors, clock, ready, registry_changed, self._bus
        )

    def run(self, draining: asyncio.Event) -> None:
        """Start feeds, fan-out and storage; they run until the background ends.

        Args:
            draining: Set when the service begins to stop.
        """
        self._start(self.hub.run(), "fan-out")
        self._start(self.store.run(), "live storage")
        self._start(self.gaps.run(self._clock), "gaps of feeds")
        self._start(self.disagreements.run(), "disagreements of bars")
        self._start(self.losses.run(), "losses of live data")
        self._start(self._record_unstored(), "ticks that are not stored")
        self._start(self.coverage.run(), "coverage of live series")
        self._start(self._run_feeds(), "feeds")
        self._start(self.service.publish_forming(), "forming bars")
        self._start(self.service.drain(draining), "drain of streams")
        self._start(self.service.follow_registry(), "selectors of streams")
        if self._bus is not None:
            self._start(self._bus.send(), "bus, outwards")
            self._start(self._bus.read(self.hub, self.board), "bus, inwards")
            self._start(self._bus.tell_feeds(self.feeds.told), "feeds told")
            self._start(self._bus.hear_feeds(self.feeds.note_change), "feeds heard")
            self._start(self._tell_holes(self._bus), "holes of the bus")
            self._start(self.service.answer_replicas(), "questions of other replicas")

    async def _run_feeds(self) -> None:
        """Run feeds once what was published before is known: it may not be stored."""
        if self._bus is not None:
            await self._bus.caught_up.wait()
            await self._clock.sleep(HEARD_S)
        await self.feeds.run()

    async def _tell_holes(self, bus: JetStreamBus) -> None:
        """Tell readers of what the bus could not carry and no stream has."""
        while True:
            await bus.room.wait()
            bus.room.clear()
            holes = bus.outbox.take_holes()
            for series in self.feeds.symbols.current.values():
                mine = [holes[series_id] for series_id in series.all_ids if series_id in holes]
                if mine:
                    start_ns, end_ns = min(one.start_ns for one in mine), max(one.end_ns for one in mine)
                    await self.gaps.left_out(series, start_ns, end_ns, BUS_WAS_AWAY)

    async def _record_unstored(self) -> None:
        """Record what was not stored because too much waited for the database."""
        while True:
            await self._clock.sleep(UNSTORED_S)
            holes = self.store.take_holes()
            for series in self.feeds.symbols.current.values() if holes else ():
                if (hole := holes.get(series.ticks.series_id)) is not None:
                    why = f"{hole.rows:,} ticks were not stored: {DATABASE_WAS_AWAY}; streams had them"
                    await self.gaps.not_stored(series, hole.start_ns, hole.end_ns, why)

    def measure(self, gauge: Gauge) -> None:
        """Add the figures of the live half to the metrics of the service."""
        self.losses.expose(gauge)
        gauge("subscribers", "Readers of live data.", lambda: float(self.hub.readers))
        gauge("ticks_per_second", "Ticks that its feeds brought, over the last ten seconds.", self._ticks_per_second)

    def _ticks_per_second(self) -> float:
        now_ns = self._clock.time_ns()
        return sum(feed.facts.meter.rows_per_second(now_ns) for feed in tuple(self.feeds.running.values()))

    def _recover(self) -> Recovered:
        """Return what the log holds: what is published of a symbol before it is followed here may not be stored."""
        return Recovered(self.hub.log.after(self.hub.log.earliest))

    async def _tell_unkept(self, series: Sequence[LiveSeries]) -> None:
        """Tell readers of the opposite: what is stored of symbols and was never published."""
        await tell_unkept(self._database, self.gaps, list(self.hub.log.after(self.hub.log.earliest)), series)

    async def _go_on(self, known: Sequence[KnownPast]) -> None:
        """Go on with the sessions of symbols. What comes over a bus is shown as it comes, and would count twice."""
        await go_on(self._database, self.board, known, self._clock.time_ns())

    async def _remember(self, new: Sequence[LiveSeries]) -> None:
        """Have in snapshots what came last of new symbols, where nothing comes of them now."""
        try:
            async for topic, field, time_ns in remembered(self._database, new, self._clock.time_ns()):
                self.hub.remember(topic, field, time_ns)
        except (DatabaseUnavailable, DeadlineExceeded) as error:
            _log.warning("snapshots begin without what came last", symbols=len(new), problem=error.message)

    def _tell(self, gap: FeedGap) -> None:
        self._outlet.publish(
            Topic(gap.series_id, Content.GAPS), wire.embedded(GAPS, gap_message(gap).SerializeToString()), 1
        )


def _places(journal: JournalWriter | None, bus: JetStreamBus | None, store: LiveStore) -> list[Place]:
    """Return where live data can be lost."""
    unstored = f"ticks were not stored: {DATABASE_WAS_AWAY}. They are listed as gaps."
    places = [Place("store", unstored, lambda: store.refused_rows)]
    if bus is not None:
        unsent = f"rows did not reach other replicas and streams: {BUS_WAS_AWAY}. Readers are told as gaps."
        unread = "messages of the bus were dropped before this replica read them. Its readers had to begin anew."
        places.append(Place("bus", unsent, lambda: bus.outbox.refused_rows))
        places.append(Place("inbox", unread, lambda: bus.missed_messages))
    elif journal is not None:
        unkept = "rows are missing in the journal of the live log: the disk was too slow. After a restart no stream"
        unkept += " goes on from before them."
        places.append(Place("journal", unkept, lambda: journal.lost_rows, lambda: _ended(journal.problem)))
    else:
        absent = "The live log is not kept on disk: the disk takes none, or another DataHub uses its folder. After a"
        absent += " restart no stream goes on from a cursor of before."
        places.append(Place("journal", "rows are missing in the journal of the live log.", lambda: 0, lambda: absent))
    return places


def _ended(problem: str) -> str:
    if not problem:
        return ""
    return f"The live log is not kept on disk any more ({problem}). After a restart no stream goes on from its cursor."


def _hub(writer: JournalWriter | None, clock: Clock) -> Hub:
    """Return a hub that goes on where the journal ends."""
    if writer is None:
        return Hub(LiveLog(clock.time_ns() // 1_000_000), clock)
    journal = writer.journal
    hub = Hub(LiveLog(journal.epoch, position=journal.start, lost=journal.lost), clock, writer)
    hub.restore(journal.entries, journal.kept)
    journal.forget_entries()
    return hub


def _hub_of_bus(bus: JetStreamBus, clock: Clock) -> Hub:
    """Return a hub whose positions are those of the bus."""
    return Hub(LiveLog(bus.epoch, position=bus.start), clock)
