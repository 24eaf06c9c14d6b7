"""A vendor for measurements: Kraken's WebSocket v2 with trades at a given rate, in a process of its own.

It speaks the channel `trade` as the venue does, with as many trades a message as recorded sessions have on average,
1.25. To keep its own cost low it writes every few milliseconds what is due, in one piece.
`python -m benchmarks.plugins_vendor --rate 20000 --symbols 50` prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

STEP_S: Final = 0.005
TRADES: Final = (1, 1, 1, 2)
"""How many trades stand in each of a few messages, over and over."""
_TEXT: Final = 0x81
_LENGTH_16: Final = 126


def symbols(count: int) -> list[str]:
    """Return the names of the symbols that trade."""
    return [f"C{number:02}/USD" for number in range(count)]


def _frame(payload: bytes) -> bytes:
    """Return a text as one unmasked frame."""
    if len(payload) < _LENGTH_16:
        return bytes((_TEXT, len(payload))) + payload
    return struct.pack("!BBH", _TEXT, _LENGTH_16, len(payload)) + payload


class Market:
    """Trades of many symbols, one after the other."""

    def __init__(self, rate: int, count: int) -> None:
        """Trade `count` symbols `rate` times a second in all, one symbol a message."""
        self._rate = rate
        self._symbols = symbols(count)
        self._messages = self._number = 0

    def _message(self, stamp: str) -> bytes:
        symbol = self._symbols[self._messages % len(self._symbols)]
        after = self._number + TRADES[self._messages % len(TRADES)]
        rows = ",".join(
            f'{{"symbol":"{symbol}","side":"buy","price":{64000 + number % 997 / 10},"qty":0.{number % 9973 + 1:08},'
            f'"ord_type":"market","trade_id":{number},"timestamp":"{stamp}"}}'
            for number in range(self._number, after)
        )
        self._number, self._messages = after, self._messages + 1
        return _frame(f'{{"channel":"trade","type":"update","data":[{rows}]}}'.encode())

    async def publish(self, socket: ServerConnection) -> None:
        """Write what is due until the connection ends."""
        began, first = time.monotonic(), self._number
        while not socket.transport.is_closing():
            await asyncio.sleep(STEP_S)
            due = first + int((time.monotonic() - began) * self._rate)
            stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            frames = bytearray()
            while self._number < due:
                frames += self._message(stamp)
            with contextlib.suppress(RuntimeError):  # the other side has said good-bye meanwhile
                socket.transport.write(bytes(frames))

    async def serve(self, socket: ServerConnection) -> None:
        """Acknowledge subscriptions, and publish from the first one on."""
        async with asyncio.TaskGroup() as group:
            publishing: asyncio.Task[None] | None = None
            with contextlib.suppress(ConnectionClosed):
                async for raw in socket:
                    asked: dict[str, Any] = json.loads(raw)
                    for symbol in asked["params"]["symbol"]:
                        result = {"channel": "trade", "symbol": symbol, "snapshot": False}
                        await socket.send(json.dumps({"method": asked["method"], "success": True, "result": result}))
                    publishing = publishing or group.create_task(self.publish(socket))
            if publishing is not None:
                publishing.cancel()


@contextlib.contextmanager
def vendor(rate: int, count: int) -> Iterator[str]:
    """Run a vendor; gives its URL."""
    command = [sys.executable, "-m", "benchmarks.plugins_vendor", f"--rate={rate}", f"--symbols={count}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # our own module
        try:
            assert process.stdout is not None
            yield f"ws://127.0.0.1:{int(process.stdout.readline())}/v2"
        finally:
            process.kill()


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    for name in ("rate", "symbols"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    market = Market(options.rate, options.symbols)
    async with serve(market.serve, "127.0.0.1", 0, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
