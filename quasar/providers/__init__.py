"""The providers that come in the box. Each runs in a process of its own, exactly as an uploaded one does."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

BUILTIN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cci30": "quasar.providers.cci30:Cci30",
        "ccxt": "quasar.providers.ccxt:Ccxt",
        "databento": "quasar.providers.databento:Databento",
        "eodhd": "quasar.providers.eodhd:Eodhd",
        "files": "quasar.providers.files:Files",
        "kraken": "quasar.providers.kraken:Kraken",
        "simulated": "quasar.providers.simulated:Simulated",
    }
)
"""`module:Class` of each built-in provider, by its name in the registry."""
