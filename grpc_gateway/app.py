"""Composition root of the gateway: routes, limits, metrics."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack

import grpc
import grpc.aio
import prometheus_client
from aiohttp import web

from grpc_gateway import headers, routes, upstreams
from grpc_gateway.config import GatewaySettings
from grpc_gateway.proxy import Proxy, ending
from grpc_gateway.static import Frontend
from quasar import errors, logs

_log = logs.get("gateway")


class Gateway:
    """Answers HTTP requests: grpc-web calls, the frontend, health and metrics."""

    def __init__(self, settings: GatewaySettings, channels: dict[str, grpc.aio.Channel]) -> None:
        """Keep the settings and the channels to the services."""
        self._settings = settings
        self._channels = channels
        self._proxy = Proxy(channels, write_timeout_s=settings.write_timeout_s)
        self._frontend = Frontend(settings.web_root)
        self._open_calls: Counter[str] = Counter()
        self._registry = prometheus_client.CollectorRegistry()
        self._calls = prometheus_client.Counter(
            "quasar_gateway_calls_total", "grpc-web calls that were taken", ["service"], registry=self._registry
        )
        in_flight = prometheus_client.Gauge(
            "quasar_gateway_calls_in_flight", "grpc-web calls in flight", registry=self._registry
        )
        in_flight.set_function(lambda: float(self._open_calls.total()))

    def application(self) -> web.Application:
        """Return the application; `start` runs it so that a call ends when its browser leaves."""
        app = web.Application(client_max_size=self._settings.max_request_bytes)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/livez", self._alive)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/{path:.*}", self._call)
        app.router.add_route("OPTIONS", "/{path:.*}", self._preflight)
        app.router.add_get("/{path:.*}", self._frontend.get)
        return app

    async def _call(self, request: web.Request) -> web.StreamResponse:
        wire = headers.wire_format(request.headers.get("Content-Type", ""))
        route = routes.resolve(request.path)
        if wire is None:
            raise web.HTTPUnsupportedMediaType(text=f"the content type must be {headers.BINARY} or {headers.TEXT}\n")
        extra = headers.cors(request.headers.get("Origin"), self._settings.origins, request.host)
        if route is None:
            text = f"There is no method {request.path[:200]}."
            return _refuse(wire, extra, grpc.StatusCode.UNIMPLEMENTED, errors.Unimplemented.reason, text)
        client = request.remote or ""
        if self._open_calls[client] >= self._settings.max_streams_per_client:
            text = f"A client may have {self._settings.max_streams_per_client} calls open; close some streams first."
            return _refuse(wire, extra, grpc.StatusCode.RESOURCE_EXHAUSTED, errors.TooManyCalls.reason, text)
        self._calls.labels(route.service).inc()
        self._open_calls[client] += 1
        try:
            return await self._proxy.call(request, route, wire, extra)
        finally:
            self._open_calls[client] -= 1
            if not self._open_calls[client]:
                del self._open_calls[client]

    async def _preflight(self, request: web.Request) -> web.Response:
        allowed = headers.preflight(request.headers.get("Origin"), self._settings.origins, request.host)
        return web.Response(status=204, headers=allowed)

    async def _health(self, request: web.Request) -> web.Response:
        states = await upstreams.health(self._channels)
        healthy = all(state == "SERVING" for state in states.values())
        return web.json_response({"healthy": healthy, "services": states}, status=200 if healthy else 503)

    async def _alive(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        body = prometheus_client.generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})


def _refuse(
    wire: headers.WireFormat, extra: Mapping[str, str], code: grpc.StatusCode, reason: str, text: str
) -> web.Response:
    frame = wire.encode(ending(code, reason, text).frame())
    return web.Response(body=frame, headers={**extra, "Content-Type": wire.content_type})


def _server_tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    if settings.tls.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls.certificate, settings.tls.key)
    return context


async def start(settings: GatewaySettings, stack: AsyncExitStack) -> int:
    """Start the gateway until the stack is closed; return the port that it listens on.

    Raises:
        OSError: The port is in use or may not be used.
    """
    channels = await upstreams.open_channels(settings, stack)
    runner = web.AppRunner(
        Gateway(settings, channels).application(), handler_cancellation=True, access_log=None, shutdown_timeout=2.0
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, settings.host, settings.port, ssl_context=_server_tls(settings))
    await site.start()
    port = int(runner.addresses[0][1])
    _log.info(
        "gateway listening",
        port=port,
        web_root=str(settings.web_root),
        built=(settings.web_root / "index.html").is_file(),
    )
    return port
