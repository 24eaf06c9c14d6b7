"""The one way to build a gRPC server."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_reflection.v1alpha import reflection

from quasar import errors, logs
from quasar.clock import Clock
from quasar.metrics import Metrics
from quasar.rpc.admission import Bound
from quasar.rpc.caller import Authenticator
from quasar.rpc.calls import CallLimits, Calls
from quasar.rpc.context import arrive, request_id_of_call
from quasar.rpc.contract import methods_of, service_of
from quasar.rpc.health import Health
from quasar.rpc.health_service import HealthService
from quasar.rpc.listening import require_free
from quasar.rpc.reflection import reflection_services
from quasar.rpc.tls import Reloading, ServerFiles
from quasar.tracing import Tracer

_MIB = 1024 * 1024
_PROBES = 1000
"""Health checks in flight. They need no token, and a server that is full must still answer them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How a server listens and what it bears."""

    host: str = "127.0.0.1"
    """Address to listen on, or `unix:<path>` for a Unix socket."""
    port: int = 0
    """0: any free port."""
    tls_cert: Path | None = None
    """PEM files; without a certificate the server speaks plain text."""
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    """Set: clients must show a certificate signed by one of these (mTLS)."""
    max_concurrent_calls: int = 1000
    """Unary calls in flight; more are refused at once."""
    max_concurrent_streams: int = 1000
    """Streams in flight; more are refused at once."""
    max_receive_bytes: int = 4 * _MIB
    max_send_bytes: int = 16 * _MIB
    default_deadline_s: float = 30.0
    """Deadline of unary calls that come without one."""
    drain_grace_s: float = 10.0
    """How long calls in flight have to end at a stop."""
    keepalive_time_s: float = 30.0
    """Idle time after which a connection is probed."""
    keepalive_timeout_s: float = 10.0
    """Time after which a probe without an answer ends the connection."""
    min_ping_interval_s: float = 10.0
    """Clients that probe more often are sent away."""
    max_connection_age_s: float | None = None
    """Age at which connections are renewed, so that load spreads over replicas; None: never."""
    reflection: bool = True
    """Describe the services to tools."""

    @property
    def address(self) -> str:
        """What the library listens on."""
        return self.host if self.host.startswith("unix:") else f"{_bracketed(self.host)}:{self.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def channel_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """Return the library's options for these settings."""
    options = {
        # With this on, a second server would silently share the port and take half of the calls.
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": settings.max_receive_bytes,
        "grpc.max_send_message_length": -1,  # checked before the library sees it, to answer with details
        "grpc.keepalive_time_ms": round(settings.keepalive_time_s * 1000),
        "grpc.keepalive_timeout_ms": round(settings.keepalive_timeout_s * 1000),
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": round(settings.min_ping_interval_s * 1000),
        "grpc.http2.min_recv_ping_interval_without_data_ms": round(settings.min_ping_interval_s * 1000),
        "grpc.http2.max_pings_without_data": 0,
    }
    if settings.max_connection_age_s is not None:
        options["grpc.max_connection_age_ms"] = round(settings.max_connection_age_s * 1000)
        options["grpc.max_connection_age_grace_ms"] = round(settings.max_connection_age_s * 1000 / 6)
    return list(options.items())


