"""A connection to one service: tokens, deadlines, retries, TLS, and errors of ours instead of statuses.

Inside a served call, outgoing calls carry on what that call brought: its remaining time, its request id, its principal
and its trace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from quasar import errors
from quasar.client.credentials import Token, channel_credentials
from quasar.client.retry import RetryPolicy, is_safe
from quasar.clock import Clock, SystemClock
from quasar.rpc import context
from quasar.rpc.errors import from_rpc_error

_MIB = 1024 * 1024
_S = TypeVar("_S")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Where a service is and how to call it."""

    target: str
    """`host:port`, or `unix:<path>`."""
    service: str = ""
    """The noun of the service (`registry`), for messages; the target when empty."""
    token: str | None = None
    """Bearer token."""
    token_file: Path | None = None
    """File with the bearer token; read again when it changes."""
    tls: bool = False
    """Speak TLS and believe the system's certificates; implied by the files below."""
    tls_ca: Path | None = None
    """PEM file with the certificates that are believed instead."""
    tls_cert: Path | None = None
    """PEM files with the client's own certificate and key, for servers that demand one."""
    tls_key: Path | None = None
    tls_server_name: str | None = None
    """The name in the server's certificate when it differs from the host in `target`."""
    default_deadline_s: float = 30.0
    """Time for a unary call, retries included; streams have none unless given."""
    deadline_margin_s: float = 0.02
    """Inside a served call, outgoing calls end this much earlier, so that their failure can still be told."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    max_receive_bytes: int = 64 * _MIB
    live: bool = False
    """For live ticks: bounds what the transport buffers for a reader that stalls (88 KB instead of up to 6 MB)."""
    keepalive_time_s: float = 30.0
    keepalive_timeout_s: float = 10.0
    through_proxy: bool = False
    """Go through the proxy that the environment names (`https_proxy`), for a service on the far side of one."""

    @property
    def encrypted(self) -> bool:
        """Whether to speak TLS."""
        return self.tls or self.tls_ca is not None or self.tls_cert is not None


def channel_options(settings: ClientSettings) -> list[tuple[str, Any]]:
    """Return the library's options for these settings."""
    options: dict[str, Any] = {
        "grpc.max_receive_message_length": settings.max_receive_bytes,
        "grpc.max_send_message_length": -1,  # the server says what it takes
        # Details of errors come as metadata; a validation report is larger than the usual 8 KiB.
        "grpc.max_metadata_size": 128 * 1024,
        "grpc.absolute_max_metadata_size": 256 * 1024,
        "grpc.keepalive_time_ms": round(settings.keepalive_time_s * 1000),
        "grpc.keepalive_timeout_ms": round(settings.keepalive_timeout_s * 1000),
        "grpc.http2.max_pings_without_data": 0,
        # The library would wait up to two minutes before it tries a service again that was restarted.
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.min_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 5000,
        # The proxy that `https_proxy` names leads out of the house; the platform's services are inside it.
        "grpc.enable_http_proxy": int(settings.through_proxy),
        # Channels of one process share connections otherwise, with each other's state and limits.
        "grpc.use_local_subchannel_pool": 1,
    }
    if settings.live:
        options["grpc.http2.bdp_probe"] = 0
    if settings.tls_server_name is not None:
        options["grpc.ssl_target_name_override"] = settings.tls_server_name
    return list(options.items())


