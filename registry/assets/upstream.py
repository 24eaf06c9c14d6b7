"""What the registry asks of the services that run providers and brokers."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from registry.assets.rows import SourceSymbol
from registry.assets.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolPage:
    """Some symbols of a source."""

    symbols: Sequence[SourceSymbol]
    total: int | None = None
    """How many there are in all, when the source says so."""
    errors: Sequence[str] = ()
    """Rows that the service that asked could not read, each with what is wrong."""
    error_count: int = 0
    """Such rows over the whole stream so far."""
    wait_s: float = 0.0
    """Time spent waiting for rate limits so far."""


class SourceConstituent(NamedTuple):
    """A member of an index as a provider tells it."""

    asset: SourceSymbol
    weight: float | None


@dataclass(frozen=True, slots=True)
class Constituents:
    """An answer of an index provider."""

    members: Sequence[SourceConstituent]
    errors: Sequence[str] = ()
    """Rows that are no valid constituent."""


class Upstream(Protocol):
    """The services that run sources."""

    async def require(self, source: Source | None) -> None:
        """Make sure that the service that runs a source answers; None: that of all providers.

        Raises:
            ServiceUnavailable: It does not.
        """
        ...

    def symbols(self, source: Source) -> AsyncGenerator[SymbolPage, None]:
        """Yield the symbols of a source, page by page.

        Raises:
            QuasarError: Whatever the service answers.
        """
        ...

    async def constituents(self, source: Source, index: str, as_of: dt.date | None) -> Constituents:
        """Return the constituents of a provider's index, now or on a day.

        Raises:
            QuasarError: Whatever the service answers.
        """
        ...
