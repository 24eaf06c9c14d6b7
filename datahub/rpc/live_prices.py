"""Latest prices, watchlists and movers: from live trades and quotes, and where there are none from the newest bar."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Final, Protocol

from datahub.live.movers import Move, moves_since, ranked
from datahub.live.prices import PriceBoard, Quote
from datahub.live.states import FeedState
from datahub.live.symbols import LiveName, LiveSeries, LiveSymbols
from datahub.rpc import live_messages
from datahub.rpc.live_selectors import LiveSelectors, not_live
from datahub.store import series_table
from datahub.store.statements import SQL
from datahub.stream.selection import Named
from quasar import errors
from quasar.clock import Clock
from quasar.model.bars import Bar
from quasar.model.instants import to_ns
from quasar.rpc.wellknown import seconds, timestamp_ns
from quasar_proto.datahub.v1 import market_data_pb2, price_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

USUAL_WATCH_S: Final = 0.25
USUAL_HEARTBEAT_S: Final = 10.0
USUAL_MOVERS: Final = 20
STATES_S: Final = 1.0
"""A watchlist looks so often whether a feed is in another state."""
BARS_S: Final = 5.0
"""A watchlist looks so often for newer bars of symbols that have no live price."""


class PriceFeeds(Protocol):
    """What prices need to know of feeds."""

    @property
    def symbols(self) -> LiveSymbols:
        """The live symbols."""
        ...

    @property
    def symbols_revision(self) -> int:
        """Grows whenever other symbols are live, or selectors stand for other ones."""
        ...


class PriceCalls:
    """Answers `GetLatestPrices`, `WatchPrices` and `ListTopMovers`."""

    def __init__(
        self,
        board: PriceBoard,
        feeds: PriceFeeds,
        selectors: LiveSelectors,
        state_of: Callable[[LiveSeries], FeedState],
        minutes_of: Callable[[LiveSeries], Sequence[Bar]],
        clock: Clock,
        draining: asyncio.Event,
    ) -> None:
        """Bring together where prices are.

        Args:
            board: The latest live prices.
            feeds: Which symbols are live.
            selectors: Finds what selectors stand for, and has the database where the newest bars are.
            state_of: Returns how the feed of a symbol is.
            minutes_of: Returns the last minutes of a symbol, which may not be stored yet.
            clock: The time.
            draining: Set when the service stops.
        """
        self._board = board
        self._feeds = feeds
        self._selectors = selectors
        self._state_of = state_of
        self._minutes_of = minutes_of
        self._clock = clock
        self._draining = draining
        self.watched: list[Sequence[market_data_pb2.SymbolSelector]] = []
        """What the watchlists that are open select."""

    async def latest(self, request: pb.GetLatestPricesRequest) -> pb.GetLatestPricesResponse:
        """Return the latest price of each symbol, in their order."""
        asked = await self._selectors.names([request.symbols])
        stored = await self.bars(_names(asked))
        answer = pb.GetLatestPricesResponse()
        for named in asked:
            row = self.live_price(named.name) if named.name is not None else None
            if row is None and named.name is not None:
                row = stored.get(named.name)
            if row is not None:
                answer.prices.append(row)
            else:
                answer.missing.append(self.missing(named))
        return answer

    async def watch(self, request: pb.WatchPricesRequest) -> AsyncGenerator[pb.WatchPricesResponse, None]:
        """Yield the prices of a watchlist: all at first, then those that changed.

        Raises:
            Draining: The service stops.
            QuotaExceeded: There are too many symbols.
        """
        self.watched.append(request.symbols)
        try:
            async for message in self._watch(request):
                yield message
        finally:
            self.watched.remove(request.symbols)

    async def _watch(self, request: pb.WatchPricesRequest) -> AsyncGenerator[pb.WatchPricesResponse, None]:
        interval_s = seconds(request.interval) or USUAL_WATCH_S
        heartbeat_s = seconds(request.heartbeat_interval) or USUAL_HEARTBEAT_S
        watch = _Watch(self, self._clock)
        sequence, told, revision, asked = 0, 0.0, -1, list[Named]()
        while not self._draining.is_set():
            if revision != self._feeds.symbols_revision:
                revision = self._feeds.symbols_revision
                asked = await self._selectors.names(request.symbols)
            message = await watch.changed(asked, anew=sequence == 0)
            if message.ByteSize() or sequence == 0 or self._clock.monotonic() - told >= heartbeat_s:
                sequence += 1
                told = self._clock.monotonic()
                message.sequence = sequence
                message.time.CopyFrom(timestamp_ns(self._clock.time_ns()))
                yield message
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await self._draining.wait()
        raise errors.Draining(retry_after_s=1.0)

    async def movers(self, request: pb.ListTopMoversRequest) -> pb.ListTopMoversResponse:
        """Rank live symbols by what they did since their session opened, or over a window."""
        if request.HasField("symbols"):
            names = _names(await self._selectors.names([request.symbols]))
        else:
            names = list(self._feeds.symbols.current)
        rows = [(live, quote) for name in names if (live := self._live(name)) and (quote := self._quote(live))]
        moves = await self._moves(rows, request)
        places = ranked(moves, request.ranking or price_pb2.MOVER_RANKING_CHANGE, request.min_quote_volume)
        now_ns = self._clock.time_ns()
        answer = pb.ListTopMoversResponse(time=timestamp_ns(now_ns), compared=len(places))
        for rank, (place, value) in enumerate(places[: request.limit or USUAL_MOVERS], start=1):
            live, quote = rows[place]
            price = live_messages.price_message(quote, live, self._state_of(live), now_ns)
            mover = answer.movers.add(rank=rank, price=price, ranked_value=value)
            if (move := moves[place]) is not None:
                mover.window_open, mover.window_quote_volume = move.open, move.quote_volume
                if move.change_ratio is not None:
                    mover.window_change_ratio = move.change_ratio
        return answer

    async def _moves(
        self, rows: Sequence[tuple[LiveSeries, Quote]], request: pb.ListTopMoversRequest
    ) -> list[Move | None]:
        if not request.HasField("window"):
            return [Move.of_session(quote) for _, quote in rows]
        since_ns = self._clock.time_ns() - request.window.ToNanoseconds()
        return await moves_since(self._selectors.database, rows, since_ns, self._minutes_of)

    def changed_since(self, name: LiveName, revision: int) -> bool:
        """Tell whether the live price of a symbol changed after a revision of the board."""
        live = self._live(name)
        quote = self._quote(live) if live else None
        return quote is not None and quote.revision > revision

    def live_price(self, name: LiveName) -> price_pb2.Price | None:
        """Return the row of a symbol from its live price; None: it has none."""
        live = self._live(name)
        quote = self._quote(live) if live else None
        if live is None or quote is None:
            return None
        return live_messages.price_message(quote, live, self._state_of(live), self._clock.time_ns())

    def state(self, name: LiveName) -> FeedState:
        """Return how the feed of a symbol is."""
        live = self._live(name)
        return FeedState.UNSPECIFIED if live is None else self._state_of(live)

    @property
    def revision(self) -> int:
        """The revision of the board."""
        return self._board.revision

    async def bars(self, names: Iterable[LiveName]) -> dict[LiveName, price_pb2.Price]:
        """Return rows from the newest bars of symbols without a live price."""
        asked = [name for name in names if (live := self._live(name)) is None or self._quote(live) is None]
        if not asked:
            return {}
        rows = await self._selectors.database.fetch(
            SQL["newest_bar_of_symbols"], [name.provider for name in asked], [name.symbol for name in asked]
        )
        async with self._selectors.database.acquire() as connection:
            series = await series_table.by_ids(connection, [row["series_id"] for row in rows])
        now_ns = self._clock.time_ns()
        found = {}
        for row in rows:
            name = asked[row["place"] - 1]
            live = self._live(name)
            of = live.ticks if live is not None else series[row["series_id"]]
            price = live_messages.bar_price(of, row["close"], to_ns(row["close_time"]), row["origin"], now_ns)
            price.feed_state = int(self.state(name))  # type: ignore[assignment]  # numbered as in the contract
            found[name] = price
        return found

    def missing(self, named: Named) -> pb.MissingItem:
        """Return why a symbol has no price."""
        why = named.why
        if named.name is not None:
            why = "nothing was traded so far" if self._live(named.name) else not_live(named.name)
        return pb.MissingItem(requested=named.requested, message=why)

    def _live(self, name: LiveName) -> LiveSeries | None:
        return self._feeds.symbols.current.get(name)

    def _quote(self, live: LiveSeries) -> Quote | None:
        return self._board.quotes.get(live.ticks.series_id)


def _names(asked: Iterable[Named]) -> list[LiveName]:
    return [named.name for named in asked if named.name is not None]


class _Watch:
    """What a watcher was told last."""

    def __init__(self, calls: PriceCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock
        self._seen = -1
        self._asked: list[Named] = []
        self._states: dict[LiveName, FeedState] = {}
        """How the feed of each row was when it was told."""
        self._of_bars: dict[LiveName, bytes] = {}
        """Rows from bars as they were told, but for their age."""
        self._states_at = self._bars_at = 0.0
        self._shown: dict[LiveName, int] = {}
        """The series of each row that was sent, by symbol."""
        self._missing: list[str] = []

    async def changed(self, asked: Sequence[Named], *, anew: bool) -> pb.WatchPricesResponse:
        """Return what is new since the last time."""
        message, now = pb.WatchPricesResponse(), self._clock.monotonic()
        selected = anew or list(asked) != self._asked
        names = _names(asked)
        seen, self._seen = -1 if selected else self._seen, self._calls.revision
        look = selected or now >= self._states_at + STATES_S
        self._states_at = now if look else self._states_at
        rows = dict(self._live_rows(names, seen, look=look))
        if selected or now >= self._bars_at + BARS_S:
            self._bars_at = now
            rows |= await self._bar_rows(names, every=selected)
        message.prices.extend(rows.values())
        if selected:
            self._asked = list(asked)
            self._take_away(set(names), message)
        for name, price in rows.items():
            former = self._shown.get(name, price.series.series_id)
            if former != price.series.series_id:  # its first live price takes the place of its newest bar
                message.removed_series_ids.append(former)
            self._shown[name] = price.series.series_id
        lacking = [named for named in asked if named.name is None or named.name not in self._shown]
        told = [named.requested for named in lacking]
        if anew or told != self._missing:
            self._missing = told
            message.missing.extend(self._calls.missing(named) for named in lacking)
        return message

    def _live_rows(
        self, names: Iterable[LiveName], seen: int, *, look: bool
    ) -> Iterable[tuple[LiveName, price_pb2.Price]]:
        """Yield the rows of live prices that changed, and with `look` those whose feed is in another state."""
        for name in names:
            state = self._calls.state(name) if look else self._states.get(name)
            if not self._calls.changed_since(name, seen) and state == self._states.get(name):
                continue
            price = self._calls.live_price(name)
            if price is not None:
                self._states[name] = FeedState(price.feed_state)
                yield name, price

    async def _bar_rows(self, names: Iterable[LiveName], *, every: bool) -> dict[LiveName, price_pb2.Price]:
        """Return the rows of bars that changed, or all."""
        found: dict[LiveName, price_pb2.Price] = {}
        for name, price in (await self._calls.bars(names)).items():
            plain = price_pb2.Price()
            plain.CopyFrom(price)
            plain.ClearField("age")
            written = plain.SerializeToString(deterministic=True)
            if every or self._of_bars.get(name) != written:
                self._of_bars[name] = written
                found[name] = price
        return found

    def _take_away(self, kept: set[LiveName], message: pb.WatchPricesResponse) -> None:
        for name in self._shown.keys() - kept:
            message.removed_series_ids.append(self._shown.pop(name))
