"""Named pipes that live rows come through, beside the call that they belong to.

A message on a stream of gRPC wakes threads on both sides, which costs more than everything else that a live feed does
with it. A pipe wakes nobody but the reader. The contract (`StreamLiveRequest.pipe_path`) says what it carries.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from quasar.errors import InvalidArgument

SIZE_BYTES: Final = 4
"""Of the number that stands before each message."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one message; as much as the call takes."""
_PIECE: Final = 64 * 1024
_ROOM: Final = 1024 * 1024
"""Bytes that wait in a pipe before its writer does; as much as everybody may ask the kernel for."""
_SET_ROOM: Final = getattr(fcntl, "F_SETPIPE_SZ", None)
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Open for reading alone, a pipe is at its end whenever nobody writes; hence both, though nothing is written here.
_BOTH_ENDS: Final = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class PipeFolder:
    """The pipes of one process, in a folder of theirs; a context manager that closes them.

    The process may write to what is there and make nothing of its own. Where the kernel does not enforce that, it could
    put something else in the place of the folder or of a pipe: neither is looked up by its path again, and what is no
    pipe is not used.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder, in one that only the process can enter."""
        self._path = path
        path.mkdir(mode=0o700)
        self._folder = os.open(path, _FOLDER)
        os.fchmod(self._folder, 0o711)  # whatever the service keeps from others by its umask
        self._pipes: set[RowPipe] = set()

    def open(self, name: str) -> RowPipe | None:
        """Make a pipe; None where the system has none."""
        try:
            os.mkfifo(name, 0o600, dir_fd=self._folder)
            descriptor = os.open(name, _BOTH_ENDS, dir_fd=self._folder)
        except (OSError, NotImplementedError):  # the latter: an older macOS
            return None
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        os.fchmod(descriptor, 0o622)  # the process may have a user of its own
        if _SET_ROOM is not None:
            with contextlib.suppress(OSError):
                fcntl.fcntl(descriptor, _SET_ROOM, _ROOM)
        pipe = RowPipe(descriptor, str(self._path / name), lambda: self._forget(name, pipe))
        self._pipes.add(pipe)
        return pipe

    def _forget(self, name: str, pipe: RowPipe) -> None:
        self._pipes.discard(pipe)
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._folder)

    def __enter__(self) -> Self:
        """Use the folder."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what is open; the folder is removed with the process's."""
        for pipe in list(self._pipes):
            pipe.close()
        os.close(self._folder)


class RowPipe:
    """One pipe, as its reader sees it."""

    def __init__(self, descriptor: int, path: str, closed: Callable[[], None]) -> None:
        """Read what comes through a pipe; `PipeFolder.open` makes them.

        Args:
            descriptor: The pipe, open for both directions, non-blocking.
            path: Where its writer finds it.
            closed: Called once, when it is closed.
        """
        self.path = path
        self._descriptor = descriptor
        self._closed = closed
        self._held = bytearray()
        self._ended = False
        self._waiting: asyncio.Future[None] | None = None
        self._watching: asyncio.AbstractEventLoop | None = None

    @property
    def cut_short(self) -> bool:
        """Whether the last message did not come whole."""
        return bool(self._held)

    async def read(self) -> bytes | None:
        """Return the next message; None after `end`, when all that were written whole have been read.

        Raises:
            InvalidArgument: What stands before a message is the size of none.
        """
        while (message := self._next()) is None:
            if self._ended:
                return None
            await self._more()
        return message

    def _next(self) -> bytes | None:
        held = self._held
        if len(held) < SIZE_BYTES:
            return None
        size = int.from_bytes(held[:SIZE_BYTES], "little")
        if size > MOST_BYTES:
            raise InvalidArgument(f"a message must have at most {MOST_BYTES} bytes, was {size}")
        end = SIZE_BYTES + size
        if len(held) < end:
            return None
        with memoryview(held) as view:
            message = bytes(view[SIZE_BYTES:end])
        del held[:end]
        return message

    async def _more(self) -> None:
        loop = asyncio.get_running_loop()
        if self._watching is None:
            loop.add_reader(self._descriptor, self._arrived)
            self._watching = loop
        self._waiting = loop.create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _arrived(self) -> None:
        """Take a piece of what has come; once in each turn of the loop, whatever else has come."""
        self._take()
        if self._waiting is None and len(self._held) > _PIECE:
            self._stop_watching()  # the reader is behind, and so the writer is to wait
        self._wake()

    def _take(self) -> bool:
        try:
            self._held += os.read(self._descriptor, _PIECE)
        except BlockingIOError:
            return False
        return True

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.remove_reader(self._descriptor)
            self._watching = None

    def end(self) -> None:
        """Take what is there for all that comes: the call has ended."""
        self._ended = True
        self._stop_watching()
        for _ in range(_ROOM // _PIECE):  # no more than was written before, however much follows
            if not self._take():
                break
        self._wake()

    def close(self) -> None:
        """Close it, once or more."""
        if self._descriptor < 0:
            return
        self._stop_watching()
        os.close(self._descriptor)
        self._descriptor = -1
        self._closed()
