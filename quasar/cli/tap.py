"""Passes everything on to a vendor and keeps it: for libraries that make their own connections and take an address.

What such a library is given instead of the vendor's address is one of this machine. Requests and WebSocket connections
go on to the vendor as they are, but for what belongs to the connection itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import aiohttp
from aiohttp import WSMsgType, web

from quasar import errors
from quasar.sdk.wire import Exchange, Wire

_HOST: Final = "127.0.0.1"
LARGEST: Final = 64 * 1024 * 1024
"""Bytes that a request may have."""
_OF_CONNECTION: Final = frozenset(
    {
        *("host", "connection", "keep-alive", "upgrade", "te", "trailer", "transfer-encoding"),
        *("content-length", "content-encoding", "accept-encoding", "proxy-authorization", "proxy-connection"),
    }
)
_WEB: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_SOCKET: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def split_address(name: str, url: str) -> SplitResult:
    """Return the parts of a vendor's address.

    Raises:
        InvalidArgument: It is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in _WEB or not parts.netloc:
        raise errors.InvalidArgument(f"{name} must be an address such as https://api.example.com, was {url!r}")
    return parts


def here(vendor: SplitResult, port: int) -> str:
    """Return the address on this machine that stands for a vendor's: with its path, and without TLS."""
    scheme = "ws" if vendor.scheme in ("ws", "wss") else "http"
    return urlunsplit((scheme, f"{_HOST}:{port}", vendor.path, "", ""))


def asked_for(request: web.BaseRequest, vendor: SplitResult) -> str:
    """Return the address at the vendor that a request is meant for, without its query."""
    socket = request.headers.get("Upgrade", "").lower() == "websocket"
    schemes = _SOCKET if socket else _WEB
    return f"{schemes[vendor.scheme]}://{vendor.netloc}{request.rel_url.raw_path}"


@asynccontextmanager
async def listening(app: web.Application, port: int = 0) -> AsyncIterator[int]:
    """Serve an application on a port of this machine, 0: a free one; yields the port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, _HOST, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


class Tap:
    """Stands for one vendor."""

    def __init__(self, name: str, url: str, wire: Wire) -> None:
        """Prepare.

        Args:
            name: The preference that holds the vendor's address.
            url: That address.
            wire: Hears of everything.

        Raises:
            InvalidArgument: The address is none.
        """
        self.name = name
        self.vendor = split_address(name, url)
        self.address = ""
        """What stands for the vendor's address, while it is served."""
        self.used = False
        """Something came through."""
        self._wire = wire
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Tap]:
        """Listen on a free port of this machine."""
        app = web.Application(client_max_size=LARGEST)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        async with listening(app) as port, aiohttp.ClientSession(auto_decompress=True) as self._session:
            self.address = here(self.vendor, port)
            yield self

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        self.used = True
        url = asked_for(request, self.vendor)
        query = request.rel_url.raw_query_string
        whole = f"{url}?{query}" if query else url
        try:
            if url.startswith("ws"):
                return await self._connect(request, whole)
            return await self._exchange(request, whole)
        except (aiohttp.ClientError, TimeoutError) as error:
            return web.Response(status=502, text=f"{self.vendor.netloc} cannot be reached: {error}")

    async def _exchange(self, request: web.Request, url: str) -> web.Response:
        assert self._session is not None
        body, began = await request.read(), monotonic()
        async with self._session.request(
            request.method, _raw(url), headers=_kept(request.headers), data=body or None, allow_redirects=False
        ) as found:
            answer = await found.read()
            headers = _kept(found.headers)
        self._wire.exchanged(
            Exchange(
                method=request.method,
                url=url,
                body=body.decode(errors="replace"),
                status=found.status,
                headers={name.lower(): value for name, value in headers.items()},
                answer=answer,
                elapsed_s=monotonic() - began,
            )
        )
        return web.Response(status=found.status, headers=headers, body=answer)

    async def _connect(self, request: web.Request, url: str) -> web.WebSocketResponse:
        assert self._session is not None
        headers = {n: v for n, v in _kept(request.headers).items() if not n.lower().startswith("sec-websocket-")}
        async with self._session.ws_connect(_raw(url), headers=headers, max_msg_size=0) as vendor:
            client = web.WebSocketResponse(compress=False, max_msg_size=0)
            await client.prepare(request)
            number = self._wire.opened(url)
            try:
                await self._both_ways(client, vendor, number)
            finally:
                self._wire.closed(number)
        return client

    async def _both_ways(self, client: web.WebSocketResponse, vendor: Any, number: int) -> None:
        async def onward() -> None:
            async for message in client:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._wire.sent(number, message.data)
                    await _send(vendor, message.data)

        async def back() -> None:
            async for message in vendor:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._wire.received(number, message.data)
                    await _send(client, message.data)

        ways = {asyncio.create_task(onward()), asyncio.create_task(back())}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await client.close()


async def _send(socket: Any, data: str | bytes) -> None:
    await (socket.send_str(data) if isinstance(data, str) else socket.send_bytes(data))


def _raw(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)  # as the library wrote it: signatures are made over the query


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OF_CONNECTION}


def unused(taps: Iterable[Tap]) -> Iterable[str]:
    """Say of taps through which nothing came what may be wrong."""
    for tap in taps:
        if not tap.used:
            yield f"nothing came through {tap.name}: is it the preference that holds the vendor's address?"
