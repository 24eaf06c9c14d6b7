"""A bare grpc.aio stream between two processes: what messages cost that nobody makes, confines or decodes.

One process writes so many messages a second of so many bytes to a Unix socket, another reads them; both on the event
loop of services. `python -m benchmarks.plugins_floor PATH RATE BYTES` is the writer.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
import uvloop

WARM_S: Final = 1.0
SECONDS: Final = 3.0
_CPU_OF_PROCESS: Final = 2
"""How Linux numbers the processor time of all threads of a process among its clocks."""


def spent(pid: int) -> float:
    """Return the processor seconds of a process, of all its threads; 0 is none."""
    return time.clock_gettime(~pid << 3 | _CPU_OF_PROCESS) if pid else 0.0


async def floor(rate: float, size: int) -> float:
    """Return the processor seconds a second of both processes."""
    with _writer(rate, size) as (path, pid):
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            return await _read(channel, pid)


@contextmanager
def _writer(rate: float, size: int) -> Iterator[tuple[str, int]]:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/s"
        command = [sys.executable, "-m", "benchmarks.plugins_floor", path, str(rate), str(size)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                yield path, process.pid
            finally:
                process.kill()


async def _read(channel: grpc.aio.Channel, pid: int) -> float:
    stream: Any = channel.unary_stream("/bare.Bare/Stream")
    call = stream(b"")

    async def read() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(WARM_S)
    before, began = time.process_time() + spent(pid), time.perf_counter()
    await asyncio.sleep(SECONDS)
    found = (time.process_time() + spent(pid) - before) / (time.perf_counter() - began)
    call.cancel()
    await asyncio.wait([reading])
    return found


async def _serve(path: str, rate: float, size: int) -> None:
    async def stream(_request: bytes, context: Any) -> None:
        message, began, number = b"x" * size, time.monotonic(), 0
        while True:
            number += 1
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await context.write(message)

    server = grpc.aio.server()
    methods: dict[str, Any] = {"Stream": grpc.unary_stream_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Bare", methods),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
