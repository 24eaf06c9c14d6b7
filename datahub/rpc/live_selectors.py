"""Selectors of the contract, read: provider symbols, common symbols, indices and filters become live symbols."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from itertools import count

from datahub.live.symbols import LiveName, LiveSeries, LiveSymbols
from datahub.rpc.live_messages import contents
from datahub.store.statements import SQL
from datahub.stream.selection import Item, Selection, Wish, resolved
from datahub.stream.topic import Content
from quasar.database.pool import Database
from quasar.errors import AlreadyExists, InvalidArgument, Resource
from quasar.filters import Field, predicate
from quasar_proto.datahub.v1 import market_data_pb2, stream_pb2

_FILTERED: Mapping[str, Field] = {
    name: Field(name)
    for name in (
        "provider",
        "symbol",
        "common_symbol",
        "name",
        "exchange",
        "asset_class",
        "base_currency",
        "quote_currency",
    )
}
PATIENCE_S = 2.0
"""How long a reader waits for a look at the subscriptions when a symbol that it asks for is not live."""


class LiveSelectors:
    """Finds what selectors stand for."""

    def __init__(self, symbols: LiveSymbols, database: Database, caught_up: Callable[[], Awaitable[None]]) -> None:
        """Look among live symbols and, for common symbols and indices, in the database.

        Args:
            symbols: What is live.
            database: Where the rest is.
            caught_up: Waits until `symbols` has the subscriptions that exist now.
        """
        self._symbols = symbols
        self._database = database
        self._caught_up = caught_up

    @property
    def database(self) -> Database:
        """Where names are looked up that no live symbol has."""
        return self._database

    async def selection(
        self,
        selectors: Sequence[stream_pb2.MarketDataSelector],
        taken: Set[str] = frozenset(),
        *,
        patient: bool = True,
    ) -> Selection:
        """Return what selectors stand for; what cannot be had is an item with its reason.

        Args:
            selectors: What is asked for.
            taken: The ids of selectors that the stream has already.
            patient: Wait until what was just subscribed is followed.

        Raises:
            InvalidArgument: Two selectors have the same id.
            AlreadyExists: One has an id that is taken.
        """
        selection = Selection()
        named = {selector.selector_id for selector in selectors} | taken
        free = (name for number in count(1) if (name := f"s{number}") not in named)
        for selector in selectors:
            selector_id = selector.selector_id or next(free)
            if selector_id in selection.items:
                raise InvalidArgument(f"selector_id must be unique in a stream, was {selector_id!r} twice")
            if selector_id in taken:
                raise AlreadyExists(
                    f"selector_id must be unique in a stream, was {selector_id!r}, which the stream has; remove that.",
                    resource=Resource("selector", selector_id),
                )
            selection.items[selector_id] = await self._items(selector_id, selector, patient)
            selection.selectors[selector_id] = selector
        return selection

    async def names(self, selectors: Iterable[market_data_pb2.SymbolSelector]) -> list[LiveName]:
        """Return the symbols that selectors stand for, each once, live or not; what was just subscribed is followed.

        Raises:
            InvalidFilter: A filter cannot be understood.
        """
        found = [name for selector in selectors for name in await self._named(selector)]
        return list(dict.fromkeys(await self._current(found)))

    async def again(self, selection: Selection) -> Selection:
        """Return what the same selectors stand for now."""
        selectors = []
        for selector_id, selector in selection.selectors.items():
            named = stream_pb2.MarketDataSelector()
            named.CopyFrom(selector)
            named.selector_id = selector_id
            selectors.append(named)
        return await self.selection(selectors, patient=False)

    async def _items(self, selector_id: str, selector: stream_pb2.MarketDataSelector, patient: bool) -> list[Item]:
        intervals = tuple(selector.intervals)
        wishes: list[Wish] = []
        if selector.WhichOneof("target") == "series":
            for key in selector.series.keys:
                own = (key.interval,) if key.interval else intervals
                wishes.append(Wish(LiveName(key.provider, key.symbol), _of_series(selector.contents, bool(own)), own))
        else:
            chosen = contents(selector.contents, bool(intervals))
            wishes = [Wish(name, chosen, intervals) for name in await self._named(selector.symbols)]
        if patient:
            await self._current([wish.name for wish in wishes])
        return [
            item
            for wish in wishes
            for item in resolved(selector_id, wish, self._symbols.current.get(wish.name), self.why_not(wish.name))
        ]

    async def _current(self, names: Sequence[LiveName]) -> Sequence[LiveName]:
        """Return the names once what was just subscribed is followed: who subscribes and then reads finds it."""
        if any(name not in self._symbols.current for name in names):
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._caught_up()
        return names

    async def _named(self, selector: market_data_pb2.SymbolSelector) -> list[LiveName]:
        kind = selector.WhichOneof("symbols")
        if kind == "provider_symbols":
            return [
                LiveName(selector.provider_symbols.provider, symbol) for symbol in selector.provider_symbols.symbols
            ]
        if kind == "filter":
            return self._filtered(selector.filter)
        if kind == "common_symbols":
            wanted, provider = list(selector.common_symbols.symbols), selector.common_symbols.provider
            rows = await self._database.fetch(SQL["live_of_common_symbols"], wanted, provider)
        else:
            rows = await self._database.fetch(SQL["live_of_index"], selector.index.index, selector.index.provider)
        return [LiveName(row["provider"], row["symbol"]) for row in rows]

    def _filtered(self, text: str) -> list[LiveName]:
        passes = predicate(text, _FILTERED)
        return [name for name, live in self._symbols.current.items() if passes(_facts(live))]

    def why_not(self, name: LiveName) -> str:
        """Return why a symbol that is not live is not."""
        return f"{name.provider}:{name.symbol} has no live subscription; create one with live = true."


def _of_series(values: Iterable[int], bars: bool) -> tuple[Content, ...]:
    """Return the contents that fit a series: bars for one with an interval, ticks for one without."""
    chosen = contents(values, bars)
    fitting = (
        [Content.CLOSED_BARS, Content.FORMING_BARS, Content.GAPS] if bars else [c for c in Content if c not in _BARS]
    )
    kept = tuple(content for content in chosen if content in fitting)
    return kept or ((Content.CLOSED_BARS,) if bars else (Content.TRADES,))


_BARS: Mapping[Content, None] = {Content.CLOSED_BARS: None, Content.FORMING_BARS: None}


def _facts(live: LiveSeries) -> dict[str, str]:
    """Return what a filter may ask of a live symbol."""
    series = live.ticks
    return {
        "provider": live.name.provider,
        "symbol": live.name.symbol,
        "common_symbol": series.common_symbol,
        "name": series.asset_name,
        "exchange": series.exchange,
        "asset_class": series.asset_class,
        "base_currency": series.base_currency,
        "quote_currency": series.quote_currency,
    }
