"""One live feed: the symbols that are wanted now, how that changes while it runs, and where its rows go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from quasar.sdk.notices import LiveItem
from quasar.sdk.requests import LiveSymbol


@dataclass(frozen=True, slots=True)
class FeedChange:
    """What changed in a running feed."""

    added: tuple[LiveSymbol, ...] = ()
    """New symbols, and symbols of which something else is wanted now."""
    removed: tuple[LiveSymbol, ...] = ()
    resync: tuple[str, ...] = ()
    """Symbols of which a new snapshot is wanted."""
    reconnect: bool = False
    """The connection is to be made anew."""
    former: Mapping[str, LiveSymbol] = field(default_factory=dict)
    """What was wanted so far of those `added` symbols that are not new."""


class Feed:
    """The wishes of the platform. A live source reads `symbols` and waits for `changed`."""

    def __init__(self, symbols: Iterable[LiveSymbol] = (), *, reconnect_budget: int = 30) -> None:
        """Begin with some symbols.

        Args:
            symbols: What is wanted at first.
            reconnect_budget: Reconnects that are allowed in ten minutes.
        """
        self.symbols: dict[str, LiveSymbol] = {symbol.symbol: symbol for symbol in symbols}
        """What is wanted now, by symbol."""
        self.reconnect_budget = reconnect_budget
        self._changes: asyncio.Queue[FeedChange] = asyncio.Queue()

    def update(self, add: Sequence[LiveSymbol] = (), remove: Iterable[str] = ()) -> None:
        """Take symbols away, then add some; a symbol that is there takes its new wishes."""
        removed = tuple(gone for symbol in remove if (gone := self.symbols.pop(symbol, None)) is not None)
        added = tuple(symbol for symbol in add if self.symbols.get(symbol.symbol) != symbol)
        former = {symbol.symbol: self.symbols[symbol.symbol] for symbol in added if symbol.symbol in self.symbols}
        self.symbols.update((symbol.symbol, symbol) for symbol in added)
        if added or removed:
            self._changes.put_nowait(FeedChange(added, removed, former=former))

    def resync(self, symbols: Sequence[str] = ()) -> None:
        """Ask for new snapshots of symbols; without symbols, for a new connection."""
        self._changes.put_nowait(FeedChange(resync=tuple(symbols), reconnect=not symbols))

    async def changed(self) -> FeedChange:
        """Wait for the next change."""
        return await self._changes.get()

    def forget_changes(self) -> None:
        """Drop changes that were not read; whoever begins with `symbols` has them already."""
        while not self._changes.empty():
            self._changes.get_nowait()


class Sink(Protocol):
    """Takes what a live feed brings."""

    def put(self, item: LiveItem) -> None:
        """Take one item; never waits."""
        ...

    async def ready(self) -> None:
        """Wait while the reader is behind; call it now and then, for example after each message."""
        ...
