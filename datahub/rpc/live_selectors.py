"""Selectors of the contract, read: provider symbols, common symbols, indices and filters become live symbols."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from itertools import count
from typing import Final

from datahub.live.symbols import LiveName, LiveSeries, LiveSymbols
from datahub.reads.query import Source
from datahub.rpc.describe_series import SUBSCRIBED
from datahub.rpc.live_messages import contents
from datahub.store.statements import SQL
from datahub.stream.selection import Item, Named, Selection, Wish, refused, resolved
from datahub.stream.topic import Content
from quasar.database.pool import Database
from quasar.errors import AlreadyExists, InvalidArgument, QuotaExceeded, Resource
from quasar.filters import Field, condition, predicate
from quasar_proto.datahub.v1 import market_data_pb2, stream_pb2

_FILTERED: Mapping[str, Field] = {
    "asset_class": Field("asset_class", convert=str.lower),
    **{
        name: Field(name)
        for name in ("provider", "symbol", "common_symbol", "name", "exchange", "base_currency", "quote_currency")
    },
}
PATIENCE_S = 2.0
"""How long a reader waits for a look at the subscriptions when a symbol that it asks for is not live."""
MOST_SYMBOLS: Final = 50_000
"""Symbols of one stream or watchlist."""
_MOST_CHOSEN: Final = 100_000
"""Choices of providers that are remembered."""

_OF_REGISTRY: Final = ("common_symbols", "index")
_WhyNot = Mapping[LiveName, tuple[str, str]]


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
        self._chosen: dict[tuple[str, str], LiveName] = {}
        """What a common symbol, of a provider or of any, stood for last: it changes only with a reason."""

        self._meant: dict[bytes, list[Named]] = {}
        """What selectors that the registry decides on stood for last."""
        self._moved = False
        """Whether one of them stands for something else since the last look."""

    async def look(self, selectors: Iterable[market_data_pb2.SymbolSelector]) -> bool:
        """Tell whether selectors stand for something else than when somebody asked before.

        Args:
            selectors: All that are in use.
        """
        used = {_key(selector): selector for selector in selectors if selector.WhichOneof("symbols") in _OF_REGISTRY}
        self._meant = {key: meant for key, meant in self._meant.items() if key in used}
        for selector in used.values():
            await self._named(selector)
        moved, self._moved = self._moved, False
        return moved

    @property
    def database(self) -> Database:
        """Where names are looked up that no live symbol has."""
        return self._database

    async def selection(
        self,
        selectors: Sequence[stream_pb2.MarketDataSelector],
        taken: Mapping[str, Sequence[Item]] | None = None,
        *,
        patient: bool = True,
    ) -> Selection:
        """Return what selectors stand for; what cannot be had is an item with its reason.

        Args:
            selectors: What is asked for.
            taken: The selectors that the stream has already, by their id, with their items.
            patient: Wait until what was just subscribed is followed.

        Raises:
            InvalidArgument: Two selectors have the same id.
            AlreadyExists: One has an id that is taken.
            QuotaExceeded: They stand for more symbols than a stream may have.
        """
        selection, taken = Selection(), taken or {}
        named = {selector.selector_id for selector in selectors} | taken.keys()
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
        if patient:
            everything = (item for items in (*taken.values(), selection.all()) for item in items)
            _limited({item.requested.partition("@")[0] for item in everything})
        return selection

    async def names(self, selectors: Iterable[market_data_pb2.SymbolSelector]) -> list[Named]:
        """Return the symbols that selectors name, each once, live or not; what was just subscribed is followed.

        Raises:
            InvalidFilter: A filter cannot be understood.
            QuotaExceeded: There are too many.
        """
        found: list[Named] = []
        for selector in selectors:
            filtered = selector.WhichOneof("symbols") == "filter"
            found += await (self._subscribed(selector.filter) if filtered else self._named(selector))
        once = list({named.name or named.requested: named for named in reversed(found)}.values())[::-1]
        _limited(once)
        await self._current([named.name for named in once if named.name is not None])
        return once

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
        chosen = contents(selector.contents, bool(intervals))
        source = Source(selector.bar_source or Source.MERGED)
        wishes: list[Wish] = []
        items: list[Item] = []
        if selector.WhichOneof("target") == "series":
            for key in selector.series.keys:
                name = LiveName(key.provider, key.symbol)
                bars = Wish(name, _of_bars(selector.contents), (key.interval,), source)
                wishes.append(bars if key.interval else Wish(name, chosen, intervals, source))
        else:
            for named in await self._named(selector.symbols):
                if named.name is None:
                    items += refused(selector_id, named.requested, chosen, ("NOT_FOUND", named.why))
                else:
                    wishes.append(Wish(named.name, chosen, intervals, source))
        if patient:
            await self._current([wish.name for wish in wishes])
        why = await self._why_not({wish.name for wish in wishes} - self._symbols.current.keys())
        for wish in wishes:
            live = self._symbols.current.get(wish.name)
            items += resolved(selector_id, wish, live, why.get(wish.name, ("FAILED_PRECONDITION", not_live(wish.name))))
        return items

    async def _current(self, names: Sequence[LiveName]) -> None:
        """Wait until what was just subscribed is followed: who subscribes and then reads finds it."""
        if any(name not in self._symbols.current for name in names):
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._caught_up()

    async def _named(self, selector: market_data_pb2.SymbolSelector) -> list[Named]:
        kind = selector.WhichOneof("symbols")
        if kind == "provider_symbols":
            provider = selector.provider_symbols.provider
            return [_plain(LiveName(provider, symbol)) for symbol in selector.provider_symbols.symbols]
        if kind == "filter":
            passes = predicate(selector.filter, _FILTERED)
            return [_plain(name) for name, live in self._symbols.current.items() if passes(_facts(live))]
        if kind == "common_symbols":
            found = await self._common(selector.common_symbols.symbols, selector.common_symbols.provider)
        else:
            found = await self._members(selector.index.index, selector.index.provider)
        former = self._meant.setdefault(key := _key(selector), found)
        self._moved |= former != found
        self._meant[key] = found
        return found

    async def _common(self, wanted: Sequence[str], provider: str) -> list[Named]:
        """Return the one provider symbol that each common symbol stands for."""
        former = [self._chosen.get((name.lower(), provider.lower())) for name in wanted]
        names = [each.provider if each else "" for each in former], [each.symbol if each else "" for each in former]
        rows = await self._database.fetch(SQL["live_of_common_symbols"], list(wanted), *names, provider)
        if len(self._chosen) > _MOST_CHOSEN:
            self._chosen.clear()
        found: list[Named] = []
        for row in rows:
            requested = row["name"]
            if row["provider"] is None:
                at = f" of {provider}" if provider else " of a provider"
                unmapped = f"{requested} is mapped to no symbol{at}; map one to it."
                why = unmapped if row["common_symbol"] else f"There is no common symbol {requested}."
                found.append(Named(requested, None, why))
                continue
            name = LiveName(row["provider"], row["symbol"])
            self._chosen[requested.lower(), provider.lower()] = name
            found.append(Named(requested, name))
        return found

    async def _members(self, index: str, provider: str) -> list[Named]:
        """Return the provider symbols of the present members of an index."""
        rows = await self._database.fetch(SQL["live_of_index"], index)
        if not rows:
            return [Named(index, None, f"There is no index {index}.")]
        found: list[Named] = []
        for row in rows:
            if row["provider"] is not None:
                if not provider or row["provider"].lower() == provider.lower():
                    found.append(_plain(LiveName(row["provider"], row["symbol"])))
            elif row["member"] is not None and not provider:
                why = f"{row['member']}, a member of {index}, is mapped to no symbol of a provider; map one to it."
                found.append(Named(row["member"], None, why))
        return found

    async def _subscribed(self, text: str) -> list[Named]:
        """Return the subscribed symbols that match a filter, live or not."""
        where = condition(text, SUBSCRIBED, first_parameter=1)
        rows = await self._database.fetch(SQL["subscribed_symbols"].format(filter=where.sql), *where.parameters)
        return [_plain(LiveName(row["provider"], row["symbol"])) for row in rows]

    async def _why_not(self, names: Set[LiveName]) -> _WhyNot:
        """Return why symbols that are not live are not: a name of `ErrorReason`, and the same for people."""
        asked = list(names)
        if not asked:
            return {}
        rows = await self._database.fetch(
            SQL["live_known"], [name.provider for name in asked], [name.symbol for name in asked]
        )
        found: dict[LiveName, tuple[str, str]] = {}
        for name, row in zip(asked, rows, strict=True):
            if not row["provider_known"]:
                found[name] = "NOT_FOUND", f"There is no provider {name.provider}."
            elif not row["symbol_known"]:
                told = (
                    f"{name} is not known; if {name.provider} has it, create one with live = true: a live subscription."
                )
                found[name] = "NOT_FOUND", told
            else:
                found[name] = "FAILED_PRECONDITION", not_live(name)
        return found


def _key(selector: market_data_pb2.SymbolSelector) -> bytes:
    return selector.SerializeToString(deterministic=True)


def not_live(name: LiveName) -> str:
    """Return why a symbol that is not live is not."""
    return f"{name} has no live subscription; create one with live = true."


def _limited(symbols: Sequence[object] | Set[str]) -> None:
    if len(symbols) > MOST_SYMBOLS:
        told = f"A stream must have at most {MOST_SYMBOLS:,} symbols, was {len(symbols):,}; open several."
        raise QuotaExceeded(told)


def _plain(name: LiveName) -> Named:
    return Named(str(name), name)


def _of_bars(values: Iterable[int]) -> tuple[Content, ...]:
    """Return the contents that fit a series of bars; when none is named, the closed ones."""
    fitting = (Content.CLOSED_BARS, Content.FORMING_BARS, Content.GAPS, Content.FEED_HEALTH)
    return tuple(content for content in contents(values, True) if content in fitting) or (Content.CLOSED_BARS,)


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
