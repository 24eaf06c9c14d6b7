"""The HTTP client of plug-ins: paced by the vendor's limits, patient with a busy vendor, silent about secrets."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import email.utils
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp

from quasar import errors
from quasar.clock import Clock
from quasar.sdk.failures import Throttled, Unauthorised
from quasar.sdk.http_options import HttpOptions
from quasar.sdk.jitter import FullJitter
from quasar.sdk.permits import CallOutcome, Permits
from quasar.sdk.redaction import Redaction
from quasar.sdk.wire import Exchange, Wire, with_query

Parameters = Mapping[str, str | int | float | None]
_BUSY: Final = frozenset({418, 429, 503})
"""Answers by which vendors ask to wait; 418 is what Binance bans with."""
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_BODY_IN_ERROR: Final = 200


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with a status of 200 to 299."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def text(self) -> str:
        """The body as text (UTF-8)."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Return the body as JSON, whatever its content type says.

        Raises:
            VendorFailed: It is no JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            start = self.text[:_BODY_IN_ERROR]
            raise errors.VendorFailed(f"the vendor's answer must be JSON, was {start!r}") from error


class HttpClient:
    """Makes requests. Every attempt takes a permit of the provider's rate limits first."""

    def __init__(
        self,
        options: HttpOptions,
        *,
        permits: Permits,
        clock: Clock,
        jitter: FullJitter,
        redaction: Redaction,
        wire: Wire | None = None,
    ) -> None:
        """Prepare a client; nothing is connected before the first request."""
        self._wire = wire
        self.options = options
        self._permits = permits
        self._clock = clock
        self._jitter = jitter
        self._redact = redaction
        self._session: aiohttp.ClientSession | None = None

    async def json(self, url: str, params: Parameters | None = None, **terms: Any) -> Any:
        """GET a URL and return its JSON; `terms` are those of `request`."""
        return (await self.request("GET", url, params, **terms)).json()

    async def text(self, url: str, params: Parameters | None = None, **terms: Any) -> str:
        """GET a URL and return its text; `terms` are those of `request`."""
        return (await self.request("GET", url, params, **terms)).text

    async def content(self, url: str, params: Parameters | None = None, **terms: Any) -> bytes:
        """GET a URL and return its bytes; `terms` are those of `request`."""
        return (await self.request("GET", url, params, **terms)).body

    async def request(
        self,
        method: str,
        url: str,
        params: Parameters | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | Mapping[str, Any] | None = None,
        auth: tuple[str, str] | None = None,
        weight: int = 1,
        repeat: bool | None = None,
    ) -> Response:
        """Make a request and return its answer.

        A vendor that is busy (418, 429, 503) is asked again after the time that it names, one that fails (other 5xx,
        time-outs, broken connections) after a wait with full jitter.

        Args:
            method: `GET`, `POST` …
            url: Absolute, or relative to the options' base.
            params: Query; entries that are None are left out.
            headers: Beside those of the options.
            body: Bytes, text, or a mapping, which is sent as JSON.
            auth: User and password for basic authentication.
            weight: What the call counts against the rate limits.
            repeat: Whether another attempt may be made; None: for GET, HEAD and OPTIONS only.

        Raises:
            NotFound: The vendor answered 404.
            Unauthorised: It answered 401 or 403.
            Throttled: It is busy for longer than the client waits.
            VendorFailed: It answered with another error, or not at all.
        """
        repeatable = repeat if repeat is not None else method in _REPEATABLE
        attempts = self.options.attempts if repeatable else 1
        target = _Target(method, urljoin(self.options.base_url, url), params, headers, body, auth)
        for attempt in range(1, attempts + 1):
            async with self._permits.call(weight) as outcome:
                answer = await self._attempt(target, outcome)
            if isinstance(answer, Response):
                return answer
            wait = self._wait_s(answer, attempt)
            if attempt == attempts or not answer.may_pass or wait > self.options.longest_wait_s:
                raise answer.error
            await self._clock.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _wait_s(self, failure: _Failure, attempt: int) -> float:
        if failure.error.retry_after_s is not None:
            return failure.error.retry_after_s
        return self._jitter.wait_s(attempt)

    async def _attempt(self, target: _Target, outcome: CallOutcome) -> Response | _Failure:
        started = self._clock.monotonic()
        try:
            async with self._open().request(**target.arguments(self._wire)) as answer:
                body = await self._read(answer)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            kind = "did not answer in time" if isinstance(error, TimeoutError) else f"failed: {error}"
            return _Failure(errors.VendorFailed(self._redact(f"{target} {kind}")), may_pass=True)
        finally:
            outcome.elapsed_s = self._clock.monotonic() - started
        headers = {name.lower(): value for name, value in answer.headers.items()}
        outcome.failed = False
        outcome.http_status = answer.status
        outcome.bytes_received = len(body)
        if self._wire is not None:
            self._wire.exchanged(target.exchange(answer.status, headers, body, outcome.elapsed_s))
        if 200 <= answer.status < 300:
            return Response(answer.status, headers, body)
        failure = self._failure(target, answer.status, headers, body)
        outcome.retry_after_s = failure.error.retry_after_s
        return failure

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async for part in answer.content.iter_any():
            size += len(part)
            if size > self.options.largest_body:
                raise aiohttp.ClientPayloadError(f"the answer is larger than {self.options.largest_body} bytes")
            parts.append(part)
        return b"".join(parts)

    def _failure(self, target: _Target, status: int, headers: Mapping[str, str], body: bytes) -> _Failure:
        words = " ".join(body[:_BODY_IN_ERROR].decode("utf-8", errors="replace").split())
        text = self._redact(f"{target} was answered with {status}{': ' + words if words else ''}")
        if status in _BUSY:
            wait = retry_after_s(headers.get("retry-after"), self._clock.now())
            kind = Throttled if wait is not None or status != 503 else errors.VendorFailed
            return _Failure(kind(text, retry_after_s=wait), may_pass=True)
        if status == 404:
            return _Failure(errors.NotFound(text), may_pass=False)
        if status in (401, 403):
            return _Failure(Unauthorised(text), may_pass=False)
        return _Failure(errors.VendorFailed(text), may_pass=status >= 500 or status == 408)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # The system's resolver, and not the one that aiohttp takes once another library brings it along: that
                # one reads other files than a container and a jail have.
                connector=aiohttp.TCPConnector(limit=self.options.connections, resolver=aiohttp.ThreadedResolver()),
                timeout=aiohttp.ClientTimeout(total=self.options.timeout_s),
                headers=dict(self.options.headers),
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)  # lets transports finish closing, so that none is left to the garbage collector
            self._session = None


