"""The newest price of each instrument, and what is known of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, Protocol

from quasar.clock import Clock
from quasar.engine.grid import Grid, decimals_of
from quasar.errors import NotFound, ServiceUnavailable
from strategy_engine.backtests.records import (
    BarReader,
    LoadedSeries,
    NewestBars,
    ReadTerms,
    SeriesFacts,
    WantedSeries,
)
from strategy_engine.policy.instrument_rules import InstrumentRules

_FINE: Final = frozenset({"crypto", "currency"})
_PRICE_DECIMALS: Final = 8
_KEPT_S: Final = 10.0
"""How long a price counts as the newest one without being told again."""

FindSeries = Callable[[str], Awaitable[WantedSeries | None]]
"""Returns the series that prices a symbol; None: nothing is stored of it."""
Newest = Callable[[WantedSeries], Awaitable[LoadedSeries]]
"""Returns a series with its newest closed bar."""
Describe = Callable[[Sequence[SeriesFacts]], Awaitable[Sequence[SeriesFacts]]]
"""Returns what is known of series with what the registry has of their instruments."""


@dataclass(frozen=True, slots=True)
class Quote:
    """An instrument and its newest price."""

    facts: SeriesFacts
    price: Decimal | None
    time_ns: int


def grid_of(facts: SeriesFacts) -> Grid:
    """Return where prices and sizes lie: as the registry or the DataHub say, else what is usual."""
    fine = facts.asset_class.lower() in _FINE
    sizes = facts.size_decimals if facts.size_decimals is not None else (8 if fine else 0)
    prices = facts.price_decimals if facts.price_decimals is not None else _PRICE_DECIMALS
    if facts.price_tick is not None:
        prices = decimals_of(facts.price_tick)
    return Grid(
        price_decimals=prices,
        size_decimals=sizes if facts.quantity_step is None else decimals_of(facts.quantity_step),
        price_tick=1 if facts.price_tick is None else int(facts.price_tick.scaleb(prices)),
        multiplier=facts.multiplier or Decimal(1),
    )


def instrument_rules_of(facts: SeriesFacts) -> InstrumentRules:
    """Return what orders are held to: what is said of the instrument, else where its prices and sizes lie."""
    grid = grid_of(facts)
    return InstrumentRules(
        price_tick=Decimal(grid.price_tick).scaleb(-grid.price_decimals),
        quantity_step=facts.quantity_step or Decimal(1).scaleb(-grid.size_decimals),
        min_quantity=facts.min_quantity,
        min_notional=facts.min_notional,
    )


def proposal_facts(facts: SeriesFacts) -> dict[str, Any]:
    """Return what a `Proposal` says of its instrument."""
    return {
        "multiplier": grid_of(facts).multiplier,
        "rules": instrument_rules_of(facts),
        "asset_class": facts.asset_class,
        "exchange": facts.exchange,
    }


class Quotes:
    """Knows the newest prices: from the live feed, and from stored bars for what is not fed."""

    def __init__(self, find: FindSeries, newest: Newest, describe: Describe, clock: Clock) -> None:
        """Ask `find` and `newest` for instruments that are not known yet or not fed, `describe` for their rules."""
        self._find = find
        self._newest = newest
        self._describe = describe
        self._clock = clock
        self._quotes: dict[str, Quote] = {}
        self._looked: dict[str, float] = {}
        """When a price was told or looked up last, on the monotonic clock."""

    async def learn(self, found: Sequence[SeriesFacts]) -> None:
        """Take in what is known of instruments.

        Of several series of one symbol the first says what orders are held to, as long as the service runs: a strategy
        that was told its tick must not find another one in force.
        """
        for facts in await self._describe(found):
            former = self._quotes.get(facts.name)
            if former is not None and (former.facts.provider, former.facts.symbol) != (facts.provider, facts.symbol):
                continue
            self._quotes[facts.name] = Quote(facts, former.price if former else None, former.time_ns if former else 0)

    def tell(self, symbol: str, price: float, time_ns: int) -> None:
        """Take in a price; an older one than is known changes nothing."""
        quote = self._quotes.get(symbol)
        if quote is not None and time_ns >= quote.time_ns:
            self._looked[symbol] = self._clock.monotonic()
            self._quotes[symbol] = replace(quote, price=Decimal(repr(price)), time_ns=time_ns)

    async def exists(self, symbol: str) -> bool:
        """Tell whether something is stored of a symbol."""
        return symbol in self._quotes or await self._find(symbol) is not None

    def known(self, symbol: str) -> Quote | None:
        """Return the quote without asking anybody."""
        return self._quotes.get(symbol)

    async def get(self, symbol: str) -> Quote | None:
        """Return the quote of a symbol; None: nothing is known of it.

        One that was told nothing of late is looked up again: bars of what is not fed are stored all the same.
        """
        quote = self._quotes.get(symbol)
        looked = self._looked.get(symbol)
        fresh = looked is not None and self._clock.monotonic() - looked < _KEPT_S
        if quote is not None and quote.price is not None and fresh:
            return quote
        self._looked[symbol] = self._clock.monotonic()
        wanted = await self._find(symbol)
        if wanted is None:
            return quote
        try:
            loaded = await self._newest(wanted)
        except (NotFound, ServiceUnavailable):
            return quote
        await self.learn([loaded.facts])
        if len(loaded.bars):
            times = loaded.bars.close_time_ns if loaded.bars.close_time_ns is not None else loaded.bars.open_time_ns
            self.tell(loaded.facts.name, float(loaded.bars.close[-1]), int(times[-1]))
        return self._quotes.get(symbol)


class StoredBars(BarReader, NewestBars, Protocol):
    """Reads stored bars of a range, or the newest."""


class DescribedBars:
    """Stored bars of series, with what the registry has of their instruments."""

    def __init__(self, bars: StoredBars, describe: Describe) -> None:
        """Read `bars`, and ask `describe` for the rest."""
        self._bars = bars
        self._describe = describe

    async def read(self, wanted: Sequence[WantedSeries], terms: ReadTerms) -> list[LoadedSeries]:
        """Return each series with its bars; see `BarReader.read`."""
        return await self._described(await self._bars.read(wanted, terms))

    async def newest(self, wanted: Sequence[WantedSeries], count: int) -> list[LoadedSeries]:
        """Return the newest closed bars of each series; see `NewestBars.newest`."""
        return await self._described(await self._bars.newest(wanted, count))

    async def _described(self, found: Sequence[LoadedSeries]) -> list[LoadedSeries]:
        facts = await self._describe([each.facts for each in found])
        return [LoadedSeries(each.wanted, known, each.bars) for each, known in zip(found, facts, strict=True)]
