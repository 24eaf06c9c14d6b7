"""Recorded market data, played by providers and servers of the tests."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow.feather
from aiohttp import WSMsgType, web

from quasar.testing.vendors import LocalServer
from tests.unit.recorded import recorded

_PLAYER = """
import base64, gzip, json
import numpy as np
from quasar.provider import Provider, UnknownSymbol
from quasar.model.ticks import TickColumns

COLUMNS = "{columns}"


class Recorder(Provider):
    '''Plays recorded trades, {rows} at a time.'''

    name = "recorder"
    intervals = ("1min",)
    calendar = "24/7"

    async def start(self):
        times, prices, sizes = json.loads(gzip.decompress(base64.b64decode(COLUMNS)))
        self._trades = TickColumns(
            np.array(times, np.int64), np.array(prices), np.array(sizes), trade_id=np.arange(1, len(times) + 1)
        )

    async def ticks(self, request):
        times = self._trades.event_time_ns
        yield self._trades[(times >= request.start_ns) & (times < request.end_ns)]

    async def live(self, feed):
        for first in range(0, len(self._trades), {rows}):
            for symbol in list(feed.symbols):
                yield symbol, self._trades[np.arange(first, min(first + {rows}, len(self._trades)))]
            await self.clock.sleep({pause})
        while True:
            await self.clock.sleep(3600)
"""


def xrp_eth_trades() -> list[list[Any]]:
    """Return the recorded trades: milliseconds, id, type, side, price, amount, cost."""
    found: list[list[Any]] = json.loads(
        gzip.decompress(recorded("ohlcv/freqtrade/XRP_ETH-trades.json.gz").read_bytes())
    )
    return found


def xrp_eth_bars(code: str) -> dict[int, tuple[float, ...]]:
    """Return the recorded bars of an interval: open, high, low, close and volume by open time."""
    table = pyarrow.feather.read_table(recorded(f"ohlcv/freqtrade/XRP_ETH-{code}.feather"))
    times = table["date"].to_numpy().astype("datetime64[ns]").astype(np.int64).tolist()
    columns = [table[name].to_pylist() for name in ("open", "high", "low", "close", "volume")]
    return {at: tuple(values) for at, *values in zip(times, *columns, strict=True)}


def player(rows: int = 100, pause: float = 0.0) -> bytes:
    """Return a provider's source that plays the recorded trades as a live feed, and has them as history."""
    trades = xrp_eth_trades()
    columns = [[row[0] * 1_000_000 for row in trades], [row[4] for row in trades], [row[5] for row in trades]]
    packed = base64.b64encode(gzip.compress(json.dumps(columns).encode())).decode()
    return _PLAYER.format(columns=packed, rows=rows, pause=pause).encode()


def kraken_session(path: str) -> list[str]:
    """Return the recorded messages of a WebSocket session as they were on the wire."""
    lines = recorded(path).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["payload"] if "recv_ts_ns" in line else line for line in lines]


class RecordedKraken(LocalServer):
    """Sends recorded messages to whoever connects, and answers REST with recorded bodies."""

    def __init__(
        self, messages: Iterable[str] = (), bodies: dict[str, Any] | None = None, *, pace_s: float = 0.0
    ) -> None:
        """Play `messages` after the first request of a connection; `bodies` by REST method."""
        super().__init__()
        self._pace_s = pace_s
        self._messages = list(messages)
        self._bodies = bodies or {}
        self.requests: list[dict[str, Any]] = []
        """What clients asked for over WebSockets."""
        self.sent = asyncio.Event()
        """Set when a client was sent everything."""

    @property
    def preferences(self) -> dict[str, Any]:
        """What leads the provider here."""
        return {
            "rest_url": f"http://127.0.0.1:{self.port}",
            "websocket_url": f"ws://127.0.0.1:{self.port}/v2",
            "book_depth": 25,
        }

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the REST methods and the WebSocket."""
        return [web.get("/0/public/{method}", self._rest), web.get("/v2", self._socket)]

    async def _rest(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        self.calls[method] += 1
        body = self._bodies.get(method)
        return web.json_response(body if body is not None else {"error": ["EGeneral:Unknown method"]})

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(_beat(socket))
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self.requests.append(json.loads(message.data))
                if message.type is WSMsgType.TEXT and self.sent.is_set():
                    await _agree(socket, self.requests[-1])
                elif message.type is WSMsgType.TEXT:
                    for text in self._messages:
                        await socket.send_str(text)
                        await asyncio.sleep(self._pace_s)
                    self.sent.set()
            beating.cancel()
        return socket


async def _agree(socket: web.WebSocketResponse, request: dict[str, Any]) -> None:
    """Confirm a request that the recording has no answer to."""
    for symbol in request.get("params", {}).get("symbol", ()):
        result = {"channel": request["params"]["channel"], "symbol": symbol}
        await socket.send_str(json.dumps({"method": request["method"], "result": result, "success": True}))


async def _beat(socket: web.WebSocketResponse) -> None:
    """Send what the vendor sends every second."""
    while not socket.closed:
        await asyncio.sleep(1.0)
        with suppress(ConnectionError):
            await socket.send_str('{"channel":"heartbeat"}')