class RpcServer:
    """Serves generated servicers under every rule of the platform, with health and reflection beside them."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        service: str,
        authenticator: Authenticator,
        health: Health,
        clock: Clock,
        metrics: Metrics,
        tracer: Tracer | None = None,
    ) -> None:
        """Prepare a server; nothing listens before `start`.

        Args:
            settings: How to listen and what to bear.
            service: The noun of the process (`registry`), for the log.
            authenticator: Finds the caller of a token.
            health: What the process tells of its parts.
            clock: Measures calls.
            metrics: Counts calls.
            tracer: Makes spans; none when absent.
        """
        self.settings = settings
        self.health = health
        self.draining = asyncio.Event()
        """Set when the server begins to stop: streams end themselves with `errors.Draining` and their cursor."""
        self._unary = Bound(settings.max_concurrent_calls, "calls", 0.25)
        self._streams = Bound(settings.max_concurrent_streams, "streams", 2.0)
        self._calls = Calls(
            authenticator=authenticator,
            clock=clock,
            metrics=metrics,
            tracer=tracer,
            unary=self._unary,
            streams=self._streams,
            probes=Bound(_PROBES, "probes", 1.0),
            limits=CallLimits(default_deadline_s=settings.default_deadline_s, max_send_bytes=settings.max_send_bytes),
            draining=self.draining,
        )
        metrics.in_flight("unary", lambda: self._unary.in_flight)
        metrics.in_flight("stream", lambda: self._streams.in_flight)
        self._metrics = metrics
        logs.request_id_from(request_id_of_call)
        self._log = logs.get("quasar.rpc.server").bind(service=service)
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._services: set[str] = set()
        self._resources = ExitStack()
        self._server: grpc.aio.Server | None = None
        self.port = 0
        """The port that is listened on, once started; 0 on a Unix socket."""
        self.add(HealthService(health, self.services))

    def services(self) -> frozenset[str]:
        """Return the full names of the services that are served."""
        return frozenset(self._services)

    def add(self, servicer: object) -> None:
        """Serve what extends a generated `…Servicer` class. Methods that it does not define answer UNIMPLEMENTED.

        Unary methods are coroutines; streaming methods are async generators, whose messages may be bytes that are
        serialised already.

        Raises:
            quasar.errors.StartupError: The service is served already, a method names no required role, or a method is
                neither a coroutine nor an async generator.
        """
        service, generated = service_of(servicer)
        self._serve(service, servicer, generated)

    def _serve(self, service: ServiceDescriptor, servicer: object, generated: type, parse_like: Any = None) -> None:
        if service.full_name in self._services:
            raise errors.StartupError(f"{service.full_name} must be added once, was added twice.")
        for name, method in methods_of(service):
            behaviour = _behaviour(servicer, generated, name, method.server_streaming)
            if parse_like is not None:
                method = replace(method, parse=parse_like)
            self._handlers[method.path] = self._calls.wrap(method, behaviour)
        self._services.add(service.full_name)

    def _serve_reflection(self) -> None:
        newer, older = reflection_services()
        servicer = reflection.aio.ReflectionServicer({*self._services, newer.full_name, older.full_name})
        _, generated = service_of(servicer)
        parse = next(method.parse for _, method in methods_of(older))
        for service in (newer, older):
            self._serve(service, servicer, generated, parse)

    async def start(self) -> int:
        """Listen and serve; return the port.

        Raises:
            quasar.errors.PortInUse: Another program listens on the port; the message says what helps.
            quasar.errors.StartupError: A TLS file cannot be used.
        """
        if self.settings.reflection:
            self._serve_reflection()
        server = grpc.aio.server(options=channel_options(self.settings))
        server.add_generic_rpc_handlers((_Routes(self._handlers, self._calls.unknown()),))
        self.port = self._listen(server)
        await server.start()
        self._server = server
        self._resources.enter_context(self._metrics.sampling())
        self._log.info("serving", host=self.settings.host, port=self.port, services=sorted(self._services))
        return self.port

    def _listen(self, server: grpc.aio.Server) -> int:
        settings = self.settings
        files = _tls_files(settings)
        on_socket = settings.host.startswith("unix:")
        if not on_socket:
            require_free(settings.host, settings.port)
        try:
            if files is None:
                port = server.add_insecure_port(settings.address)
            else:
                port = server.add_secure_port(settings.address, Reloading(files).credentials())
        except RuntimeError as error:
            raise errors.PortInUse(
                f"{settings.address} must be free to listen on, was not; stop the program that listens there, "
                "or set another address."
            ) from error
        return 0 if on_socket else port

    async def drain(self) -> None:
        """Stop without losing work: health first, then streams, calls in flight, and the connections last.

        New calls are refused with `Draining` from the first moment; probes are answered NOT_SERVING until the end.
        Streams that have not ended themselves after a third of the grace are ended, and what is left after all of it is
        cancelled.
        """
        if self._server is None or self.draining.is_set():
            return
        grace_s = self.settings.drain_grace_s
        self._log.info("draining", calls=self._unary.in_flight, streams=self._streams.in_flight, grace_s=grace_s)
        self.health.drain()
        self.draining.set()
        finished = False
        try:
            if not await _within(grace_s / 3, [self._streams.empty, self.health.told]):
                self._calls.end_streams()
            finished = await _within(grace_s * 2 / 3, [self._streams.empty, self._unary.empty])
        finally:  # also when the drain itself is cut short
            if not finished:
                self._log.warning("calls cut off", calls=self._unary.in_flight, streams=self._streams.in_flight)
            self._calls.end_streams()
            await self._server.stop(0.5 if finished else 0.0)
            self._resources.close()
            self._log.info("stopped")


def _tls_files(settings: ServerSettings) -> ServerFiles | None:
    """Return where the TLS files are; half a setting is refused rather than served in plain text."""
    if settings.tls_cert is not None and settings.tls_key is not None:
        return ServerFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    if settings.tls_cert is None and settings.tls_key is None and settings.tls_client_ca is None:
        return None
    raise errors.StartupError("The TLS certificate and its key must be set together, was only one of them or the CA.")


class _Routes(grpc.GenericRpcHandler):
    """Finds the handler of a path."""

    def __init__(
        self, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]], unknown: grpc.RpcMethodHandler[Any, Any]
    ) -> None:
        self._handlers = handlers
        self._unknown = unknown

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        arrive(handler_call_details.invocation_metadata)
        return self._handlers.get(handler_call_details.method, self._unknown)


def _behaviour(servicer: object, generated: type, name: str, streaming: bool) -> Callable[..., Any]:
    """Return what a servicer does for a method, or what says that it does nothing."""
    defined = getattr(type(servicer), name, None)
    if defined is None or defined is getattr(generated, name, None):
        return _unimplemented_stream if streaming else _unimplemented
    expected = inspect.isasyncgenfunction if streaming else inspect.iscoroutinefunction
    if not expected(defined):
        kind = "an async generator" if streaming else "a coroutine"
        raise errors.StartupError(f"{type(servicer).__qualname__}.{name} must be {kind} function, was {defined!r}.")
    behaviour: Callable[..., Any] = getattr(servicer, name)
    return behaviour


async def _unimplemented(_request: object, _rpc: object) -> Any:
    raise errors.Unimplemented


async def _unimplemented_stream(_request: object, _rpc: object) -> Any:
    raise errors.Unimplemented
    yield b""  # makes this a generator


async def _within(seconds: float, waits: Iterable[Callable[[], Any]]) -> bool:
    """Tell whether everything that is waited for comes true within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            for wait in waits:
                await wait()
    except TimeoutError:
        return False
    return True
