"""The brokers that come with the platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BUILTIN: Final[Mapping[str, str]] = {"Paper": "quasar.brokers.paper:Paper"}
"""`module:Class` by the name in the registry."""
