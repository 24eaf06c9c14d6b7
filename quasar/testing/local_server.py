"""An HTTP server on the loopback address that plays a vendor, with the faults that every vendor has."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, fields
from types import TracebackType
from typing import Final, Self

from aiohttp import web

FAULTS: Final = "/faults"
"""Shows the faults; a POST of some of them as JSON switches them on and off while the server runs."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_NO_JSON: Final = "<html><body>We are down for maintenance.</body></html>"


@dataclass(slots=True)
class Faults:
    """What goes wrong from now on; each field says how often or how long."""

    # Answers to requests.
    busy_answers: int = 0
    """Answered with 429 and `Retry-After` so many times."""
    retry_after_s: float = 1.0
    """What `Retry-After` asks for."""
    failing_answers: int = 0
    """Answered with 502 so many times."""
    garbled_answers: int = 0
    """Answered with 200 and a page of HTML so many times."""
    delay_s: float = 0.0
    """Each answer takes this long."""

    # Live feeds.
    dropped_connections: int = 0
    """So many WebSocket connections are cut, without a farewell."""
    silent: bool = False
    """The WebSocket sends nothing, not even heartbeats."""
    duplicate_trades: bool = False
    """Each trade is sent twice."""
    late_trades: bool = False
    """The first trade of each batch is sent after the next batch."""
    burst_s: float = 0.0
    """Trades are held back this long and then sent at once."""
    wrong_checksums: int = 0
    """So many updates of order books carry a checksum that is not theirs."""
    refuse_symbols: frozenset[str] = frozenset()
    """Subscriptions that are refused."""


class LocalServer:
    """A server on a free port, as an async context manager. Subclasses say what it answers."""

    def __init__(self, port: int = 0) -> None:
        """Choose a port; 0: a free one."""
        self._wanted = port
        self._stack = AsyncExitStack()
        self.port = 0
        self.calls: Counter[str] = Counter()
        """How often each thing was asked for, by the name that `asked` gives it."""
        self.faults = Faults()
        """What goes wrong; may be changed while the server runs."""

    def routes(self) -> Sequence[web.RouteDef]:
        """Return what the server answers."""
        raise NotImplementedError

    def asked(self, request: web.Request) -> str:
        """Return the name under which a request is counted."""
        return request.path

    async def __aenter__(self) -> Self:
        """Start to listen."""
        app = web.Application(middlewares=[self._faulty])
        app.add_routes([web.get(FAULTS, self._show_faults), web.post(FAULTS, self._set_faults), *self.routes()])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", self._wanted).start()
        self.port = int(runner.addresses[0][1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and close every connection."""
        await self._stack.aclose()

    async def _show_faults(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self.faults), dumps=lambda value: json.dumps(value, default=sorted))

    async def _set_faults(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        known = {field.name for field in fields(Faults)}
        if not isinstance(wanted, dict) or not set(wanted) <= known:
            return web.json_response({"error": f"faults are {', '.join(sorted(known))}"}, status=400)
        for name, value in wanted.items():
            setattr(self.faults, name, frozenset(value) if name == "refuse_symbols" else value)
        return await self._show_faults(request)

    @web.middleware
    async def _faulty(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.path == FAULTS:
            return await handler(request)
        self.calls[self.asked(request)] += 1
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await handler(request)
        faults = self.faults
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        if faults.busy_answers:
            faults.busy_answers -= 1
            wait = {"Retry-After": f"{faults.retry_after_s:g}"}
            return web.Response(text="Too Many Requests", status=429, headers=wait)
        if faults.failing_answers:
            faults.failing_answers -= 1
            return web.Response(text="<html>bad gateway</html>", status=502, content_type="text/html")
        if faults.garbled_answers:
            faults.garbled_answers -= 1
            return web.Response(text=_NO_JSON, content_type="text/html")
        return await handler(request)
