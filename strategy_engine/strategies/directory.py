"""Strategies and brokers as the registry's tables hold them, so that this service works while the registry is down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quasar.database.pool import Database
from quasar.errors import NotFound, Resource, SecretsUnreadable
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind
from quasar.secrets import Binding, SystemContext
from strategy_engine.store.statements import SQL


@dataclass(frozen=True, slots=True)
class StrategyEntry:
    """One version of a strategy or broker."""

    name: str
    version: int
    sha256: str
    """64 lower-case hexadecimal digits."""
    code: CodeVersion
    manifest: Mapping[str, Any]
    """The JSON form of the contract's manifest."""


class StrategyDirectory:
    """Reads the code of strategies, or of brokers, with their secrets opened."""

    def __init__(
        self,
        database: Database,
        context: SystemContext,
        built_in: Mapping[str, str] | None = None,
        kind: Kind = Kind.STRATEGY,
    ) -> None:
        """Read `database`.

        Args:
            database: With the registry's tables.
            context: Opens sealed secrets.
            built_in: `module:Class` of the platform's own code of the kind by name.
            kind: What it reads: strategies, or brokers.
        """
        self._kind = kind
        self._database = database
        self._context = context
        self._built_in = dict(built_in or {})

    async def get(self, name: str, version: int = 0) -> StrategyEntry:
        """Return one version; 0: the active one.

        Raises:
            NotFound: There is none of that name and version, or none is active.
            SecretsUnreadable: Its secrets cannot be opened with the present system context.
        """
        row = await self._database.fetchrow(SQL["code_version"], self._kind.value, name, version)
        if row is None:
            raise NotFound(await self._unknown(name, version), resource=Resource(self._kind.value, name))
        builtin = self._built_in.get(row["name"], "") if row["built_in"] else ""
        code = CodeVersion(
            kind=self._kind,
            name=row["name"],
            version=row["version"],
            source=b"" if builtin else row["source"] or b"",
            file_name=row["file_name"],
            sha256=row["sha256"],
            builtin=builtin,
            secrets=await self._secrets(row["name"]),
            preferences=row["preferences"] or {},
            ports=() if self._kind is Kind.STRATEGY else None,  # of brokers they are found in the source
        )
        return StrategyEntry(row["name"], row["version"], row["sha256"], code, row["manifest"])

    async def _unknown(self, name: str, version: int) -> str:
        known = [row["name"] for row in await self._database.fetch(SQL["code_names"], self._kind.value)]
        kind = self._kind.value
        what = f"version {version} of {kind} {name!r}" if version else f"an active {kind} {name!r}"
        plural = "strategies" if self._kind is Kind.STRATEGY else f"{kind}s"
        return f"There must be {what} in the registry, was none; {plural} are: {', '.join(known) or 'none'}."

    async def _secrets(self, name: str) -> Mapping[str, str]:
        row = await self._database.fetchrow(SQL["code_secrets"], self._kind.value, name)
        if row is None:
            return {}
        opened = self._context.open(row["sealed"], Binding(row["kind"], row["name"], row["version"]))
        try:
            found: Mapping[str, str] = json.loads(opened)
        except ValueError:
            what = f"{self._kind.value} {name}"
            raise SecretsUnreadable(f"The stored secrets of {what} are damaged; replace them.") from None
        return found
