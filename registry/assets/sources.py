"""Providers and brokers as owners of assets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quasar.errors import FailedPrecondition, NotFound
from registry.code.declarations import Declaration
from registry.code.refs import CodeKind, CodeRef
from registry.store.statements import SQL

PREFERRED_QUOTE = ("crypto", "preferred_quote_currency")
"""Where among the preferences the preferred quote currency stands."""


@dataclass(frozen=True, slots=True)
class Source:
    """A provider or broker whose symbols are assets."""

    code_id: int
    ref: CodeRef
    active: bool
    capabilities: frozenset[str]
    indices: tuple[str, ...]
    """Index providers: the indices that it answers for, by its own names."""
    preferred_quote: str
    """The quote currency that its crypto pairs are preferred in; empty: none."""

    @property
    def label(self) -> str:
        """Kind and name, as filters and counts write them: `provider/kraken`."""
        return f"{self.ref.kind}/{self.ref.name}"

    @property
    def lists_symbols(self) -> bool:
        """Whether its class can list symbols."""
        return "SYMBOLS" in self.capabilities

    @property
    def has_constituents(self) -> bool:
        """Whether its class answers for indices."""
        return self.ref.kind is CodeKind.PROVIDER and "INDEX" in self.capabilities

    def require_symbols(self) -> None:
        """Refuse a source that cannot be asked for symbols.

        Raises:
            FailedPrecondition: It is not active, or its class has neither symbols nor constituents.
        """
        if not self.active:
            raise FailedPrecondition(
                f"The {self.ref} is not active; activate a version first.", resource=self.ref.resource
            )
        if not (self.lists_symbols or self.has_constituents):
            raise FailedPrecondition(
                f"The {self.ref} cannot list symbols; its class must override the method that does.",
                resource=self.ref.resource,
            )


async def find_source(connection: Any, ref: CodeRef) -> Source:
    """Return a provider or broker.

    Raises:
        NotFound: There is none of that name, or the reference is to a strategy, which has no assets.
    """
    row = await connection.fetchrow(SQL["source_find"], str(ref.kind), ref.name)
    if row is None or ref.kind is CodeKind.STRATEGY:
        raise _unknown(ref)
    return _source(row)


async def all_sources(connection: Any) -> list[Source]:
    """Return every provider and broker, by kind and name."""
    return [_source(row) for row in await connection.fetch(SQL["sources_all"])]


async def find_sources(connection: Any, refs: Sequence[CodeRef]) -> list[Source]:
    """Return the named sources; all of them when none is named.

    Raises:
        NotFound: One of them does not exist.
    """
    known = {(source.ref.kind, source.ref.name.lower()): source for source in await all_sources(connection)}
    if not refs:
        return list(known.values())
    for ref in refs:
        if (ref.kind, ref.name.lower()) not in known:
            raise _unknown(ref)
    chosen = {(ref.kind, ref.name.lower()) for ref in refs}
    return [source for key, source in known.items() if key in chosen]


def _unknown(ref: CodeRef) -> NotFound:
    return NotFound(f"There is no {ref}; list what there is with ListCode.", resource=ref.resource)


def _source(row: Any) -> Source:
    declared = Declaration.of(row["manifest"])
    preferences: Mapping[str, Any] = row["preferences"]
    group, name = PREFERRED_QUOTE
    preferred = (preferences.get(group) or {}).get(name) if isinstance(preferences.get(group), dict) else None
    return Source(
        code_id=row["code_id"],
        ref=CodeRef(CodeKind(row["kind"]), row["name"]),
        active=row["active"],
        capabilities=declared.capabilities,
        indices=declared.indices or (row["name"],),
        preferred_quote=str(preferred or "").upper(),
    )