@dataclass(frozen=True, slots=True)
class _Failure:
    error: errors.QuasarError
    may_pass: bool


@dataclass(frozen=True, slots=True)
class _Target:
    method: str
    url: str
    params: Parameters | None
    headers: Mapping[str, str] | None
    body: bytes | str | Mapping[str, Any] | None
    auth: tuple[str, str] | None

    def exchange(self, status: int, headers: Mapping[str, str], answer: bytes, elapsed_s: float) -> Exchange:
        sent = json.dumps(self.body) if isinstance(self.body, Mapping) else self.body or ""
        return Exchange(
            method=self.method,
            url=with_query(self.url, self.params),
            body=sent if isinstance(sent, str) else sent.decode(errors="replace"),
            status=status,
            headers=headers,
            answer=answer,
            elapsed_s=elapsed_s,
        )

    def arguments(self, wire: Wire | None) -> dict[str, Any]:
        url = self.url if wire is None else wire.route(self.url)
        found: dict[str, Any] = {"method": self.method, "url": url, "headers": self.headers}
        if self.params:
            found["params"] = {name: str(value) for name, value in self.params.items() if value is not None}
        if isinstance(self.body, Mapping):
            found["json"] = self.body
        elif self.body is not None:
            found["data"] = self.body
        if self.auth is not None:
            word = base64.b64encode(":".join(self.auth).encode()).decode()
            found["headers"] = {**(self.headers or {}), "Authorization": f"Basic {word}"}
        return found

    def __str__(self) -> str:
        # Without the query: that is where vendors want their keys.
        parts = urlsplit(self.url)
        return f"{self.method} {parts.scheme}://{parts.hostname or ''}{parts.path}"


def retry_after_s(value: str | None, now: dt.datetime) -> float | None:
    """Return the seconds that a `Retry-After` header asks for: a number, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=dt.UTC)
    return max(0.0, (until - now).total_seconds())
