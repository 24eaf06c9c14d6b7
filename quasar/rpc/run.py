"""Runs a server as the main thing of a process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from quasar import errors, logs
from quasar.rpc.server import RpcServer

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_log = logs.get("quasar.rpc.run")


async def serve(build: Callable[[AsyncExitStack], Awaitable[RpcServer]]) -> int:
    """Build a server, serve until SIGTERM or SIGINT, drain it, and close all that the building opened.

    A signal while the server is being built gives the building up; a second one while it drains cuts the drain short.

    Args:
        build: Returns the server, not started. What it opens it enters into the stack, which is closed after the
            drain, in reverse order.

    Returns:
        The exit code: 0 after a stop that was asked for, 1 when the server could not start or a part of it failed (the
        log says which and why).
    """
    stop = _Stop()
    with stop.listening():
        try:
            async with AsyncExitStack() as stack:
                server = await build(stack)
                await server.start()
                stack.push_async_callback(server.drain)
                await stop.wait()
        except asyncio.CancelledError:
            if not stop.asked:
                raise
        except errors.QuasarError as error:
            _log.error("could not go on", problem=error.message)
            return 1
        except Exception as error:
            _log.error("failed", exc_info=error)
            return 1
    return 0


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine to its exit code, on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


class _Stop:
    """The wish of the operator that the process ends."""

    def __init__(self) -> None:
        self.asked = False
        self._waiting: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Wait for the first signal."""
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    @contextmanager
    def listening(self) -> Iterator[None]:
        """React to signals while the context lasts."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def signalled() -> None:
            self.asked = True
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(None)
            elif task is not None:
                task.cancel()  # not serving yet, or asked a second time

        for number in _SIGNALS:
            loop.add_signal_handler(number, signalled)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
