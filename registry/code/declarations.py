"""What a class declares, as far as the registry needs to know it: a view over the stored manifest.

A manifest is stored as the JSON form of `quasar.common.v1.Manifest` with the field names of the contract.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.code.fields import PreferenceField, field_of
from registry.code.refs import CodeKind


@dataclass(frozen=True, slots=True)
class SecretField:
    """A secret that a class takes."""

    name: str
    description: str
    required: bool


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `calls` in any window of `window_s` seconds."""

    calls: int
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a class says about itself."""

    kind: CodeKind
    name: str
    sdk_version: str = ""
    capabilities: frozenset[str] = frozenset()
    """Words without their prefix: HISTORICAL, LIVE, INDEX, SYMBOLS."""
    intervals: tuple[str, ...] = ()
    """In canonical form; empty: not told."""
    streams_ticks: bool = False
    tick_kinds: tuple[str, ...] = ()
    """Words of `TickKind`: TRADE, QUOTE, BOOK_TOP."""
    fields: tuple[PreferenceField, ...] = ()
    secrets: tuple[SecretField, ...] = ()
    history_depths: Mapping[str, dt.timedelta]
    publication_delay: dt.timedelta = dt.timedelta(0)
    rate_limits: tuple[RateLimit, ...] = ()
    default_calendar: str = ""
    indices: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Declaration:
        """Read a stored manifest."""
        return cls(
            kind=CodeKind(str(manifest.get("kind", "CODE_KIND_PROVIDER")).removeprefix("CODE_KIND_").lower()),
            name=str(manifest.get("name", "")),
            sdk_version=str(manifest.get("sdk_version", "")),
            capabilities=frozenset(
                word.removeprefix("PROVIDER_CAPABILITY_") for word in manifest.get("capabilities", ())
            ),
            intervals=tuple(manifest.get("intervals", ())),
            streams_ticks=bool(manifest.get("streams_ticks", False)),
            tick_kinds=_tick_kinds(manifest),
            fields=tuple(field_of(field) for field in manifest.get("preferences", ())),
            secrets=tuple(_secret(secret) for secret in manifest.get("secrets", ())),
            history_depths={
                depth["interval"]: seconds_of(depth["depth"])
                for depth in manifest.get("history_depths", ())
                if "depth" in depth
            },
            publication_delay=seconds_of(manifest.get("publication_delay", "0s")),
            rate_limits=tuple(
                RateLimit(int(limit.get("calls", 0)), seconds_of(limit["window"]).total_seconds())
                for limit in manifest.get("rate_limits", ())
                if "window" in limit
            ),
            default_calendar=str(manifest.get("default_calendar", "")),
            indices=tuple(manifest.get("indices", ())),
            hosts=tuple(str(host.get("host", "")) for host in manifest.get("hosts", ())),
        )

    def can(self, capability: str) -> bool:
        """Tell whether the class has a capability."""
        return capability in self.capabilities


def seconds_of(text: str) -> dt.timedelta:
    """Return the duration that a text such as `3.5s` stands for (the JSON form of a protobuf duration)."""
    return dt.timedelta(seconds=float(text.removesuffix("s")))


def _tick_kinds(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kinds of ticks that are streamed; a class that names none streams trades."""
    if not manifest.get("streams_ticks", False):
        return ()
    return tuple(str(kind).upper() for kind in manifest.get("tick_kinds", ())) or ("TRADE",)


def _secret(secret: Mapping[str, Any]) -> SecretField:
    return SecretField(str(secret["name"]), str(secret.get("description", "")), bool(secret.get("required", False)))
