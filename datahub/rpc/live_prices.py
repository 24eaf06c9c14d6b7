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
from datahub.rpc.live_selectors import LiveSelectors
from datahub.store import series_table
from datahub.store.statements import SQL
from quasar import errors
from quasar.clock import Clock
from quasar.model.instants import to_ns
from quasar.rpc.wellknown import seconds, timestamp_ns
from quasar_proto.datahub.v1 import market_data_pb2, price_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

USUAL_WATCH_S: Final = 0.25
USUAL_HEARTBEAT_S: Final = 10.0
USUAL_MOVERS: Final = 20


class PriceFeeds(Protocol):
    """What prices need to know of feeds."""

    @property
    def symbols(self) -> LiveSymbols:
        """The live symbols."""
        ...

    @property
    def symbols_revision(self) -> int:
        """Grows whenever other symbols are live."""
        ...


class PriceCalls:
    """Answers `GetLatestPrices`, `WatchPrices` and `ListTopMovers`."""

    def __init__(
        self,
        board: PriceBoard,
        feeds: PriceFeeds,
        selectors: LiveSelectors,
        state_of: Callable[[LiveSeries], FeedState],
        clock: Clock,
        draining: asyncio.Event,
    ) -> None:
        """Bring together where prices are.

        Args:
            board: The latest live prices.
            feeds: Which symbols are live.
            selectors: Finds what selectors stand for, and has the database where the newest bars are.
            state_of: Returns how the feed of a symbol is.
            clock: The time.
            draining: Set when the service stops.
        """
        self._board = board
        self._feeds = feeds
        self._selectors = selectors
        self._state_of = state_of
        self._clock = clock
        self._draining = draining

    async def latest(self, request: pb.GetLatestPricesRequest) -> pb.GetLatestPricesResponse:
        """Return the latest price of each symbol, in their order."""
        names = await self._selectors.names([request.symbols])
        prices, missing = await self._rows(names)
        return pb.GetLatestPricesResponse(prices=prices, missing=missing)

    async def watch(self, request: pb.WatchPricesRequest) -> AsyncGenerator[pb.WatchPricesResponse, None]:
        """Yield the prices of a watchlist: all at first, then those that changed.

        Raises:
            Draining: The service stops.
        """
        interval_s = seconds(request.interval) or USUAL_WATCH_S
        heartbeat_s = seconds(request.heartbeat_interval) or USUAL_HEARTBEAT_S
        watch = _Watch(self)
        sequence, told, revision, names = 0, 0.0, -1, list[LiveName]()
        while not self._draining.is_set():
            if revision != self._feeds.symbols_revision:
                revision = self._feeds.symbols_revision
                names = await self._selectors.names(request.symbols)
            message = await watch.changed(names, anew=sequence == 0)
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
            names = await self._selectors.names([request.symbols])
        else:
            names = list(self._feeds.symbols.current)
        rows = [(live, quote) for name in names if (live := self._live(name)) and (quote := self._quote(live))]
        moves = await self._moves(rows, request)
        places = ranked(moves, request.ranking or price_pb2.MOVER_RANKING_CHANGE, request.min_quote_volume)
        now_ns = self._clock.time_ns()
        answer = pb.ListTopMoversResponse(time=timestamp_ns(now_ns), compared=len(places))
        for rank, (place, value) in enumerate(places[: request.limit or USUAL_MOVERS], start=1):
            live, quote = rows[place]
            mover = answer.movers.add(rank=rank, price=self._message(quote, live, now_ns), ranked_value=value)
            if (move := moves[place]) is not None and request.HasField("window"):
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
        return await moves_since(self._selectors.database, rows, since_ns)

    def quotes(self, names: Iterable[LiveName], after_revision: int) -> list[price_pb2.Price]:
        """Return the rows of live symbols that changed after a revision of the board."""
        now_ns = self._clock.time_ns()
        found = []
        for name in names:
            live = self._live(name)
            quote = self._quote(live) if live else None
            if live is not None and quote is not None and quote.revision > after_revision:
                found.append(self._message(quote, live, now_ns))
        return found

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
            found[name] = live_messages.bar_price(of, row["close"], to_ns(row["close_time"]), row["origin"], now_ns)
        return found

    async def _rows(self, names: Sequence[LiveName]) -> tuple[list[price_pb2.Price], list[pb.MissingItem]]:
        stored = await self.bars(names)
        prices: list[price_pb2.Price] = []
        missing: list[pb.MissingItem] = []
        for name in names:
            row = next(iter(self.quotes([name], -1)), None) or stored.get(name)
            if row is not None:
                prices.append(row)
            else:
                missing.append(self.missing(name))
        return prices, missing

    def missing(self, name: LiveName) -> pb.MissingItem:
        """Return why a symbol has no price."""
        why = "nothing was traded so far" if self._live(name) else self._selectors.why_not(name)
        return pb.MissingItem(requested=f"{name.provider}:{name.symbol}", message=why)

    def _live(self, name: LiveName) -> LiveSeries | None:
        return self._feeds.symbols.current.get(name)

    def _quote(self, live: LiveSeries) -> Quote | None:
        return self._board.quotes.get(live.ticks.series_id)

    def _message(self, quote: Quote, live: LiveSeries, now_ns: int) -> price_pb2.Price:
        return live_messages.price_message(quote, live, self._state_of(live), now_ns)


class _Watch:
    """What a watcher was told last."""

    def __init__(self, calls: PriceCalls) -> None:
        self._calls = calls
        self._seen = -1
        self._names: list[LiveName] = []
        self._shown: dict[str, int] = {}
        """The series of each row that was sent, by symbol."""
        self._missing: list[str] = []

    async def changed(self, names: Sequence[LiveName], *, anew: bool) -> pb.WatchPricesResponse:
        """Return what is new since the last time."""
        message = pb.WatchPricesResponse()
        selected = anew or list(names) != self._names
        seen, self._seen = -1 if selected else self._seen, self._calls.revision
        message.prices.extend(self._calls.quotes(names, seen))
        if selected:
            self._names = list(names)
            message.prices.extend((await self._calls.bars(names)).values())
            self._take_away(names, message)
        for price in message.prices:
            symbol, series_id = _symbol(price.series), price.series.series_id
            former = self._shown.get(symbol, series_id)
            if former != series_id:  # its first live price takes the place of its newest bar
                message.removed_series_ids.append(former)
            self._shown[symbol] = series_id
        lacking = [name for name in names if f"{name.provider}:{name.symbol}" not in self._shown]
        told = [f"{name.provider}:{name.symbol}" for name in lacking]
        if anew or told != self._missing:
            self._missing = told
            message.missing.extend(self._calls.missing(name) for name in lacking)
        return message

    def _take_away(self, names: Sequence[LiveName], message: pb.WatchPricesResponse) -> None:
        kept = {f"{name.provider}:{name.symbol}" for name in names}
        for symbol in self._shown.keys() - kept:
            message.removed_series_ids.append(self._shown.pop(symbol))


def _symbol(info: market_data_pb2.SeriesInfo) -> str:
    return f"{info.key.provider}:{info.key.symbol}"
