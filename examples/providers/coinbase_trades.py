"""Live trades of Coinbase over its public WebSocket: one connection for all symbols, made again when it breaks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from quasar.provider import LiveItem, LiveSymbol, Preference, SymbolNotice, SymbolState, Tick, WebSocketProvider


class CoinbaseTrades(WebSocketProvider):
    """Trades of Coinbase Advanced Trade."""

    hosts = ("advanced-trade-ws.coinbase.com",)
    address = Preference("wss://advanced-trade-ws.coinbase.com", description="The feed.", needs_restart=True)

    async def endpoint(self) -> str:
        return self.address

    def subscribe(self, symbols: Sequence[LiveSymbol]) -> Iterable[Any]:
        yield {"type": "subscribe", "channel": "market_trades", "product_ids": [one.symbol for one in symbols]}

    def parse(self, message: dict[str, Any]) -> Iterable[LiveItem]:
        for event in message.get("events", ()):
            for symbol in event.get("subscriptions", {}).get("market_trades", ()):
                yield SymbolNotice(symbol, SymbolState.SUBSCRIBED)
            if event.get("type") == "update":  # a snapshot tells of the past
                yield from map(trade, reversed(event["trades"]))


def trade(row: dict[str, Any]) -> LiveItem:
    time_ns = int(datetime.fromisoformat(row["time"]).timestamp() * 1e6) * 1000
    price, size = float(row["price"]), float(row["size"])
    return row["product_id"], Tick(time_ns, price=price, size=size, trade_id=int(row["trade_id"]))
