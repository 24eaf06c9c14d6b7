"""Which providers are active, read from the registry's tables, so that the DataHub works while the registry is down."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from datahub.providers.entry import ProviderEntry
from datahub.store.statements import SQL
from quasar import logs
from quasar.database.pool import Database
from quasar.errors import NotFound, Resource, SecretsUnreadable
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind, Manifest, read_manifest
from quasar.secrets import Binding, SystemContext

ReadManifest = Callable[[Mapping[str, Any]], Manifest]
"""Reads a stored manifest, which is the JSON form of the contract's message."""

_log = logs.get(__name__)


class ProviderDirectory:
    """The active providers. `refresh` reads them; the other methods answer from what was read last."""

    def __init__(
        self, database: Database, context: SystemContext, read: ReadManifest, built_in: Mapping[str, str]
    ) -> None:
        """Read `database`.

        Args:
            database: With the registry's tables.
            context: Opens sealed secrets.
            read: Reads stored manifests.
            built_in: `module:Class` of the platform's own providers, by name.
        """
        self._database = database
        self._context = context
        self._read = read
        self._built_in = dict(built_in)
        self._entries: dict[str, ProviderEntry] = {}

    @property
    def entries(self) -> Mapping[str, ProviderEntry]:
        """The active providers by name."""
        return self._entries

    async def refresh(self) -> Mapping[str, ProviderEntry]:
        """Read the active providers anew and return them by name."""
        found: dict[str, ProviderEntry] = {}
        for row in await self._database.fetch(SQL["active_providers"]):
            entry = self._entry(row)
            if entry is not None:
                found[entry.name] = entry
        known = {name.lower() for name in found}
        for name, path in self._built_in.items():
            if name.lower() not in known and (unlisted := _unlisted(name, path)) is not None:
                found[name] = unlisted
        self._entries = found
        return found

    def find(self, name: str) -> ProviderEntry | None:
        """Return an active provider by its name, in any letter case."""
        entry = self._entries.get(name)
        if entry is None:
            entry = next((one for one in self._entries.values() if one.name.lower() == name.lower()), None)
        return entry

    def get(self, name: str) -> ProviderEntry:
        """Return an active provider by its name, in any letter case.

        Raises:
            NotFound: No active provider has the name.
        """
        entry = self.find(name)
        if entry is None:
            known = ", ".join(sorted(self._entries)) or "none"
            raise NotFound(
                f"No active provider is called {name!r}; active are: {known}.", resource=Resource("provider", name)
            )
        return entry

    async def code(self, name: str) -> CodeVersion:
        """Return what is to run for a provider: source, settings and opened secrets.

        Raises:
            NotFound: No active provider has the name.
            SecretsUnreadable: Its secrets cannot be opened with the present system context.
            CodeRejected: The stored bytes are not those that were accepted.
        """
        entry = self.get(name)
        source = b""
        if not entry.builtin_path:
            source = await self._database.fetchval(SQL["provider_source"], entry.name, entry.version) or b""
        return CodeVersion(
            kind=Kind.PROVIDER,
            name=entry.name,
            version=entry.version,
            source=source,
            file_name=entry.file_name if source else "",
            sha256=entry.sha256 if source else "",
            builtin=entry.builtin_path,
            secrets=await self._secrets(entry.name),
            preferences=_own_preferences(entry),
            ports=entry.manifest.ports,
        )

    async def missing_settings(self, name: str) -> list[str]:
        """Return the names of required secrets and the paths of required preferences that are not stored."""
        entry = self.get(name)
        row = await self._database.fetchrow(SQL["provider_secrets"], entry.name)
        stored = set(row["names"]) if row is not None else set()
        secrets = [secret.name for secret in entry.manifest.secrets if secret.required and secret.name not in stored]
        needed = [field.path for field in entry.manifest.preferences if field.required]
        return [*secrets, *(path for path in needed if not _is_stored(entry.preferences, path))]

    async def _secrets(self, name: str) -> dict[str, str]:
        row = await self._database.fetchrow(SQL["provider_secrets"], name)
        if row is None:
            return {}
        opened = self._context.open(row["sealed"], Binding("provider", row["name"], row["version"]))
        found = json.loads(opened)
        if not isinstance(found, dict):
            raise SecretsUnreadable(f"The stored secrets of provider {name} are damaged; replace them.")
        return {str(key): str(value) for key, value in found.items()}

    def _entry(self, row: Any) -> ProviderEntry | None:
        name = row["name"]
        path = self._built_in.get(name, "") if row["built_in"] else ""
        if row["built_in"] and not path:
            _log.warning("built-in provider is not part of this build", provider=name)
            return None
        return ProviderEntry(
            name=name,
            version=row["version"],
            manifest=self._read(row["manifest"]),
            built_in=row["built_in"],
            builtin_path=path,
            sha256=row["sha256"],
            file_name=row["file_name"],
            preferences=row["preferences"],
            stamp=(row["version"], row["preferences_revision"], row["secrets_version"]),
        )


def _unlisted(name: str, path: str) -> ProviderEntry | None:
    """Return a built-in provider that the registry has not listed so far."""
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ImportError as error:
        _log.info("built-in provider is left out", provider=name, problem=str(error))
        return None
    manifest = read_manifest(Kind.PROVIDER, found)
    return ProviderEntry(name=name, version=0, manifest=manifest, built_in=True, builtin_path=path)


def _own_preferences(entry: ProviderEntry) -> dict[str, Any]:
    """Return the preferences that the class declares; the platform's own are not handed to it."""
    own = {field.path.partition(".")[0] for field in entry.manifest.preferences}
    return {name: value for name, value in entry.preferences.items() if name in own}


def _is_stored(preferences: Mapping[str, Any], path: str) -> bool:
    value: Any = preferences
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value is not None
