"""Bare messages from one process to another: what they cost when nobody makes, confines or decodes them.

One process writes so many messages a second of so many bytes, another reads them; both on the event loop of services.
They go through a named pipe, or on a stream of grpc.aio over a Unix socket.
`python -m benchmarks.plugins_floor WAY PATH RATE BYTES` is the writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import grpc
import uvloop

WARM_S: Final = 1.0
SECONDS: Final = 3.0
PIPE: Final = "pipe"
CALL: Final = "call"
_CPU_OF_PROCESS: Final = 2
"""How Linux numbers the processor time of all threads of a process among its clocks."""
_PIECE: Final = 1 << 16


def spent(pid: int) -> float:
    """Return the processor seconds of a process, of all its threads; 0 is none."""
    return time.clock_gettime(~pid << 3 | _CPU_OF_PROCESS) if pid else 0.0


async def floor(way: str, rate: float, size: int) -> float:
    """Return the processor seconds a second of both processes.

    Args:
        way: `pipe` or `call`.
        rate: Messages a second.
        size: Bytes of each.
    """
    with _writer(way, rate, size) as (path, pid):
        async with _read_pipe(path) if way == PIPE else _read_call(path):
            await asyncio.sleep(WARM_S)
            before, began = time.process_time() + spent(pid), time.perf_counter()
            await asyncio.sleep(SECONDS)
            return (time.process_time() + spent(pid) - before) / (time.perf_counter() - began)


@contextmanager
def _writer(way: str, rate: float, size: int) -> Iterator[tuple[str, int]]:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/s"
        if way == PIPE:
            os.mkfifo(path)
        command = [sys.executable, "-m", "benchmarks.plugins_floor", way, path, str(rate), str(size)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                yield path, process.pid
            finally:
                process.kill()


@asynccontextmanager
async def _read_pipe(path: str) -> AsyncIterator[None]:
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe, os.read, pipe, _PIECE)
    try:
        yield
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)


@asynccontextmanager
async def _read_call(path: str) -> AsyncIterator[None]:
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        stream: Any = channel.unary_stream("/bare.Bare/Stream")
        call = stream(b"")

        async def read() -> None:
            while await call.read() is not grpc.aio.EOF:
                pass

        reading = asyncio.create_task(read())
        try:
            yield
        finally:
            call.cancel()
            await asyncio.wait([reading])


async def _write(rate: float, size: int, write: Callable[[bytes], Awaitable[object]]) -> None:
    message, began, number = b"x" * size, time.monotonic(), 0
    while True:
        number += 1
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        await write(message)


async def _serve_pipe(path: str, rate: float, size: int) -> None:
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    async def write(message: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody reads yet
            os.write(pipe, message)

    print("ready", flush=True)
    await _write(rate, size, write)


async def _serve_call(path: str, rate: float, size: int) -> None:
    async def stream(_request: bytes, context: Any) -> None:
        await _write(rate, size, context.write)

    server = grpc.aio.server()
    methods: dict[str, Any] = {"Stream": grpc.unary_stream_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Bare", methods),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    serve = {PIPE: _serve_pipe, CALL: _serve_call}[sys.argv[1]]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
