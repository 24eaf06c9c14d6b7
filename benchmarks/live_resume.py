"""Clients that are cut off at random and come back with their cursor: what they lose, get twice, or get out of order.

Two million ticks flow at a steady rate while four clients drop their streams a thousand times, in the middle of
whatever comes, and go on after the last envelope that they have. Every tick is numbered, so nothing can hide.

Command: `python -m benchmarks.live_resume` (about half a minute).
"""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc

from benchmarks.live import row
from benchmarks.live_server import SYMBOLS
from benchmarks.streams import Connections, chunks_of, cursor_of, on_own_core, selection, server_process

TICKS = 2_000_000
RATE = 100_000
CLIENTS = 4
CUTS = 1_000
LOG_MIB = 64
"""The log of the DataHub as it is unless it is set otherwise."""
_LONGEST_RUN = 5
"""Envelopes between two cuts at most; the mean leaves time for all of the cuts."""


@dataclass
class Client:
    """What one client has."""

    cursor: str = ""
    cuts: int = 0
    rows: int = 0
    lost: int = 0
    twice: int = 0
    disordered: int = 0
    next_sequence: dict[int, int] = field(default_factory=dict)
    last_id: dict[int, int] = field(default_factory=dict)

    def take(self, raw: bytes) -> None:
        """Take an envelope."""
        for chunk in chunks_of(raw):
            series, first, rows = chunk.series_id, chunk.first_sequence, len(chunk.columns)
            expected = self.next_sequence.get(series, 1)
            self.lost += max(0, first - expected)
            self.twice += max(0, min(expected - first, rows))
            ids = chunk.columns.trade_id
            if ids is None or int(ids[0]) <= self.last_id.get(series, -1) or (ids[1:] <= ids[:-1]).any():
                self.disordered += 1
            else:
                self.last_id[series] = int(ids[-1])
            self.next_sequence[series] = max(expected, first + rows)
            self.rows += rows
        self.cursor = cursor_of(raw).decode()

    @property
    def done(self) -> bool:
        """Whether the last tick of every symbol is here."""
        return len(self.next_sequence) == SYMBOLS and min(self.next_sequence.values()) > TICKS // SYMBOLS


async def _read(client: Client, connections: Connections, chance: random.Random) -> None:
    while not client.done:
        call = await connections.open(selection(cursor=client.cursor))
        left = chance.randint(1, _LONGEST_RUN) if client.cuts < CUTS // CLIENTS else -1
        while left and not client.done:
            raw = await call.read()
            if raw is grpc.aio.EOF:
                raise RuntimeError("a stream ended by itself")
            client.take(raw)
            left -= 1
        call.cancel()
        client.cuts += not client.done


async def _run() -> list[Client]:
    options = (f"--rate={RATE}", f"--readers={CLIENTS}", f"--total={TICKS}", f"--log-mib={LOG_MIB}")
    clients = [Client() for _ in range(CLIENTS)]
    with server_process("hub", *options) as server:
        async with AsyncExitStack() as stack, asyncio.timeout(120), asyncio.TaskGroup() as group:
            for number, client in enumerate(clients):
                connections = Connections(server.port, stack, shared_by=CUTS * 100)
                group.create_task(_read(client, connections, random.Random(number)))
    return clients


def rows() -> list[dict[str, Any]]:
    """Measure and return one row for each figure."""
    clients = on_own_core(_run())
    cuts = sum(client.cuts for client in clients)
    lost, twice = sum(client.lost for client in clients), sum(client.twice for client in clients)
    disordered = sum(client.disordered for client in clients)
    whole = all(client.rows == TICKS for client in clients)
    what = f"of {TICKS} ticks to each of {CLIENTS} clients"
    return [
        row("disconnects at random, each resumed by its cursor", cuts, "times", f">= {CUTS}", cuts >= CUTS),
        row(f"lost {what}", lost, "ticks", "0", lost == 0 and whole),
        row(f"twice {what}", twice, "ticks", "0", twice == 0 and whole),
        row(f"chunks out of order {what}", disordered, "chunks", "0", disordered == 0),
    ]


if __name__ == "__main__":
    for each in rows():
        print(json.dumps(each))
