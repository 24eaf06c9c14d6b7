"""Kraken played by a local server: REST and WebSocket v2, over a simulated market or a recording."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

from quasar.clock import Clock, SystemClock
from quasar.model.instants import from_ns
from quasar.model.ticks import Side, Tick
from quasar.providers.kraken import MINUTES, v2_symbol
from quasar.providers.kraken_book import checksum
from quasar.testing.kraken_exchanges import SECOND_NS, Exchange, Level, Levels
from quasar.testing.local_server import LocalServer

_BARS_IN_SNAPSHOT: Final = 10
_DEPTHS: Final = (10, 25, 100, 500, 1000)
_CHECKED: Final = 10


class KrakenServer(LocalServer):
    """Kraken: REST `AssetPairs`, `Assets`, `OHLC`, `Trades`, `Time`; WebSocket v2 `trade`, `ticker`, `book`, `ohlc`."""

    def __init__(self, exchange: Exchange, *, clock: Clock | None = None, pace_s: float = 0.1, port: int = 0) -> None:
        """Show an exchange.

        Args:
            exchange: What is shown.
            clock: Whose time it is there.
            pace_s: Time between two batches of live data.
            port: Port to listen on; 0: a free one.
        """
        super().__init__(port)
        self.exchange = exchange
        self.clock = clock or SystemClock()
        self.pace_s = pace_s
        self._sockets: set[web.WebSocketResponse] = set()
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

    def asked(self, request: web.Request) -> str:
        """Count by REST method."""
        return request.match_info.get("method", "v2")

    async def drop_connections(self) -> None:
        """Cut every WebSocket, without a farewell."""
        for socket in list(self._sockets):
            _cut(socket)

    async def _rest(self, request: web.Request) -> web.Response:
        answers = {
            "AssetPairs": self._pairs,
            "Assets": self._assets,
            "OHLC": self._ohlc,
            "Trades": self._trades,
            "Time": self._time,
        }
        answer = answers.get(request.match_info["method"])
        return web.json_response(answer(request.query) if answer else {"error": ["EGeneral:Unknown method"]})

    def _pairs(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {"error": [], "result": self.exchange.pairs()}

    def _assets(self, query: Mapping[str, str]) -> dict[str, Any]:
        codes = sorted({str(pair[side]) for pair in self.exchange.pairs().values() for side in ("base", "quote")})
        terms = {"aclass": "currency", "decimals": 10, "display_decimals": 5, "status": "enabled"}
        return {"error": [], "result": {code: {"altname": code.lstrip("XZ") or code, **terms} for code in codes}}

    def _time(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {"error": [], "result": {"unixtime": self.clock.time_ns() // SECOND_NS}}

    def _ohlc(self, query: Mapping[str, str]) -> dict[str, Any]:
        if query.get("pair") not in self.exchange.pairs():
            return {"error": ["EQuery:Unknown asset pair"]}
        minutes, since = int(query.get("interval", 1)), int(query.get("since", 0))
        if minutes not in MINUTES.values():
            return {"error": ["EGeneral:Invalid arguments"]}
        rows = self.exchange.ohlc(query["pair"], minutes, since, self.clock.time_ns())
        return {"error": [], "result": {query["pair"]: rows, "last": rows[-2][0] if len(rows) > 1 else 0}}

    def _trades(self, query: Mapping[str, str]) -> dict[str, Any]:
        pair = self.exchange.pairs().get(query.get("pair", ""))
        if pair is None:
            return {"error": ["EQuery:Unknown asset pair"]}
        since, count = int(query.get("since", 0)), int(query.get("count", 1000))
        if since < 100 * SECOND_NS:  # both units are taken, as the venue does
            since *= SECOND_NS
        found = self.exchange.trades(v2_symbol(pair["wsname"]), since + 1, self.clock.time_ns())[:count]
        rows = [_rest_row(tick) for tick in found.ticks()]
        last = int(found.event_time_ns[-1]) if len(found) else since
        return {"error": [], "result": {query["pair"]: rows, "last": str(last)}}

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        self._sockets.add(socket)
        try:
            await _Session(self, socket).run()
        finally:
            self._sockets.discard(socket)
        return socket


class _Session:
    """One WebSocket connection."""

    def __init__(self, server: KrakenServer, socket: web.WebSocketResponse) -> None:
        self._server = server
        self._exchange = server.exchange
        self._faults = server.faults
        self._socket = socket
        self._altnames = {v2_symbol(pair["wsname"]): name for name, pair in server.exchange.pairs().items()}
        self._trades: set[str] = set()
        self._quotes: dict[str, Levels] = {}
        self._books: dict[str, tuple[int, Levels]] = {}
        self._bars: dict[tuple[str, int], list[Any]] = {}
        self._held: dict[str, dict[str, Any]] = {}
        self._released_ns = 0

    async def run(self) -> None:
        status = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 1}
        await self._send(json.dumps({"channel": "status", "type": "update", "data": [status]}))
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(self._publish())
            try:
                async for message in self._socket:
                    await self._answer(json.loads(message.data))
            finally:
                sender.cancel()

    async def _answer(self, message: Mapping[str, Any]) -> None:
        method = message.get("method")
        number = {"req_id": message["req_id"]} if "req_id" in message else {}
        if method == "ping":
            await self._send(json.dumps({"method": "pong", **number}))
            return
        params = message.get("params", {})
        for symbol in params.get("symbol", ()):
            problem = self._problem(symbol, params)
            if problem:
                refusal = {"error": problem, "method": method, "success": False, "symbol": symbol, **number}
                await self._send(json.dumps(refusal))
                continue
            terms = {name: params[name] for name in ("depth", "interval") if name in params}
            result = {"channel": params["channel"], "symbol": symbol, "snapshot": params.get("snapshot", True), **terms}
            await self._send(json.dumps({"method": method, "result": result, "success": True, **number}))
            await (self._begin if method == "subscribe" else self._end)(symbol, params)

    def _problem(self, symbol: str, params: Mapping[str, Any]) -> str:
        if symbol not in self._altnames or symbol in self._faults.refuse_symbols:
            return f"Currency pair not supported {symbol}"
        if params["channel"] == "book" and params.get("depth", 10) not in _DEPTHS:
            return "Subscription depth not supported"
        if params["channel"] == "ohlc" and params.get("interval", 1) not in MINUTES.values():
            return "Subscription ohlc interval not supported"
        return ""

    async def _begin(self, symbol: str, params: Mapping[str, Any]) -> None:
        channel, now = params["channel"], self._server.clock.time_ns()
        frames = self._exchange.frames(channel, symbol)
        for frame in frames:
            await self._send(frame)
        if channel == "trade":
            self._trades.add(symbol)
        elif channel == "ticker" and not frames:
            best = self._exchange.book(symbol, 1, now)
            if best is not None:
                self._quotes[symbol] = best
                await self._send(self._ticker_message("snapshot", symbol, best, now))
        elif channel == "book" and not frames:
            depth = int(params.get("depth", 10))
            book = self._exchange.book(symbol, depth, now)
            if book is not None:
                self._books[symbol] = (depth, book)
                await self._send(self._book_message("snapshot", symbol, book, book, now))
        elif channel == "ohlc" and not frames:
            minutes = int(params.get("interval", 1))
            rows = self._rows(symbol, minutes, _BARS_IN_SNAPSHOT, now)
            self._bars[symbol, minutes] = rows[-1] if rows else []
            await self._send(_bars_message("snapshot", symbol, minutes, rows, now))

    async def _end(self, symbol: str, params: Mapping[str, Any]) -> None:
        self._trades.discard(symbol) if params["channel"] == "trade" else None
        self._quotes.pop(symbol, None) if params["channel"] == "ticker" else None
        self._books.pop(symbol, None) if params["channel"] == "book" else None
        self._bars.pop((symbol, int(params.get("interval", 1))), None) if params["channel"] == "ohlc" else None

    async def _publish(self) -> None:
        clock = self._server.clock
        seen = heartbeat = clock.time_ns()
        while True:
            await clock.sleep(self._server.pace_s)
            now = clock.time_ns()
            if self._faults.dropped_connections:
                self._faults.dropped_connections -= 1
                _cut(self._socket)
                return
            if self._faults.silent:
                seen = now
                continue
            if now - heartbeat >= SECOND_NS:
                heartbeat = now
                await self._send(json.dumps({"channel": "heartbeat"}))
            if now - seen < self._faults.burst_s * SECOND_NS:
                continue
            for message in self._messages(seen, now):
                await self._send(message)
            seen = now

    def _messages(self, seen: int, now: int) -> Iterator[str]:
        for symbol in sorted(self._trades):
            rows = self._delayed(symbol, _trade_rows(symbol, self._exchange.trades(symbol, seen, now).ticks()))
            for _ in range((2 if self._faults.duplicate_trades else 1) if rows else 0):
                yield json.dumps({"channel": "trade", "type": "update", "data": rows})
        for symbol, quoted in self._quotes.items():
            best = self._exchange.book(symbol, 1, now)
            if best is not None and best != quoted:
                self._quotes[symbol] = best
                yield self._ticker_message("update", symbol, best, now)
        for symbol, (depth, before) in self._books.items():
            book = self._exchange.book(symbol, depth, now)
            if book is not None and book != before:
                self._books[symbol] = (depth, book)
                yield self._book_message("update", symbol, _changes(before, book), book, now)
        for (symbol, minutes), before_row in self._bars.items():
            bars = self._rows(symbol, minutes, 2, now)
            if bars and bars[-1] != before_row:
                self._bars[symbol, minutes] = bars[-1]
                fresh = bars if before_row and bars[-1][0] != before_row[0] else bars[-1:]
                yield _bars_message("update", symbol, minutes, fresh, now)

    def _delayed(self, symbol: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not rows or not self._faults.late_trades:
            return rows
        former = self._held.pop(symbol, None)
        self._held[symbol] = rows[0]
        return [*rows[1:], *([former] if former else [])]

    def _rows(self, symbol: str, minutes: int, count: int, now: int) -> list[list[Any]]:
        since = now // SECOND_NS - (count + 1) * minutes * 60
        rows = self._exchange.ohlc(self._altnames[symbol], minutes, since, now)[-count:]
        return [row for row in rows if row[7]]  # the feed has no bars of minutes without trades

    def _ticker_message(self, kind: str, symbol: str, best: Levels, now: int) -> str:
        ((bid, bid_size), (ask, ask_size)) = best[0][0], best[1][0]
        quote = {"bid": float(bid), "bid_qty": float(bid_size), "ask": float(ask), "ask_qty": float(ask_size)}
        data = [{"symbol": symbol, **quote, "last": float(bid), "timestamp": rfc3339(now)}]
        return json.dumps({"channel": "ticker", "type": kind, "data": data})

    def _book_message(self, kind: str, symbol: str, levels: Levels, book: Levels, now: int) -> str:
        bids, asks = book
        number = checksum(asks[:_CHECKED], bids[:_CHECKED])
        if kind == "update" and self._faults.wrong_checksums:
            self._faults.wrong_checksums -= 1
            number ^= 1
        sides = ",".join(
            f'"{name}":[{",".join(map(_level, side))}]' for name, side in zip(("bids", "asks"), levels, strict=True)
        )
        data = f'{{"symbol":"{symbol}",{sides},"checksum":{number},"timestamp":"{rfc3339(now)}"}}'
        return f'{{"channel":"book","type":"{kind}","data":[{data}]}}'

    async def _send(self, text: str) -> None:
        if not self._faults.silent and not self._socket.closed:
            await self._socket.send_str(text)


def _cut(socket: web.WebSocketResponse) -> None:
    if socket._req is not None and socket._req.transport is not None:
        socket._req.transport.abort()


def _level(level: Level) -> str:
    # Written out: the checksum is made of the digits, and JSON libraries drop trailing zeros.
    return f'{{"price":{level[0]:f},"qty":{level[1]:f}}}'


def _changes(before: Levels, after: Levels) -> Levels:
    """Return what makes one book of the other: changed and new levels, and gone ones with a size of zero."""
    sides = []
    for old, new in zip(before, after, strict=True):
        there = dict(new)
        gone = [(price, Decimal(0)) for price, _ in old if price not in there]
        was = dict(old)
        sides.append([*gone, *(level for level in new if was.get(level[0]) != level[1])])
    return sides[0], sides[1]


def _rest_row(tick: Tick) -> list[Any]:
    side = "b" if tick.side is Side.BUY else "s"
    return [str(tick.price), str(tick.size), tick.event_time_ns / 1e9, side, "l", "", tick.trade_id]


def _trade_rows(symbol: str, ticks: Iterator[Tick]) -> list[dict[str, Any]]:
    return [
        {
            "symbol": symbol,
            "side": "buy" if tick.side is Side.BUY else "sell",
            "price": tick.price,
            "qty": tick.size,
            "ord_type": "limit",
            "trade_id": tick.trade_id,
            "timestamp": rfc3339(tick.event_time_ns),
        }
        for tick in ticks
    ]


def _bars_message(kind: str, symbol: str, minutes: int, rows: Sequence[Sequence[Any]], now: int) -> str:
    data = [
        {
            "symbol": symbol,
            **dict(zip(("open", "high", "low", "close", "vwap", "volume"), map(float, row[1:7]), strict=True)),
            "trades": row[7],
            "interval_begin": rfc3339(row[0] * SECOND_NS),
            "interval": minutes,
            "timestamp": rfc3339((row[0] + minutes * 60) * SECOND_NS),
        }
        for row in rows
    ]
    return json.dumps({"channel": "ohlc", "type": kind, "timestamp": rfc3339(now), "data": data})


def rfc3339(time_ns: int) -> str:
    """Return an instant as Kraken writes it, to the microsecond."""
    return f"{from_ns(time_ns // SECOND_NS * SECOND_NS):%Y-%m-%dT%H:%M:%S}.{time_ns % SECOND_NS // 1000:06d}Z"