class Channel:
    """A connection to one service. Use it as an async context manager."""

    def __init__(
        self, settings: ClientSettings, *, clock: Clock | None = None, bearer: Callable[[], str] | None = None
    ) -> None:
        """Prepare a connection; it is made with the first call.

        Args:
            settings: Where the service is and how to call it.
            clock: Measures deadlines and pauses.
            bearer: Returns the bearer token of each call, in place of the one in the settings: services make theirs
                anew (`quasar.ops.bearers.ServiceBearer`).

        Raises:
            quasar.errors.InvalidArgument: A TLS file cannot be read.
        """
        self.settings = settings
        self._clock = clock or SystemClock()
        token = Token(settings.token, settings.token_file)
        self._header: Callable[[], str | None] = token.header if bearer is None else lambda: f"Bearer {bearer()}"
        options = channel_options(settings)
        if settings.encrypted:
            shown = channel_credentials(settings.tls_ca, settings.tls_cert, settings.tls_key)
            self._channel = grpc.aio.secure_channel(settings.target, shown, options=options)
        else:
            self._channel = grpc.aio.insecure_channel(settings.target, options=options)

    async def __aenter__(self) -> Self:
        """Use the channel."""
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Close the connection and cancel the calls that are open."""
        await self.close()

    async def close(self) -> None:
        """Close the connection and cancel the calls that are open."""
        await self._channel.close()

    async def ready(self, within_s: float) -> None:
        """Wait until the service takes the connection.

        Raises:
            quasar.errors.ServiceUnavailable: It did not within the time.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._channel.channel_ready()
        except TimeoutError as error:
            raise self._unavailable() from error

    def stub(self, kind: Callable[[grpc.aio.Channel], _S]) -> _S:
        """Return a generated stub whose calls have all that this channel gives.

        Unary methods are awaited, streams are iterated; both take `timeout` (seconds) and `metadata`.
        """
        return kind(_Methods(self))  # type: ignore[arg-type]  # a stub asks nothing else of a channel

    async def unary(
        self,
        method: str,
        request: Any,
        write: Callable[[Any], bytes],
        read: Callable[[bytes], _S],
        *,
        timeout_s: float | None = None,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> _S:
        """Make a unary call.

        Args:
            method: `package.Service/Method`.
            request: The request message.
            write: Serialises the request.
            read: Reads the answer.
            timeout_s: Time for the call with its retries; the settings' default when absent.
            metadata: Sent beside the platform's own.

        Raises:
            quasar.errors.QuasarError: Whatever the service answered, with all its details.
        """
        ends = self._ends(self.settings.default_deadline_s if timeout_s is None else timeout_s)
        call: grpc.aio.UnaryUnaryMultiCallable[Any, _S] = self._channel.unary_unary(
            f"/{method}", request_serializer=write, response_deserializer=read
        )
        attempt = 1
        while True:
            try:
                return await call(request, timeout=self._left(ends), metadata=self._metadata(metadata))
            except grpc.aio.AioRpcError as raised:
                error = self._told(raised)
                pause_s = self.settings.retry.pause_s(attempt, error)
                spent = attempt >= self.settings.retry.attempts or self._clock.monotonic() + pause_s >= ends
                if spent or not is_safe(method, request, error):
                    raise error from raised
            attempt += 1
            await self._clock.sleep(pause_s)

    async def stream(
        self,
        method: str,
        request: Any,
        write: Callable[[Any], bytes],
        read: Callable[[bytes], _S],
        *,
        timeout_s: float | None = None,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> AsyncGenerator[_S]:
        """Open a server stream and yield its messages.

        A stream that fails is not opened again by itself: only the caller knows its cursor.

        Args:
            method: `package.Service/Method`.
            request: The request message.
            write: Serialises the request.
            read: Reads a message.
            timeout_s: Time for the whole stream; none when absent.
            metadata: Sent beside the platform's own.

        Raises:
            quasar.errors.QuasarError: Whatever ended the stream, with all its details.
        """
        timeout = None if timeout_s is None else self._left(self._ends(timeout_s))
        opening: grpc.aio.UnaryStreamMultiCallable[Any, _S] = self._channel.unary_stream(
            f"/{method}", request_serializer=write, response_deserializer=read
        )
        call = opening(request, timeout=timeout, metadata=self._metadata(metadata))
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as raised:
            raise self._told(raised) from raised
        finally:
            call.cancel()

    def _ends(self, timeout_s: float) -> float:
        """Return when a call must have ended, on the monotonic clock."""
        ends = self._clock.monotonic() + timeout_s
        served = context.find_call()
        if served is None or served.deadline is None:
            return ends
        return min(ends, served.deadline - self.settings.deadline_margin_s)

    def _left(self, ends: float) -> float:
        left = ends - self._clock.monotonic()
        if left <= 0:
            raise errors.DeadlineExceeded
        return left

    def _metadata(self, given: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        sent = list(given)
        header = self._header()
        if header is not None:
            sent.append(("authorization", header))
        served = context.find_call()
        if served is not None:
            sent.append((context.REQUEST_ID_KEY, served.request_id))
            if served.principal:
                sent.append((context.ON_BEHALF_KEY, served.principal))
            if served.traceparent:
                sent.append((context.TRACE_KEY, served.traceparent))
        return tuple(sent)

    def _told(self, raised: grpc.aio.AioRpcError) -> errors.QuasarError:
        error = from_rpc_error(raised)
        if type(error) is errors.ServiceUnavailable and not error.metadata:
            return self._unavailable()
        if context.find_call() is not None and isinstance(error, errors.Unauthenticated | errors.RoleTooSmall):
            # It is this service's own token that was refused, which the one who called this service can do nothing
            # about.
            return errors.Internal(f"{self._name} refused this service's token: {error.message}")
        return error

    def _unavailable(self) -> errors.ServiceUnavailable:
        return errors.ServiceUnavailable(
            f"{self._name} does not answer; see `quasar status`.", metadata={"service": self._name}
        )

    @property
    def _name(self) -> str:
        return self.settings.service or self.settings.target


class _Methods:
    """What a generated stub takes for a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def unary_unary(
        self, path: str, request_serializer: Any, response_deserializer: Any, **_options: Any
    ) -> Callable[..., Any]:
        async def call(request: Any, *, timeout: float | None = None, metadata: Any = ()) -> Any:
            return await self._channel.unary(
                path.removeprefix("/"),
                request,
                request_serializer,
                response_deserializer,
                timeout_s=timeout,
                metadata=tuple(metadata or ()),
            )

        return call

    def unary_stream(
        self, path: str, request_serializer: Any, response_deserializer: Any, **_options: Any
    ) -> Callable[..., Any]:
        def call(request: Any, *, timeout: float | None = None, metadata: Any = ()) -> AsyncGenerator[Any]:
            return self._channel.stream(
                path.removeprefix("/"),
                request,
                request_serializer,
                response_deserializer,
                timeout_s=timeout,
                metadata=tuple(metadata or ()),
            )

        return call
