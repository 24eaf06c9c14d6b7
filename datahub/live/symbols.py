"""The symbols that live data is wanted of, with the series that their ticks and bars belong to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from datahub.series.series import Series, SeriesName
from datahub.store import series_table
from datahub.store.statements import SQL
from quasar.database.pool import Database
from quasar.model.intervals import Interval

ALWAYS_BUILT: Final = ("1min", "5min", "15min", "1h")
"""Intervals that are built from ticks of every live symbol."""


@dataclass(frozen=True, slots=True)
class LiveName:
    """A symbol of a provider."""

    provider: str
    symbol: str


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
    all_ids: frozenset[int] = field(default_factory=frozenset)


class LiveSymbols:
    """Reads what is wanted; `current` is what was read last."""

    def __init__(self, database: Database) -> None:
        """Read `database`."""
        self._database = database
        self.current: Mapping[LiveName, LiveSeries] = {}

    async def refresh(self) -> Mapping[LiveName, LiveSeries]:
        """Read what is subscribed now, creating the series of ticks and of built bars that are missing."""
        async with self._database.transaction() as connection:
            wanted: dict[LiveName, tuple[set[str], bool]] = {}
            subscribed: dict[LiveName, set[str]] = {}
            collected: dict[LiveName, set[str]] = {}
            for row in await connection.fetch(SQL["live_wanted"]):
                name, interval = LiveName(row["provider"], row["symbol"]), row["interval"]
                intervals, stored = wanted.get(name, (set(ALWAYS_BUILT), False))
                subscribed.setdefault(name, set()).update([interval] if interval else [])
                collected.setdefault(name, set()).update([interval] if row["historical"] else [])
                wanted[name] = (
                    intervals | {interval} if interval else intervals,
                    stored or row["store_ticks"] or _needs_ticks(interval),
                )
            names = [
                SeriesName(name.provider, name.symbol, interval)
                for name, (intervals, _) in wanted.items()
                for interval in ("", *sorted(intervals))
            ]
            found = await series_table.ensure(connection, names)
        self.current = {
            name: replace(
                _series(name, intervals, stored, found),
                subscribed=frozenset(subscribed[name]),
                collected=frozenset(collected[name]),
            )
            for name, (intervals, stored) in wanted.items()
        }
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


def _series(name: LiveName, intervals: Iterable[str], stored: bool, found: Mapping[SeriesName, Series]) -> LiveSeries:
    ticks = found[SeriesName(name.provider, name.symbol, "")]
    bars = {Interval.parse(code): found[SeriesName(name.provider, name.symbol, code)] for code in sorted(intervals)}
    ids = frozenset({ticks.series_id, *(series.series_id for series in bars.values())})
    return LiveSeries(name, ticks, bars, stored, all_ids=ids)
