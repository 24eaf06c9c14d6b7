"""The live half of `MarketDataService`: streams, watchlists and latest prices."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from datahub.live.feeds import Feeds
from datahub.live.ingest import LiveIngest
from datahub.live.movers import MINUTE
from datahub.live.prices import PriceBoard
from datahub.live.states import FeedFacts, FeedState
from datahub.live.symbols import LiveSeries
from datahub.reads.forming import Forming
from datahub.rpc import live_messages
from datahub.rpc.live_messages import SymbolStatus
from datahub.rpc.live_prices import PriceCalls
from datahub.rpc.live_selectors import LiveSelectors
from datahub.rpc.live_sessions import Session, Sessions, not_found, principal_of_call
from datahub.rpc.live_stream import MarketDataStream, flush_seconds
from datahub.rpc.session_exchange import Replicas, SessionExchange
from datahub.stream.envelope import payload_of
from datahub.stream.hub import Hub
from datahub.stream.log import Cursor
from datahub.stream.reader import Policy
from datahub.stream.selection import Item
from datahub.stream.topic import FORMING, Content, Topic
from quasar import logs
from quasar.clock import Clock
from quasar.convert.columns import decode_bars
from quasar.errors import DatabaseUnavailable, DeadlineExceeded
from quasar.model.bars import Bar
from quasar.ops.hints import Hint
from quasar.rpc.wellknown import duration, timestamp_ns
from quasar_proto.datahub.v1 import feed_pb2, stream_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

BEHIND_S: Final = 2.0
"""How long a replica may be behind another one."""
FORMING_S: Final = 0.2
REGISTRY_S: Final = 20.0
"""Members of indices and mappings are looked at so often, beside when somebody says that they changed."""

_log = logs.get(__name__)


class LiveService:
    """Answers from the hub, the board and the feeds."""

    def __init__(
        self,
        hub: Hub,
        board: PriceBoard,
        feeds: Feeds,
        ingest: LiveIngest,
        selectors: LiveSelectors,
        clock: Clock,
        ready: asyncio.Event | None = None,
        registry_changed: Hint | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        """Bring together what is streamed and where it is found.

        Args:
            hub: What is published.
            board: The latest live prices.
            feeds: The feeds.
            ingest: Makes forming bars.
            selectors: Finds what selectors stand for.
            clock: The time.
            ready: Set when the log holds what was kept.
            registry_changed: Given when the registry changed.
            replicas: Carries questions to other replicas; None: there are none.
        """
        self._ready = ready
        self._hub = hub
        self._board = board
        self._feeds = feeds
        self._ingest = ingest
        self._selectors = selectors
        self._clock = clock
        self._sessions = Sessions()
        self.instance_id = secrets.token_hex(6)
        self._exchange = SessionExchange(replicas, self.instance_id) if replicas is not None else None
        self._registry_changed = registry_changed or Hint(clock)
        self.draining = asyncio.Event()
        """Set when the service stops; streams then end with their cursor."""
        self._prices = PriceCalls(board, feeds, selectors, self._state_of, self._minutes, clock, self.draining)

    async def publish_forming(self) -> None:
        """Publish forming bars that somebody reads, for ever."""
        while True:
            await self._clock.sleep(FORMING_S)
            self._ingest.tick()
            if self._feeds.shared:
                # Nobody here knows what the readers of other replicas select.
                self._ingest.forming(
                    Topic(bar.series_id, content)
                    for content in FORMING
                    for live in self._feeds.symbols.current.values()
                    for bar in live.bars.values()
                )
            elif len(self._sessions):
                wanted = frozenset[Topic]().union(*(each.reader.topics for each in self._sessions.all()))
                self._ingest.forming(wanted)

    async def follow_registry(self) -> None:
        """Bring streams and watchlists up to date when indices or mappings change, for ever."""
        while True:
            mark = self._registry_changed.mark()
            chosen = [one.symbols for each in self._sessions.all() for one in each.selection.selectors.values()]
            chosen += [symbols for watched in self._prices.watched for symbols in watched]
            try:
                if await self._selectors.look(chosen):
                    self._feeds.note_symbols()
            except (DatabaseUnavailable, DeadlineExceeded) as error:
                _log.warning("selectors of streams not read", problem=error.message)
            await self._registry_changed.after(mark, REGISTRY_S)

    async def answer_replicas(self) -> None:
        """Change and end streams that run here when other replicas ask for it, for ever."""
        if self._exchange is not None:
            await self._exchange.run(self.change, self._sessions.take_over)

    async def drain(self, draining: asyncio.Event) -> None:
        """Wait for the service to stop, then let every stream know."""
        await draining.wait()
        self.draining.set()
        self._hub.wake_all()

    # Streams.

    async def stream_market_data(self, request: pb.StreamMarketDataRequest) -> AsyncGenerator[bytes, None]:
        """Yield encoded envelopes until the client leaves, is too slow, or the service stops."""
        await self._reached(request.cursor)
        revision = self._feeds.symbols_revision  # what becomes live from here on may be missing in the selection
        selection = await self._selectors.selection(request.selectors)
        conflate = request.delivery_policy == stream_pb2.DELIVERY_POLICY_CONFLATE
        policy = Policy.CONFLATE if conflate else Policy.LOSSLESS
        if self._exchange is not None and request.session_id:
            await self._exchange.taken_over(principal_of_call(), request.session_id)
        # Nothing is awaited from here to the first envelope: the reader and its past begin at the same place.
        reader = self._hub.join(selection.topics, policy, flush_s=flush_seconds(request, policy))
        session = self._sessions.open(request.session_id, reader, selection)
        stream = MarketDataStream(
            request, session, self._hub, self._ingest, self, self._clock, self.draining, self.instance_id, revision
        )
        try:
            async with aclosing(stream.envelopes()) as envelopes:
                async for written in envelopes:
                    yield written
        finally:
            self._hub.leave(session.reader)
            self._sessions.close(session)

    async def _reached(self, cursor: str) -> None:
        """Wait until the log is as far as a cursor that another replica gave out, if it is a moment behind it."""
        if self._ready is None:
            return
        await self._ready.wait()
        log, until = self._hub.log, self._clock.monotonic() + BEHIND_S
        wanted = Cursor.parse(cursor) if cursor else log.head
        while wanted.epoch == log.epoch and wanted.position > log.position and self._clock.monotonic() < until:
            await self._clock.sleep(0.01)

    @property
    def revision(self) -> int:
        """Grows whenever the state of a feed or of a symbol changes."""
        return self._feeds.revision

    @property
    def symbols_revision(self) -> int:
        """Grows whenever other symbols are live."""
        return self._feeds.symbols_revision

    def symbol_status(self, live: LiveSeries) -> SymbolStatus:
        """Return how the feed of a symbol is, and what its vendor said when it refused the symbol."""
        if live.paused:
            return SymbolStatus(FeedState.DOWN, paused=live.paused)
        facts = self._feeds.facts_of(live.name)
        if facts is None:
            return SymbolStatus(FeedState.DOWN)
        series_id = live.ticks.series_id
        last_ns = max(self._ingest.last_row_ns(series_id), self._feeds.remote.rows_ns.get(series_id, 0))
        now_ns = self._clock.time_ns()
        state = facts.symbol_state(live.name.symbol, last_ns, now_ns)
        if state in (FeedState.QUIET, FeedState.STALE) and not self._board.is_open(series_id, now_ns):
            state = FeedState.SESSION_CLOSED
        symbol = live.name.symbol
        return SymbolStatus(state, facts.refused.get(symbol), symbol in facts.no_room)

    def _state_of(self, live: LiveSeries) -> FeedState:
        return self.symbol_status(live).feed_state

    def _minutes(self, live: LiveSeries) -> Sequence[Bar]:
        """Return the last minutes of a symbol, also where another replica builds them."""
        if (own := self._ingest.minutes(live)) or MINUTE not in live.bars:
            return own
        topics = [Topic(live.bars[MINUTE].series_id, each) for each in (Content.CLOSED_BARS, Content.FORMING_BARS)]
        entries = [entry for topic in topics if (entry := self._hub.latest(topic)) is not None]
        found = {
            bar.open_time_ns: bar for each in entries for bar in decode_bars(payload_of(each.field)).columns.bars()
        }
        return [found[at] for at in sorted(found)]

    def health(self, symbols: Iterable[LiveSeries]) -> list[feed_pb2.FeedHealth]:
        """Return how the feeds of some symbols are, with those of the symbols that are in trouble."""
        carried: dict[str, tuple[FeedFacts, list[LiveSeries]]] = {}
        for live in symbols:
            facts = self._feeds.facts_of(live.name)
            if facts is not None:
                carried.setdefault(facts.feed_id, (facts, []))[1].append(live)
        return [
            live_messages.feed_health(facts, [(live, self.symbol_status(live)) for live in own], self._clock)
            for _, (facts, own) in sorted(carried.items())
        ]

    async def update_subscriptions(self, request: pb.UpdateSubscriptionsRequest) -> pb.UpdateSubscriptionsResponse:
        """Change the selection of a running stream, on whichever replica it runs.

        Raises:
            NotFound: The caller has no such stream.
        """
        principal = principal_of_call()
        answer = await self.change(principal, request)
        if answer is None and self._exchange is not None:
            answer = await self._exchange.change(principal, request)
        if answer is None:
            raise not_found(request.session_id)
        return answer

    async def change(
        self, principal: str, request: pb.UpdateSubscriptionsRequest
    ) -> pb.UpdateSubscriptionsResponse | None:
        """Change the selection of a stream that runs here; None: it does not."""
        session = self._sessions.of(principal, request.session_id)
        if session is None:
            return None
        async with session.changing:
            gone = set(request.remove_selector_ids)
            taken = {each: items for each, items in session.selection.items.items() if each not in gone}
            revision = self._feeds.symbols_revision
            added = await self._selectors.selection(request.add, taken=taken)
            if self._sessions.of(principal, request.session_id) is not session:
                raise not_found(request.session_id)  # the client has left meanwhile
            for selector_id in request.remove_selector_ids:
                session.removed.extend(session.selection.drop(selector_id))
            session.news.extend(added.all())
            session.selection.update(added)
            self._reselected(session, tuple(added.items))
            if revision != self._feeds.symbols_revision:
                await self.follow(session)  # something has become live meanwhile
        selection = session.selection
        return pb.UpdateSubscriptionsResponse(
            selector_ids=list(selection.items),
            series_count=len({item.topic.series_id for item in selection.all() if item.topic is not None}),
            effective_sequence=session.sequence,
        )

    async def follow(self, session: Session) -> None:
        """Bring a selection up to date after other symbols have become live, or ceased to be."""
        selection, asked = session.selection, dict(session.selection.selectors)
        now = await self._selectors.again(selection)
        # What was added meanwhile is up to date; what was removed stays removed.
        same = [each for each, selector in asked.items() if selection.selectors.get(each) is selector]
        former = {_named(item): item for each in same for item in selection.items[each]}
        for item in (item for each in same for item in now.items[each]):
            before = former.pop(_named(item), None)
            if before is None or before.topic != item.topic:
                session.news.append(item)
            elif before.live is not None and item.live is not None and before.live.ticks != item.live.ticks:
                session.described.append(item)
        session.removed.extend(former.values())
        selection.items.update((each, now.items[each]) for each in same)
        self._reselected(session, tuple(dict.fromkeys(item.selector_id for item in session.news)))

    def _reselected(self, session: Session, selector_ids: tuple[str, ...]) -> None:
        """Give a reader its changed selection; what is new in it begins with a snapshot."""
        new = session.selection.topics - session.reader.topics
        self._hub.change(session.reader, session.selection.topics)
        self._ingest.forming(new)
        session.past.extend(self._hub.snapshot(new))
        if selector_ids:
            session.phase = (stream_pb2.STREAM_PHASE_SNAPSHOT, selector_ids)
        session.reader.wake()

    async def get_replay_window(self, request: pb.GetReplayWindowRequest) -> pb.GetReplayWindowResponse:
        """Say how far back a stream can start."""
        self._hub.settle()
        log = self._hub.log
        answer = pb.GetReplayWindowResponse(
            epoch=log.epoch,
            earliest_cursor=str(log.earliest),
            latest_cursor=str(log.head),
            size_bytes=log.size_bytes,
            target_duration=duration(log.max_age_ns / 1e9),
            bus="nats" if self._feeds.shared else "memory",
        )
        if log.earliest_time_ns:
            answer.earliest_time.CopyFrom(timestamp_ns(log.earliest_time_ns))
            answer.latest_time.CopyFrom(timestamp_ns(log.latest_time_ns))
        if request.HasField("time") and (at_ns := request.time.ToNanoseconds()) >= log.earliest_time_ns:
            answer.time_cursor = str(Cursor(log.epoch, log.position_at(at_ns)))
        return answer

    # Prices.

    def watch_prices(self, request: pb.WatchPricesRequest) -> AsyncGenerator[pb.WatchPricesResponse, None]:
        """Yield the prices of a watchlist: all at first, then those that changed."""
        return self._prices.watch(request)

    async def get_latest_prices(self, request: pb.GetLatestPricesRequest) -> pb.GetLatestPricesResponse:
        """Return the latest prices."""
        return await self._prices.latest(request)

    def forming_bars(self, series_ids: Collection[int]) -> Mapping[int, Forming]:
        """Return the bars that are forming of some series whose feed runs here, by their ids."""
        found = self._ingest.forming_now(set(series_ids))
        return {number: Forming(one.bar, one.origin) for number, one in found.items()}

    async def list_top_movers(self, request: pb.ListTopMoversRequest) -> pb.ListTopMoversResponse:
        """Rank live symbols."""
        return await self._prices.movers(request)


def _named(item: Item) -> tuple[str, str, Content]:
    return item.selector_id, item.requested, item.content
