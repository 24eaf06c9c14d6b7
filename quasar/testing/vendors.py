"""Vendors played by local servers that speak the vendor's own protocol, for tests and demonstrations.

    async with KrakenServer(SimulatedExchange()) as server:
        preferences = {"rest_url": server.rest_url, "websocket_url": server.websocket_url}

`KrakenServer` speaks Kraken's REST and WebSocket v2 over any `Exchange`: a simulated market, or a recording.
`EodhdServer` answers with recorded bodies. Faults are switched on by `Faults` while the server runs.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from aiohttp import web

from quasar.clock import Clock, SystemClock
from quasar.model.instants import from_ns
from quasar.model.ticks import Side, TickColumns
from quasar.providers.kraken import MINUTES
from quasar.providers.market import MINUTE_NS, Market

_SECOND_NS = 1_000_000_000
_ROWS_PER_ANSWER = 720
DEMO_TOKEN = "demo"  # noqa: S105 - EODHD publishes it
"""The token that EODHD itself gives away for trying it out."""


@dataclass(slots=True)
class Faults:
    """What goes wrong from now on; each field says how often or how long."""

    busy_answers: int = 0
    """REST answers 429 with `Retry-After: 1` so many times."""
    failing_answers: int = 0
    """REST answers 500 so many times."""
    silent: bool = False
    """The WebSocket sends nothing, not even heartbeats."""
    duplicate_trades: bool = False
    """Each trade is sent twice."""
    refuse_symbols: frozenset[str] = frozenset()
    """Subscriptions that are refused."""


class Exchange(Protocol):
    """What a Kraken-speaking server shows."""

    def pairs(self) -> dict[str, dict[str, Any]]:
        """Return the pairs as `AssetPairs` has them."""
        ...

    def ohlc(self, altname: str, minutes: int, since_s: int, now_ns: int) -> list[list[Any]]:
        """Return rows of `OHLC` after a second."""
        ...

    def trades(self, symbol: str, start_ns: int, end_ns: int) -> TickColumns:
        """Return the trades in [start, end)."""
        ...


class SimulatedExchange:
    """The simulated market under Kraken's names."""

    def __init__(self, market: Market | None = None) -> None:
        """Show a market; by default that of seed 1."""
        self._market = market or Market()
        crypto = [listing for listing in self._market.listings.values() if listing.asset_class == "crypto"]
        self._by_altname = {listing.symbol.replace("/", ""): listing for listing in crypto}

    def pairs(self) -> dict[str, dict[str, Any]]:
        """Return the pairs, by the v2 names, which v1 names equal here."""
        return {
            altname: {
                "altname": altname,
                "wsname": listing.symbol,
                "base": listing.base_currency,
                "quote": "ZUSD",
                "pair_decimals": listing.decimals,
                "lot_decimals": 8,
                "ordermin": "0.0001",
                "tick_size": format(listing.price_step, "f"),
                "status": "online",
            }
            for altname, listing in self._by_altname.items()
        }

    def ohlc(self, altname: str, minutes: int, since_s: int, now_ns: int) -> list[list[Any]]:
        """Return the newest 720 bars after a second, the last of them in progress."""
        listing = self._by_altname[altname]
        length = minutes * MINUTE_NS
        last = now_ns // length * length
        first = max(last - (_ROWS_PER_ANSWER - 1) * length, (since_s * _SECOND_NS // length + 1) * length)
        rows = []
        for start in range(first, last + 1, length):
            bars = self._market.minute_bars(
                listing.symbol, start, min(start + length, now_ns // MINUTE_NS * MINUTE_NS + MINUTE_NS)
            )
            if not len(bars):
                continue
            prices = (bars.open[0], bars.high.max(), bars.low.min(), bars.close[-1], bars.close.mean())
            count = len(bars) * listing.trades_per_minute
            rows.append(
                [
                    start // _SECOND_NS,
                    *(f"{price:.{listing.decimals}f}" for price in prices),
                    f"{bars.volume.sum():.8f}",
                    count,
                ]
            )
        return rows

    def trades(self, symbol: str, start_ns: int, end_ns: int) -> TickColumns:
        """Return the market's trades."""
        if symbol not in self._market.listings:
            return TickColumns.empty()
        return self._market.trades(symbol, start_ns, end_ns)


class LocalServer:
    """An HTTP server on a free port of the loopback address, as an async context manager."""

    def __init__(self, port: int = 0) -> None:
        """Choose a port; 0: a free one."""
        self._wanted = port
        self._stack = AsyncExitStack()
        self.port = 0
        self.calls: Counter[str] = Counter()
        """How often each path was asked for."""

    def routes(self) -> Sequence[web.RouteDef]:
        """Return what the server answers."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Start to listen."""
        app = web.Application()
        app.add_routes(self.routes())
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


class KrakenServer(LocalServer):
    """Kraken: REST `AssetPairs`, `OHLC`, `Trades`, `Time`, and WebSocket v2 `trade`, `ohlc`, `ping`."""

    def __init__(self, exchange: Exchange, *, clock: Clock | None = None, pace_s: float = 0.1, port: int = 0) -> None:
        """Show an exchange.

        Args:
            exchange: What is shown.
            clock: Whose time it is there.
            pace_s: Time between two batches of live trades.
            port: Port to listen on; 0: a free one.
        """
        super().__init__(port)
        self._exchange = exchange
        self._clock = clock or SystemClock()
        self._pace_s = pace_s
        self._sockets: set[web.WebSocketResponse] = set()
        self.faults = Faults()
        self.connections = 0
        """WebSocket connections that were accepted so far."""

    @property
    def rest_url(self) -> str:
        """What stands for https://api.kraken.com."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket_url(self) -> str:
        """What stands for wss://ws.kraken.com/v2."""
        return f"ws://127.0.0.1:{self.port}/v2"

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the REST methods and the WebSocket."""
        return [web.get("/0/public/{method}", self._rest), web.get("/v2", self._socket)]

    async def drop_connections(self) -> None:
        """Cut every WebSocket, without a farewell."""
        for socket in list(self._sockets):
            if socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()

    async def _rest(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        self.calls[method] += 1
        if self.faults.busy_answers:
            self.faults.busy_answers -= 1
            return web.json_response(
                {"error": ["EGeneral:Too many requests"]}, status=429, headers={"Retry-After": "1"}
            )
        if self.faults.failing_answers:
            self.faults.failing_answers -= 1
            return web.Response(text="<html>bad gateway</html>", status=502)
        answers = {"AssetPairs": self._pairs, "OHLC": self._ohlc, "Trades": self._trades, "Time": self._time}
        if method not in answers:
            return web.json_response({"error": ["EGeneral:Unknown method"]})
        return web.json_response(answers[method](request.query))

    def _pairs(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {"error": [], "result": self._exchange.pairs()}

    def _time(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {"error": [], "result": {"unixtime": self._clock.time_ns() // _SECOND_NS}}

    def _ohlc(self, query: Mapping[str, str]) -> dict[str, Any]:
        if query.get("pair") not in self._exchange.pairs():
            return {"error": ["EQuery:Unknown asset pair"]}
        minutes, since = int(query.get("interval", 1)), int(query.get("since", 0))
        if minutes not in MINUTES.values():
            return {"error": ["EGeneral:Invalid arguments"]}
        rows = self._exchange.ohlc(query["pair"], minutes, since, self._clock.time_ns())
        return {"error": [], "result": {query["pair"]: rows, "last": rows[-2][0] if len(rows) > 1 else 0}}

    def _trades(self, query: Mapping[str, str]) -> dict[str, Any]:
        pair = self._exchange.pairs().get(query.get("pair", ""))
        if pair is None:
            return {"error": ["EQuery:Unknown asset pair"]}
        since, count = int(query.get("since", 0)), int(query.get("count", 1000))
        found = self._exchange.trades(pair["wsname"], since + 1, self._clock.time_ns())[:count]
        rows = [
            [str(t.price), str(t.size), t.event_time_ns / 1e9, "b" if t.side is Side.BUY else "s", "l", "", t.trade_id]
            for t in found.ticks()
        ]
        last = int(found.event_time_ns[-1]) if len(found) else since
        return {"error": [], "result": {query["pair"]: rows, "last": str(last)}}

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        self._sockets.add(socket)
        session = _Session(self, socket)
        try:
            await session.run()
        finally:
            self._sockets.discard(socket)
        return socket


class _Session:
    """One WebSocket connection."""

    def __init__(self, server: KrakenServer, socket: web.WebSocketResponse) -> None:
        self._server = server
        self._socket = socket
        self._trades: set[str] = set()
        self._known = {pair["wsname"] for pair in server._exchange.pairs().values()}

    async def run(self) -> None:
        status = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 1}
        await self._send({"channel": "status", "type": "update", "data": [status]})
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(self._publish())
            try:
                async for message in self._socket:
                    await self._answer(json.loads(message.data))
            finally:
                sender.cancel()

    async def _answer(self, message: Mapping[str, Any]) -> None:
        method = message.get("method")
        if method == "ping":
            await self._send({"method": "pong"})
            return
        params = message.get("params", {})
        for symbol in params.get("symbol", ()):
            if symbol not in self._known or symbol in self._server.faults.refuse_symbols:
                text = f"Currency pair not supported {symbol}"
                await self._send({"error": text, "method": method, "success": False, "symbol": symbol})
                continue
            if params["channel"] == "trade":
                (self._trades.add if method == "subscribe" else self._trades.discard)(symbol)
            result = {"channel": params["channel"], "symbol": symbol, "snapshot": params.get("snapshot", True)}
            await self._send({"method": method, "result": result, "success": True})

    async def _publish(self) -> None:
        seen = self._server._clock.time_ns()
        heartbeat = seen
        while True:
            await self._server._clock.sleep(self._server._pace_s)
            now = self._server._clock.time_ns()
            if self._server.faults.silent:
                seen = now
                continue
            for symbol in sorted(self._trades):
                rows = _trade_rows(symbol, self._server._exchange.trades(symbol, seen, now))
                copies = 2 if self._server.faults.duplicate_trades else 1
                for _ in range(copies if rows else 0):
                    await self._send({"channel": "trade", "type": "update", "data": rows})
            seen = now
            if now - heartbeat >= _SECOND_NS:
                heartbeat = now
                await self._send({"channel": "heartbeat"})

    async def _send(self, message: Mapping[str, Any]) -> None:
        if not self._server.faults.silent and not self._socket.closed:
            await self._socket.send_str(json.dumps(message))


def _trade_rows(symbol: str, trades: TickColumns) -> list[dict[str, Any]]:
    return [
        {
            "symbol": symbol,
            "side": "buy" if tick.side is Side.BUY else "sell",
            "price": tick.price,
            "qty": tick.size,
            "ord_type": "limit",
            "trade_id": tick.trade_id,
            "timestamp": _rfc3339(tick.event_time_ns),
        }
        for tick in trades.ticks()
    ]


def _rfc3339(time_ns: int) -> str:
    return f"{from_ns(time_ns // _SECOND_NS * _SECOND_NS):%Y-%m-%dT%H:%M:%S}.{time_ns % _SECOND_NS // 1000:06d}Z"


class EodhdServer(LocalServer):
    """EODHD: answers `eod`, `intraday` and `exchange-symbol-list` with recorded rows, cut to what was asked."""

    def __init__(
        self,
        recorded: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        token: str = DEMO_TOKEN,
        port: int = 0,
    ) -> None:
        """Play recordings.

        Args:
            recorded: Rows by path, such as `eod/BHP.AU`, `intraday/AAPL.US` or `exchange-symbol-list/AU`.
            token: The only token that is accepted.
            port: Port to listen on; 0: a free one.
        """
        super().__init__(port)
        self._recorded = recorded
        self._token = token
        self.faults = Faults()

    @property
    def base_url(self) -> str:
        """What stands for https://eodhd.com."""
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the one route."""
        return [web.get("/api/{kind}/{name}", self._get)]

    async def _get(self, request: web.Request) -> web.Response:
        path = f"{request.match_info['kind']}/{request.match_info['name']}"
        self.calls[path] += 1
        if self.faults.busy_answers:
            self.faults.busy_answers -= 1
            return web.Response(text="Too Many Requests", status=429, headers={"Retry-After": "1"})
        if request.query.get("api_token") != self._token:
            return web.Response(text="Unauthenticated", status=401)
        rows = self._recorded.get(path)
        if rows is None:
            return web.Response(text="Ticker Not Found.", status=404)
        return web.json_response([row for row in rows if _asked(row, request.query)])


def _asked(row: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    if "date" in row:
        return bool(query.get("from", "") <= row["date"] <= query.get("to", "9999"))
    if "timestamp" in row:
        return bool(int(query.get("from", 0)) <= row["timestamp"] <= int(query.get("to", 1 << 60)))
    return True
