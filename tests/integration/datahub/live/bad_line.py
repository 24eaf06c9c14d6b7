"""A line between a plug-in and its vendor that is cut, stalls and corrupts when a test says so."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class BadLine:
    """A TCP proxy on a free port of the loopback address, as an async context manager."""

    def __init__(self, port: int) -> None:
        """Lead to a port of the loopback address."""
        self._to = port
        self._lines: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._flows = asyncio.Event()
        self._flows.set()
        self._replaced: tuple[bytes, bytes] | None = None
        self.corrupted = 0
        """Pieces that were changed on their way."""
        self.port = 0

    async def __aenter__(self) -> Self:
        """Start to listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut everything and stop."""
        self._server.close()
        self.cut()
        self._flows.set()

    def cut(self) -> None:
        """Cut every connection, without a farewell."""
        for line in self._lines:
            for writer in line:
                writer.transport.abort()
        self._lines.clear()

    def stall(self) -> None:
        """Let nothing through any more; connections stay open."""
        self._flows.clear()

    def flow(self) -> None:
        """Let what stalled go its way."""
        self._flows.set()

    def corrupt(self, found: bytes, replaced: bytes) -> None:
        """Change the next occurrence of some bytes on the way to the plug-in."""
        assert len(found) == len(replaced), "the length of a frame stands in front of it"
        self._replaced = found, replaced

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", self._to)
        self._lines.append((writer, onward))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(reader, onward, changed=False))
            group.create_task(self._pump(there, writer, changed=True))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, changed: bool) -> None:
        try:
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(self._seen(data) if changed else data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()

    def _seen(self, data: bytes) -> bytes:
        if self._replaced is None or self._replaced[0] not in data:
            return data
        found, replaced = self._replaced
        self._replaced = None
        self.corrupted += 1
        return data.replace(found, replaced, 1)
