"""Recordings of a vendor's traffic: JSON lines, one for each exchange and each message, without secrets.

The first line is the head; each other line is one of

    {"at": 0.21, "kind": "http", "method": "GET", "url": "https://…", "body": "", "status": 200, "headers": {…},
     "answer": "…", "elapsed_s": 0.2}
    {"at": 0.50, "kind": "open", "connection": 1, "url": "wss://…"}
    {"at": 0.51, "kind": "sent", "connection": 1, "text": "…"}
    {"at": 0.60, "kind": "received", "connection": 1, "text": "…"}
    {"at": 9.10, "kind": "closed", "connection": 1}

`at` are seconds since the recording began. Bytes that are no UTF-8 stand as base64 in `answer_base64` or `base64`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from quasar import errors, scrub
from quasar.sdk.wire import Exchange

FILE: Final = "recording.jsonl"
"""Name of the file in the scratch folder of the process."""
_FORMAT: Final = "quasar-recording"
_VERSION: Final = 1
_LARGEST: Final = 60 * 1024 * 1024
"""Bytes after which nothing is kept any more: one file of a jailed process may have 64 MiB."""
_SHORTEST: Final = 4
_SECRET_NAME: Final = re.compile(r"(?i)secret|token|passw|auth|cred|api_?-?key|^key$|sign|nonce|session|cookie")
_TELLING_VALUE: Final = re.compile(
    r"(?i)(\"[\w-]*(?:secret|passw|token|api_?-?key|listenkey|session)[\w-]*\"\s*:\s*\")[^\"\\]{16,}(?=\")"
)
"""A long value under a telling name, in JSON: a token that the vendor handed out. A short one may be a symbol."""
_NOT_KEPT: Final = frozenset({"connection", "content-encoding", "content-length", "transfer-encoding", "keep-alive"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The first line of a recording: how it was made."""

    time_ns: int
    """When, nanoseconds UTC."""
    command: tuple[str, ...] = ()
    """The words after `quasar dev`, secrets left out."""
    provider: str = ""
    sha256: str = ""
    """Of the provider's file."""
    through: Mapping[str, str] = field(default_factory=dict)
    """Preferences that hold an address of the vendor's, with that address, where traffic was kept by leading it."""

    def line(self) -> str:
        """Return the line, with its end."""
        return json.dumps({"format": _FORMAT, "version": _VERSION, **asdict(self)}) + "\n"


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording that was read."""

    head: Head
    lines: tuple[Mapping[str, Any], ...]


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        InvalidArgument: The file is none; the message names the line.
    """
    head: Head | None = None
    lines: list[Mapping[str, Any]] = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            if head is None:
                head = _head(line)
            elif line["kind"] in ("http", "open", "sent", "received", "closed"):
                lines.append(line)
        except (ValueError, KeyError, TypeError):
            raise errors.InvalidArgument(
                f"{path.name} must be a recording of `quasar dev record`, line {number} is not"
            ) from None
    if head is None:
        raise errors.InvalidArgument(f"{path.name} must be a recording of `quasar dev record`, was empty")
    return Recording(head, tuple(lines))


def _head(line: Mapping[str, Any]) -> Head:
    if line["format"] != _FORMAT or line["version"] != _VERSION:
        raise ValueError("not a recording that is known here")
    return Head(
        time_ns=int(line["time_ns"]),
        command=tuple(map(str, line.get("command", ()))),
        provider=str(line.get("provider", "")),
        sha256=str(line.get("sha256", "")),
        through={str(name): str(url) for name, url in dict(line.get("through", {})).items()},
    )


def body_of(line: Mapping[str, Any], name: str) -> bytes:
    """Return the bytes of a field that is text or base64.

    Raises:
        InvalidArgument: The base64 is none.
    """
    encoded = line.get("base64" if name == "text" else f"{name}_base64")
    try:
        return str(line.get(name, "")).encode() if encoded is None else base64.b64decode(encoded)
    except binascii.Error:
        raise errors.InvalidArgument(f"{name} of a recorded message must be base64, was not") from None


