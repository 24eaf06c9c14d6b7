"""HTTP headers of grpc-web: content types, the timeout, what is let through in each direction, CORS."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from quasar import errors

BINARY = "application/grpc-web+proto"
TEXT = "application/grpc-web-text+proto"
_CONTENT_TYPES = {
    "application/grpc-web": BINARY,
    BINARY: BINARY,
    "application/grpc-web-text": TEXT,
    TEXT: TEXT,
}

# Everything else stays at the gateway: cookies, hop-by-hop headers, and whatever a browser adds of itself.
_FORWARDED = frozenset({"authorization", "traceparent", "tracestate", "x-request-id", "x-user-agent"})
_FORWARDED_PREFIX = "x-quasar-"
_NOT_RETURNED = frozenset(
    {"content-type", "content-length", "connection", "transfer-encoding", "set-cookie", "date", "server"}
)
_TIMEOUT_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

ALLOWED_HEADERS = (
    "authorization, content-type, grpc-timeout, traceparent, tracestate, x-grpc-web, x-request-id, x-user-agent, "
    "x-quasar-service"
)
EXPOSED_HEADERS = "grpc-status, grpc-message, grpc-status-details-bin, x-request-id"


@dataclass(frozen=True, slots=True)
class WireFormat:
    """How a response body is written."""

    content_type: str

    @property
    def text(self) -> bool:
        """Whether frames travel as base64."""
        return self.content_type == TEXT

    def encode(self, frame: bytes) -> bytes:
        """Return a frame as it goes over the wire."""
        return base64.b64encode(frame) if self.text else frame


def wire_format(content_type: str) -> WireFormat | None:
    """Return the format that a content type names, or None when it is not grpc-web."""
    name = content_type.split(";", 1)[0].strip().lower()
    found = _CONTENT_TYPES.get(name)
    return WireFormat(found) if found else None


def timeout_seconds(value: str | None) -> float | None:
    """Return a `grpc-timeout` in seconds; None when there is none.

    Raises:
        errors.InvalidArgument: The value is not 1–8 digits and a unit of H M S m u n.
    """
    if value is None:
        return None
    digits, unit = value[:-1], value[-1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 8 and unit in _TIMEOUT_UNITS):
        raise errors.InvalidArgument(f"grpc-timeout must be 1 to 8 digits and one of H M S m u n, was {value[:20]!r}")
    return int(digits) * _TIMEOUT_UNITS[unit]


def to_metadata(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str | bytes]]:
    """Return the request headers that go on to the service, `-bin` ones decoded."""
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        key = name.lower()
        if key not in _FORWARDED and not key.startswith(_FORWARDED_PREFIX):
            continue
        metadata.append((key, _binary(key, value) if key.endswith("-bin") else value))
    return metadata


def _binary(key: str, value: str) -> bytes:
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise errors.InvalidArgument(f"header {key} must be base64, was {value[:40]!r}") from error


def from_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    """Return a service's initial metadata as response headers."""
    headers: dict[str, str] = {}
    for key, value in metadata or ():
        name = key.lower()
        if name in _NOT_RETURNED or name.startswith("grpc-"):
            continue
        if isinstance(value, bytes):
            headers[name] = base64.b64encode(value).decode("ascii").rstrip("=")
        else:
            headers[name] = value
    return headers


def cors(origin: str | None, allowed: Collection[str], host: str | None) -> Mapping[str, str]:
    """Return the CORS headers for an origin: none for the same origin or for one that is not allowed."""
    if origin is None or (host is not None and origin.split("://", 1)[-1] == host):
        return {}
    if origin not in allowed:
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": EXPOSED_HEADERS,
        "Vary": "Origin",
    }


def preflight(origin: str | None, allowed: Collection[str], host: str | None) -> Mapping[str, str]:
    """Return the headers that answer an OPTIONS request."""
    headers = dict(cors(origin, allowed, host))
    if "Access-Control-Allow-Origin" in headers:
        headers |= {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": "7200",
        }
    return headers
