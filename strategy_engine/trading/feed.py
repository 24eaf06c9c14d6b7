"""Live prices for all who trade: one stream from the DataHub, resumed where it broke, handed on in a fixed order.

The paper broker sees an instant before the strategies do, so that fills up to it are told first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from quasar import logs
from quasar.clock import Clock
from quasar.engine.live import LiveBar, LiveTick
from quasar.errors import CursorExpired, QuasarError
from strategy_engine.backtests.records import SeriesFacts
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.quotes import Quotes

Key = tuple[str, str, str]
"""Provider, symbol and interval."""
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 15.0
_LAG_S: Final = 2.0
_OPEN_S: Final = 5.0
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Instant:
    """Bars that closed at one instant, and the ticks that came with them."""

    bars: Sequence[LiveBar] = ()
    ticks: Sequence[LiveTick] = ()


@dataclass(frozen=True, slots=True)
class Envelope:
    """Some of what a stream brings."""

    cursor: str
    series: Sequence[SeriesFacts] = ()
    instants: Sequence[Instant] = field(default_factory=tuple)


class LiveSource(Protocol):
    """Streams live data."""

    def stream(self, keys: Sequence[Key], cursor: str) -> AsyncIterator[Envelope]:
        """Yield what comes in of the series; "" begins now.

        Raises:
            CursorExpired: The cursor is older than what is kept.
            QuasarError: Whatever ended the stream.
        """
        ...


Reader = Callable[[Instant], asyncio.Event | None]
"""Takes an instant; the event is set when it has been acted on, None where it concerns nobody."""
Lost = Callable[[str], None]
"""Is told that data was lost, and why."""


class LiveFeed:
    """Keeps the stream going for the series that somebody wants."""

    def __init__(self, source: LiveSource, desk: TradingDesk, quotes: Quotes, clock: Clock) -> None:
        """Hand prices to `quotes` and `desk`, then to readers."""
        self._source = source
        self._desk = desk
        self._quotes = quotes
        self._clock = clock
        self._wanted: Counter[Key] = Counter()
        self._readers: list[Reader] = []
        self._losers: list[Lost] = []
        self._changed = asyncio.Event()
        self._cursor = ""
        self._followed: frozenset[Key] = frozenset()
        """What the stream that is open brings."""
        self._opened = asyncio.Condition()
        self.cuts = 0
        """How often the stream broke."""

    @contextmanager
    def reading(self, keys: Sequence[Key], reader: Reader, lost: Lost) -> Iterator[None]:
        """Have `reader` called with each instant of these series, and of those that others want, while this lasts."""
        self._wanted.update(keys)
        self._readers.append(reader)
        self._losers.append(lost)
        self._changed.set()
        try:
            yield
        finally:
            self._readers.remove(reader)
            self._losers.remove(lost)
            self._wanted.subtract(keys)
            self._wanted += Counter()
            self._changed.set()

    async def until_open(self, keys: Sequence[Key]) -> None:
        """Wait until a stream brings these series: what is read from the store then has no hole before it.

        While the DataHub is away this ends without one, for its history tells the same when it is back.
        """
        try:
            async with asyncio.timeout(_OPEN_S), self._opened:
                await self._opened.wait_for(lambda: self._followed.issuperset(keys))
        except TimeoutError:
            _log.info("no live stream yet", series=len(keys), waited_s=_OPEN_S)

    def want(self, key: Key) -> None:
        """Have the prices of a series for as long as the service runs: of what is traded by hand."""
        if key not in self._wanted:
            self._wanted[key] += 1
            self._changed.set()

    async def run(self) -> None:
        """Stream until cancelled; broken streams are resumed with growing pauses."""
        pause_s = _FIRST_PAUSE_S
        while True:
            self._changed.clear()
            keys = sorted(self._wanted)
            if not keys:
                # Whoever comes next begins with what happens then, not with what happened while nobody listened.
                self._cursor = ""
                await self._changed.wait()
                continue
            try:
                if await self._follow(keys):
                    pause_s = _FIRST_PAUSE_S
                    continue
            except CursorExpired as error:
                _log.warning("live data was lost: the cursor expired", problem=error.message)
                self._cursor = ""
                for lost in tuple(self._losers):
                    lost(error.message)
            except QuasarError as error:
                _log.info("live stream broke", problem=error.message, pause_s=pause_s)
            self.cuts += 1
            await self._clock.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    async def _follow(self, keys: Sequence[Key]) -> bool:
        """Hand on what comes in; True when it ended because other series are wanted."""
        async with aclosing(self._source.stream(keys, self._cursor)) as envelopes:  # type: ignore[type-var]  # a generator
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                while True:
                    following = asyncio.ensure_future(anext(envelopes, None))
                    try:
                        await asyncio.wait((following, changed), return_when=asyncio.FIRST_COMPLETED)
                        if not following.done():
                            return True
                        envelope = following.result()
                    finally:
                        if not following.done():
                            following.cancel()
                            await asyncio.wait((following,))
                    if envelope is None:
                        return False
                    if not self._followed:
                        await self._follows(keys)
                    await self._take(envelope)
            finally:
                changed.cancel()
                self._followed = frozenset()

    async def _follows(self, keys: Sequence[Key]) -> None:
        async with self._opened:
            self._followed = frozenset(keys)
            self._opened.notify_all()

    async def _acted(self, waiting: Sequence[asyncio.Event]) -> None:
        """Wait until readers have acted on an instant: when a stream catches up, their orders must meet the next one.

        A slow one is not waited for long, for it must not hold up the others.
        """
        try:
            async with asyncio.timeout(_LAG_S):
                for done in waiting:
                    await done.wait()
        except TimeoutError:
            _log.warning("a strategy lags behind live data", waited_s=_LAG_S)

    async def _take(self, envelope: Envelope) -> None:
        if named := [facts for facts in envelope.series if facts.interval]:
            await self._quotes.learn(named)
        for instant in envelope.instants:
            for tick in instant.ticks:
                if tick.price is not None:
                    self._quotes.tell(tick.symbol, tick.price, tick.time_ns)
            if instant.ticks:
                await self._desk.on_ticks(instant.ticks)
            for each in instant.bars:
                self._quotes.tell(each.symbol, each.bar.close, each.bar.close_time_ns or each.bar.open_time_ns)
            if instant.bars:
                await self._desk.on_bars(instant.bars)
            await self._acted([done for reader in tuple(self._readers) if (done := reader(instant))])
        self._cursor = envelope.cursor or self._cursor