class Scrubber:
    """Takes secrets out of what is kept: values that are known, and what stands under telling names."""

    def __init__(self, values: Callable[[], Iterable[str]]) -> None:
        """Hide what `values` returns at the time of each call, as it is and as it is written in URLs, JSON, base64."""
        self._values = values

    def text(self, text: str) -> str:
        """Return a body or message without secrets."""
        for value in self._values():
            if len(value) < _SHORTEST:
                continue
            written = {value, quote(value, safe=""), json.dumps(value)[1:-1], base64.b64encode(value.encode()).decode()}
            for form in sorted(written, key=len, reverse=True):
                text = text.replace(form, scrub.HIDDEN)
        return _TELLING_VALUE.sub(rf"\1{scrub.HIDDEN}", text)

    def content(self, content: bytes) -> bytes:
        """Return bytes that are no text without the values that are known."""
        for value in self._values():
            if len(value) >= _SHORTEST:
                content = content.replace(value.encode(), scrub.HIDDEN.encode())
        return content

    def url(self, url: str) -> str:
        """Return a URL without secrets: no user, and nothing under telling names in its query."""
        parts = urlsplit(self.text(url))
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, urlencode(self.query(parts.query)), ""))

    def query(self, query: str) -> list[tuple[str, str]]:
        """Return the parameters of a query without secrets."""
        known = set(self._values())
        return [
            (name, scrub.HIDDEN if value in known or _SECRET_NAME.search(name) else self.text(value))
            for name, value in parse_qsl(query, keep_blank_values=True)
        ]

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return those headers of an answer that are worth keeping."""
        return {
            name: self.text(value)
            for name, value in headers.items()
            if name not in _NOT_KEPT and not _SECRET_NAME.search(name)
        }


class Recorder:
    """A wire that keeps what passes, in a file."""

    def __init__(self, path: Path, values: Callable[[], Iterable[str]], monotonic: Callable[[], float]) -> None:
        """Begin a recording.

        Args:
            path: The file; written line by line, so that it is there when the process is killed.
            values: The values of the secrets at the time of each call.
            monotonic: The clock, seconds.
        """
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self._scrub = Scrubber(values)
        self._monotonic = monotonic
        self._began = monotonic()
        self._size = 0
        self._connections = 0

    def route(self, url: str) -> str:
        """Lead nowhere else."""
        return url

    def secret(self, name: str, value: str | None) -> str | None:
        """Return the value as it is."""
        return value

    def exchanged(self, exchange: Exchange) -> None:
        """Keep a request and its answer; headers of requests are never kept."""
        self._write(
            "http",
            method=exchange.method,
            url=self._scrub.url(exchange.url),
            body=self._scrub.text(exchange.body),
            status=exchange.status,
            headers=self._scrub.headers(exchange.headers),
            **self._body(exchange.answer, "answer", "answer_base64"),
            elapsed_s=round(exchange.elapsed_s, 4),
        )

    def opened(self, url: str) -> int:
        """Keep that a connection was made."""
        self._connections += 1
        self._write("open", connection=self._connections, url=self._scrub.url(url))
        return self._connections

    def sent(self, connection: int, message: str | bytes) -> None:
        """Keep a message to the vendor."""
        self._write("sent", connection=connection, **self._body(message, "text", "base64"))

    def received(self, connection: int, message: str | bytes) -> None:
        """Keep a message from the vendor."""
        self._write("received", connection=connection, **self._body(message, "text", "base64"))

    def closed(self, connection: int) -> None:
        """Keep that a connection ended."""
        self._write("closed", connection=connection)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _body(self, body: str | bytes, name: str, encoded: str) -> dict[str, str]:
        try:
            return {name: self._scrub.text(body if isinstance(body, str) else body.decode())}
        except UnicodeDecodeError:
            assert isinstance(body, bytes)
            return {encoded: base64.b64encode(self._scrub.content(body)).decode()}

    def _write(self, kind: str, **fields: Any) -> None:
        at = round(self._monotonic() - self._began, 4)
        line = json.dumps({"at": at, "kind": kind, **fields}, ensure_ascii=False) + "\n"
        self._size += len(line.encode())
        if self._size <= _LARGEST:
            self._file.write(line)
            self._file.flush()


def connections(lines: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Return the lines of each WebSocket connection, from `open` to `closed`, in order of their making."""
    current: dict[int, list[Mapping[str, Any]]] = {}
    found: list[list[Mapping[str, Any]]] = []
    for line in lines:
        if line["kind"] == "open":  # also the same number again: the process was started anew meanwhile
            found.append([line])
            current[int(line["connection"])] = found[-1]
        elif line["kind"] != "http" and int(line["connection"]) in current:
            current[int(line["connection"])].append(line)
    yield from found
