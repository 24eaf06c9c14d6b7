"""Code as the registry keeps it: entries, versions, and what uses them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quasar.ops.actors import Actor
from registry.code import preferences
from registry.code.declarations import Declaration
from registry.code.fields import PreferenceField, schema
from registry.code.refs import CodeRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A piece of code by its name. Its versions hold the sources; at most one of them is active."""

    code_id: int
    ref: CodeRef
    built_in: bool
    active_version: int | None
    latest_version: int
    version_count: int
    manifest: Mapping[str, Any]
    """Of the active version, of the newest one when none is active."""
    manifest_version: int
    preferences: Mapping[str, Any]
    """What is stored."""
    preferences_revision: int
    preferences_time: dt.datetime | None
    preferences_actor: Actor | None
    secret_names: tuple[str, ...]
    revision: int
    create_time: dt.datetime
    update_time: dt.datetime
    created_by: Actor | None

    @property
    def etag(self) -> str:
        """Changes with every change of the entry."""
        return f"c{self.code_id}-{self.revision}"

    @property
    def preferences_etag(self) -> str:
        """Changes with every change of the preferences."""
        return f"p{self.code_id}-{self.preferences_revision}"

    @property
    def declaration(self) -> Declaration:
        """What the class of the version declares that `manifest` belongs to."""
        return Declaration.of(self.manifest)

    @property
    def fields(self) -> tuple[PreferenceField, ...]:
        """The preferences that it takes."""
        declared = self.declaration
        return schema(self.ref.kind, declared.capabilities, declared.fields)

    @property
    def missing(self) -> tuple[str, ...]:
        """Required secrets and preferences for which nothing is stored."""
        stored = frozenset(self.secret_names)
        secrets = (s.name for s in self.declaration.secrets if s.required and s.name not in stored)
        return (*secrets, *preferences.missing(self.fields, self.preferences))


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One uploaded version. Versions never change."""

    ref: CodeRef
    version: int
    active: bool
    sha256: str
    file_name: str
    size_bytes: int
    file_count: int
    manifest: Mapping[str, Any]
    report: Mapping[str, Any]
    create_time: dt.datetime
    created_by: Actor | None
    activate_time: dt.datetime | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What uses a piece of code."""

    assets: int
    mappings: int
    subscriptions: int
    indices: int
    secrets: int
    instances: int | None = None
    """None: the strategy engine does not answer."""
    series: int | None = None
    """None: the DataHub does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What deleting or deactivating a piece of code takes away."""

    versions: int = 0
    secret_names: tuple[str, ...] = ()
    subscriptions: int = 0
    assets: int = 0
    mappings: int = 0
    manual_mappings: int = 0
    common_symbols: tuple[str, ...] = ()
    indices: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    series_kept: int | None = None
    truncated: bool = False

    @property
    def loses_something(self) -> bool:
        """Whether more than the code itself would be gone."""
        counts = (self.subscriptions, self.mappings, len(self.secret_names), len(self.instances))
        return any(counts)
