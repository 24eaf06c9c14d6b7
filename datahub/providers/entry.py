"""A provider that is to run, as the registry has it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quasar.model.intervals import Interval
from quasar.plugins.manifest import Manifest

DEFAULT_LOOKBACK_DAYS = 8_000
DEFAULT_CONCURRENCY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEntry:
    """One active version with the settings that are stored for it."""

    name: str
    version: int
    """0 where the registry does not know the built-in class."""
    manifest: Manifest
    built_in: bool = False
    builtin_path: str = ""
    """`module:Class` of built-in code."""
    sha256: str = ""
    file_name: str = ""
    preferences: Mapping[str, Any] = field(default_factory=dict)
    stamp: tuple[int, ...] = ()
    """Differs when version, preferences or secrets differ."""

    def can(self, capability: str) -> bool:
        """Tell whether the class can do something: `HISTORICAL`, `LIVE`, `INDEX`, `SYMBOLS`."""
        return capability in self.manifest.capabilities

    def serves(self, interval: str) -> bool:
        """Tell whether it has history at an interval."""
        return self.can("HISTORICAL") and interval in self.manifest.intervals

    @property
    def delay(self) -> dt.timedelta:
        """How long after its close a bar is asked for: what the class declares and what an operator adds."""
        hours = float(self.preference("scheduling", "delay_hours", 0) or 0)
        return (self.manifest.publication_delay or dt.timedelta(0)) + dt.timedelta(hours=hours)

    @property
    def concurrency(self) -> int:
        """Requests in flight at most."""
        return self.manifest.concurrency or DEFAULT_CONCURRENCY

    @property
    def lookback_days(self) -> int:
        """How far back the history of a new series reaches."""
        days = int(self.preference("data", "lookback_days", DEFAULT_LOOKBACK_DAYS) or DEFAULT_LOOKBACK_DAYS)
        return max(1, days)

    def history_start(self, interval: Interval, now: dt.datetime, wanted: dt.datetime | None) -> dt.datetime:
        """Return where the history of a series begins: what is wanted, as far as the vendor goes back."""
        start = wanted or now - dt.timedelta(days=self.lookback_days)
        depth = (self.manifest.history_depths or {}).get(interval.code)
        return start if depth is None else max(start, now - depth)

    def preference(self, group: str, name: str, default: Any) -> Any:
        """Return a stored preference of the platform."""
        found = self.preferences.get(group)
        value = found.get(name) if isinstance(found, Mapping) else None
        return default if value is None else value
