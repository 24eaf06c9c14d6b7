"""Plays a recording of a vendor's traffic: a server on this machine that answers as the vendor did.

The vendor's scheme and host stand first in the path: what was `https://api.example.com/eod?x=1` is
`http://127.0.0.1:PORT/https/api.example.com/eod?x=1`, what was `wss://feed.example.com/v2` is
`ws://127.0.0.1:PORT/wss/feed.example.com/v2`. What was kept on the way through a preference is played at an address of
its own, without scheme and host in the path.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from aiohttp import WSMsgType, web

from quasar.cli.tap import LARGEST, asked_for, here, listening, split_address
from quasar.sdk.recording import Recording, Scrubber, body_of, connections

_PATIENCE_S: Final = 2.0
"""How long a played connection waits for a message that its client had sent at this place in the recording."""


@dataclass(frozen=True, slots=True)
class _Address:
    scheme: str
    host: str
    path: str

    @classmethod
    def of(cls, url: str) -> _Address:
        parts = urlsplit(url)
        return cls(parts.scheme, parts.netloc, parts.path or "/")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"


@dataclass(slots=True)
class Player:
    """Answers from a recording. A request is matched by method and path, then by the parameters that agree most."""

    recording: Recording
    speed: float = 0.0
    """How fast messages of a WebSocket come, as a multiple of what was; 0: at once."""
    port: int = 0
    """Where it listens, once it does."""
    addresses: dict[str, str] = field(default_factory=dict)
    """Values for the preferences that held an address of the vendor's, once it listens."""
    missing: list[str] = field(default_factory=list)
    """What was asked for and is not in the recording."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """All connections of the recording have been played to their end."""
    _used: set[int] = field(default_factory=set)
    _waiting: list[Sequence[Mapping[str, Any]]] = field(default_factory=list)
    _unfinished: int = 0
    _scrub: Scrubber = field(default_factory=lambda: Scrubber(tuple))

    def __post_init__(self) -> None:
        """Lay the connections out in order."""
        self._waiting = list(connections(self.recording.lines))
        self._unfinished = len(self._waiting)

    @property
    def has_connections(self) -> bool:
        """Whether there is a WebSocket in it."""
        return bool(self._unfinished)

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[Player]:
        """Listen on a port of this machine; 0: a free one."""
        app = web.Application(client_max_size=LARGEST)
        app.router.add_route("*", "/{scheme:http|https|ws|wss}/{host}{path:.*}", self._answer)
        async with AsyncExitStack() as stack:
            self.port = await stack.enter_async_context(listening(app, port))
            for name, url in self.recording.head.through.items():
                vendor = split_address(name, url)
                led = web.Application(client_max_size=LARGEST)
                led.router.add_route("*", "/{path:.*}", partial(self._answer_for, vendor))
                self.addresses[name] = here(vendor, await stack.enter_async_context(listening(led)))
            yield self

    @property
    def further_ports(self) -> tuple[int, ...]:
        """The ports of `addresses`."""
        return tuple(urlsplit(address).port or 0 for address in self.addresses.values())

    async def _answer_for(self, vendor: SplitResult, request: web.Request) -> web.StreamResponse:
        return await self._play_back(request, _Address.of(asked_for(request, vendor)))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        _, scheme, host, path = request.rel_url.raw_path.split("/", 3)
        return await self._play_back(request, _Address(scheme, host, f"/{path}"))

    async def _play_back(self, request: web.Request, address: _Address) -> web.StreamResponse:
        if address.scheme in ("ws", "wss"):
            return await self._connect(request, address)
        line = self._exchange(request.method, address, request.rel_url.raw_query_string, await request.text())
        if line is None:
            self.missing.append(f"{request.method} {address}")
            return web.Response(status=404, text=f"the recording holds no {request.method} {address}")
        return web.Response(status=line["status"], headers=line["headers"], body=body_of(line, "answer"))

    def _exchange(self, method: str, address: _Address, query: str, body: str) -> Mapping[str, Any] | None:
        """Return the recorded exchange that is meant: the one that agrees most, of equals the first not played yet."""
        wanted = set(self._scrub.query(query))
        best: tuple[tuple[int, bool, int], int] | None = None
        for number, line in enumerate(self.recording.lines):
            if line["kind"] != "http" or line["method"] != method or _Address.of(line["url"]) != address:
                continue
            differing = len(wanted ^ set(self._scrub.query(urlsplit(line["url"]).query))) + (line["body"] != body)
            used = number in self._used
            rank = (differing, used, -number if used else number)  # when all were played, the last one again
            if best is None or rank < best[0]:
                best = (rank, number)
        if best is None:
            return None
        self._used.add(best[1])
        return self.recording.lines[best[1]]

    async def _connect(self, request: web.Request, address: _Address) -> web.StreamResponse:
        script = self._next(address)
        if script is None:
            self.missing.append(str(address))
            return web.Response(status=404, text=f"the recording holds no further connection to {address}")
        self._waiting.remove(script)
        socket = web.WebSocketResponse(compress=False, max_msg_size=0)
        await socket.prepare(request)
        heard: asyncio.Queue[None] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(self._play(socket, script, heard))
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    heard.put_nowait(None)
            playing.cancel()
        return socket

    def _next(self, address: _Address) -> Sequence[Mapping[str, Any]] | None:
        return next((one for one in self._waiting if _Address.of(one[0]["url"]) == address), None)

    async def _play(
        self, socket: web.WebSocketResponse, script: Sequence[Mapping[str, Any]], heard: asyncio.Queue[None]
    ) -> None:
        last = script[0]["at"]
        for line in script[1:]:
            if line["kind"] == "sent":
                await _heard(heard)
            elif line["kind"] == "received":
                if self.speed:
                    await asyncio.sleep(max(0.0, line["at"] - last) / self.speed)
                await _send(socket, line)
            last = line["at"]
        self._unfinished -= 1
        if not self._unfinished:
            self.over.set()
        if self._next(_Address.of(script[0]["url"])) is not None:
            await socket.close()  # the recording goes on with another connection; else this one stays open and silent


async def _heard(heard: asyncio.Queue[None]) -> None:
    """Wait for the client's next message; a client that says less than it did is not waited for."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await heard.get()
    except TimeoutError:
        return


async def _send(socket: web.WebSocketResponse, line: Mapping[str, Any]) -> None:
    body = body_of(line, "text")
    if "base64" in line:
        await socket.send_bytes(body)
    else:
        await socket.send_str(body.decode())
