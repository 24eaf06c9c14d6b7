"""Settings of the Registry: those that all services share, and its own.

| variable | meaning | default |
|---|---|---|
| `QUASAR_MAX_SERIES` | series that all subscriptions may select together | 200000 |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from quasar.config import REGISTRY, Settings
from quasar.environment import Environment
from registry.subscriptions.ground import MAX_SERIES


@dataclass(frozen=True, slots=True)
class RegistrySettings(Settings):
    """What the Registry needs to know."""

    max_series: int = MAX_SERIES
    """Series that all subscriptions may select together."""


def read_settings(variables: Mapping[str, str]) -> RegistrySettings:
    """Read the settings from environment variables; `quasar.config` lists those that all services share.

    Raises:
        BadSetting: A variable has a value that cannot be used.
    """
    shared = Settings.read(REGISTRY, variables)
    most = Environment(variables).integer("QUASAR_MAX_SERIES", MAX_SERIES, at_least=1, at_most=10_000_000)
    return RegistrySettings(**{each.name: getattr(shared, each.name) for each in fields(Settings)}, max_series=most)
