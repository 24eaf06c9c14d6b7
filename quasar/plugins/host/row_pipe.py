"""Writes the messages of a live stream to the named pipe that its service reads, where there is one."""

from __future__ import annotations

import asyncio
import os
from typing import Self

from quasar import errors
from quasar.plugins.row_pipe import SIZE_BYTES


class RowWriter:
    """One pipe, as its writer sees it."""

    def __init__(self, descriptor: int) -> None:
        """Write to a pipe.

        Args:
            descriptor: Open for writing, non-blocking; closed by `close`.
        """
        self._descriptor = descriptor
        self._left = memoryview(b"")

    @classmethod
    def open(cls, path: str) -> Self | None:
        """Open the pipe of a call; None where there is none: the call carries the rows then."""
        if not path:
            return None
        try:
            return cls(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            return None

    async def write(self, message: bytes) -> None:
        """Write one message, and wait while the reader is behind.

        A message whose writing was cancelled is written on before the next one.

        Raises:
            Cancelled: Nobody reads any more.
        """
        await self.finish()
        self._left = memoryview(len(message).to_bytes(SIZE_BYTES, "little") + message)
        await self.finish()

    async def finish(self) -> None:
        """Write what is left of the last message.

        Raises:
            Cancelled: Nobody reads any more.
        """
        while self._left:
            try:
                written = os.write(self._descriptor, self._left)
            except BlockingIOError:
                await self._writable()
            except BrokenPipeError:
                raise errors.Cancelled("the service has ended the call") from None
            else:
                self._left = self._left[written:]

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        loop.add_writer(self._descriptor, _wake, waiting)
        try:
            await waiting
        finally:
            loop.remove_writer(self._descriptor)

    def close(self) -> None:
        """Close it; nobody may be writing."""
        os.close(self._descriptor)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
