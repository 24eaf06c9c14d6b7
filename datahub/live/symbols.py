"""The symbols that live data is wanted of, with the series that their ticks and bars belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from datahub.series.series import Series, SeriesName
from datahub.store import series_table
from datahub.store.statements import SQL
from quasar import logs
from quasar.database.pool import Database
from quasar.errors import InvalidArgument
from quasar.model.intervals import Interval
from quasar.model.ticks import TickKind

ALWAYS_BUILT: Final = ("1min", "5min", "15min", "1h")
"""Intervals that are built from ticks of every live symbol."""


TRADES: Final = frozenset({TickKind.TRADE})
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class LiveName:
    """A symbol of a provider."""

    provider: str
    symbol: str

    def __str__(self) -> str:
        """Return the form that people read: `kraken:BTC/USD`."""
        return f"{self.provider}:{self.symbol}"


@dataclass(frozen=True, slots=True)
class LiveSeries:
    """The series of one live symbol."""

    name: LiveName
    ticks: Series
    bars: Mapping[Interval, Series]
    store_ticks: bool = True
    subscribed: frozenset[str] = frozenset()
    """Intervals that somebody subscribed to; the vendor is asked to push bars of these."""
    collected: frozenset[str] = frozenset()
    """Those of them whose history is collected."""
    kinds: frozenset[TickKind] = TRADES
    """Kinds of ticks that the vendor is asked for."""
    all_ids: frozenset[int] = field(default_factory=frozenset)
    paused: str = ""
    """Why no feed is held for it now; empty: one is."""


class LiveSymbols:
    """Reads what is wanted; `current` is what was read last."""

    def __init__(self, database: Database) -> None:
        """Read `database`."""
        self._database = database
        self.current: Mapping[LiveName, LiveSeries] = {}

    async def refresh(self) -> Mapping[LiveName, LiveSeries]:
        """Read what is subscribed now, creating the series of ticks and of built bars that are missing."""
        async with self._database.transaction() as connection:
            wanted = _gathered(await connection.fetch(SQL["live_wanted"]))
            names = [
                SeriesName(name.provider, name.symbol, interval)
                for name, one in wanted.items()
                for interval in ("", *sorted(one.built))
            ]
            found = await series_table.ensure(connection, names)
        self.current = {name: one.series(name, found) for name, one in wanted.items()}
        return self.current

    def of_provider(self, provider: str) -> list[LiveSeries]:
        """Return the live symbols of a provider."""
        return [series for name, series in self.current.items() if name.provider == provider]

    @property
    def providers(self) -> frozenset[str]:
        """Providers with live symbols."""
        return frozenset(name.provider for name in self.current)


def _needs_ticks(interval: str) -> bool:
    """Tell whether bars are continued from stored ticks: those that trades fill are."""
    return bool(interval) and not Interval.parse(interval).is_time


def _gathered(rows: Sequence[Any]) -> dict[LiveName, _Wanted]:
    """Return what is wanted of each symbol; what is paused counts only where nothing else is wanted of a symbol."""
    active = {LiveName(row["provider"], row["symbol"]) for row in rows if not row["paused"]}
    wanted: dict[LiveName, _Wanted] = {}
    for row in rows:
        name = LiveName(row["provider"], row["symbol"])
        if row["paused"] and name in active:
            continue
        try:
            wanted.setdefault(name, _Wanted(paused=row["paused"])).add(row)
        except InvalidArgument as error:
            _log.warning("subscription left out", provider=name.provider, symbol=name.symbol, problem=error.message)
    return wanted


@dataclass(slots=True)
class _Wanted:
    """What is wanted of one symbol, gathered over its subscriptions."""

    paused: str = ""
    subscribed: set[str] = field(default_factory=set)
    collected: set[str] = field(default_factory=set)
    kinds: set[TickKind] = field(default_factory=set)
    stored: bool = False

    def add(self, row: Any) -> None:
        interval = Interval.parse(row["interval"]).code if row["interval"] else ""
        self.subscribed.update([interval] if interval else [])
        self.collected.update([interval] if row["historical"] else [])
        self.kinds.update(TickKind[word] for word in row["tick_kinds"])
        self.stored = self.stored or row["store_ticks"] or _needs_ticks(interval)

    @property
    def built(self) -> set[str]:
        return self.subscribed | set(ALWAYS_BUILT)

    def series(self, name: LiveName, found: Mapping[SeriesName, Series]) -> LiveSeries:
        ticks = found[SeriesName(name.provider, name.symbol, "")]
        bars = {
            Interval.parse(code): found[SeriesName(name.provider, name.symbol, code)] for code in sorted(self.built)
        }
        return LiveSeries(
            name,
            ticks,
            bars,
            self.stored,
            frozenset(self.subscribed),
            frozenset(self.collected),
            frozenset(self.kinds) or TRADES,
            frozenset({ticks.series_id, *(series.series_id for series in bars.values())}),
            self.paused,
        )
