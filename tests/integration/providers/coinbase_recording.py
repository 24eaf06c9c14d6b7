"""Coinbase Advanced Trade as it was recorded on 9 August 2026: products over REST, four channels over WebSocket."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from aiohttp import web

from quasar.clock import SystemClock
from quasar.testing.local_server import LocalServer
from tests.unit.recorded import recorded

PRODUCTS = "/api/v3/brokerage/market/products"
BEGAN_NS = 1_786_309_548_000_000_000


class ThenClock(SystemClock):
    """The system's clock, set to an hour before the recording began: the snapshots reach back some minutes."""

    def __init__(self) -> None:
        super().__init__()
        self._back_ns = time.time_ns() - BEGAN_NS + 3600 * 1_000_000_000

    def time_ns(self) -> int:
        return time.time_ns() - self._back_ns


def lines() -> Iterator[dict[str, Any]]:
    import zstandard

    with recorded("ws_other/COINBASE.jsonl.zst").open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file)):
            yield json.loads(line)


class CoinbaseRecording(LocalServer):
    """Plays the recording: each subscription is answered with what was received on its channel."""

    def __init__(self) -> None:
        super().__init__()
        self._lines = list(lines())
        self._received = [line["data"] for line in self._lines if line["t"] == "recv"]

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.get("/", self._feed), web.get(PRODUCTS, self._products), web.get("/{rest:.*}", self._nothing)]

    def trades(self, product: str, kind: str = "update") -> list[dict[str, Any]]:
        """Return the recorded trades of a product, oldest first."""
        events = [event for text in self._received for event in json.loads(text).get("events", ())]
        batches = [reversed(event["trades"]) for event in events if event.get("type") == kind and "trades" in event]
        return [row for batch in batches for row in batch if row["product_id"] == product]

    async def _products(self, request: web.Request) -> web.Response:
        recorded_body = next(line["data"] for line in self._lines if line["t"] == "http")
        wanted = request.query.get("product_type", "SPOT")
        found = [row for row in json.loads(recorded_body)["products"] if row.get("product_type") == wanted]
        return web.json_response({"products": found, "num_products": len(found)})

    async def _nothing(self, request: web.Request) -> web.Response:
        return web.json_response({"data": []})

    async def _feed(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            asked = json.loads(message.data)
            if asked.get("type") == "subscribe":
                channel, products = asked["channel"], asked.get("product_ids", [])
                answer = {"channel": "subscriptions", "events": [{"subscriptions": {channel: products}}]}
                await socket.send_str(json.dumps(answer))
                for text in self._received:
                    if _of(json.loads(text), channel, products):
                        await socket.send_str(text)
        return socket


def _of(message: dict[str, Any], channel: str, products: Sequence[str]) -> bool:
    names = {"level2": "l2_data"}
    if message["channel"] != names.get(channel, channel):
        return False
    event = message["events"][0]
    rows = event.get("trades") or event.get("candles") or [event]
    return rows[0].get("product_id") in products
