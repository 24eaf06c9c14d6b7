"""The way from a plug-in to its vendor, where it is looked at or led elsewhere: traffic that is kept, or played back.

Only `quasar dev record` and `quasar dev replay` put a wire in; on the platform there is none, and clients connect
straight to their vendors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

from quasar import scrub


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request over HTTP and its answer."""

    method: str
    url: str
    """With its query."""
    body: str = ""
    """Of the request, as text."""
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the answer."""
    answer: bytes = b""
    elapsed_s: float = 0.0


class Wire(Protocol):
    """What the clients of the SDK ask and tell."""

    def route(self, url: str) -> str:
        """Return where to connect instead of `url`."""
        ...

    def secret(self, name: str, value: str | None) -> str | None:
        """Return the value of a secret to use, None when there is none."""
        ...

    def exchanged(self, exchange: Exchange) -> None:
        """Hear of an answer."""
        ...

    def opened(self, url: str) -> int:
        """Hear of a new WebSocket connection; return its number."""
        ...

    def sent(self, connection: int, message: str | bytes) -> None:
        """Hear of a message to the vendor."""
        ...

    def received(self, connection: int, message: str | bytes) -> None:
        """Hear of a message from the vendor."""
        ...

    def closed(self, connection: int) -> None:
        """Hear of the end of a connection."""
        ...

    def close(self) -> None:
        """Hear of the end of the process."""
        ...


class Detour:
    """Leads every connection to a server on this machine that plays a recording."""

    def __init__(self, port: int) -> None:
        """Lead to `port` of this machine."""
        self._port = port

    def route(self, url: str) -> str:
        """Return the address at the player: scheme and host of the vendor stand first in the path."""
        parts = urlsplit(url)
        scheme = "ws" if parts.scheme in ("ws", "wss") else "http"
        path = f"/{parts.scheme}/{parts.netloc}{parts.path or '/'}"
        return urlunsplit((scheme, f"127.0.0.1:{self._port}", path, parts.query, ""))

    def secret(self, name: str, value: str | None) -> str | None:
        """Return a stand-in where there is no value; it is what stands in recordings, too."""
        return scrub.HIDDEN if value is None else value

    def exchanged(self, exchange: Exchange) -> None:
        """Nothing is kept."""

    def opened(self, url: str) -> int:
        """Nothing is kept."""
        return 0

    def sent(self, connection: int, message: str | bytes) -> None:
        """Nothing is kept."""

    def received(self, connection: int, message: str | bytes) -> None:
        """Nothing is kept."""

    def closed(self, connection: int) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""


def with_query(url: str, params: Mapping[str, str | int | float | None] | None) -> str:
    """Return a URL with further parameters in its query; those that are None are left out."""
    given = {name: str(value) for name, value in (params or {}).items() if value is not None}
    if not given:
        return url
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode(given)) if part)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
