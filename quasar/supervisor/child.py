"""One process that is supervised: started, its output read line by line, stopped politely and then not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

_CHUNK_BYTES = 65536
_LAST_WORDS = 12
_OUTPUT_GRACE_S = 0.5
"""How long the output of an ended process is still read; a grandchild may hold it open for ever."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run."""

    name: str
    module: str
    """What `python -m` runs."""
    address: str
    """`host:port` that it listens on."""
    environment: Mapping[str, str]


class Child:
    """One run of a program."""

    def __init__(self, program: Program, on_line: Callable[[str], None]) -> None:
        """Run `program`; `on_line` gets each line of its output."""
        self.program = program
        self.last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        """The last lines of its output."""
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def run(self, on_start: Callable[[Child], None]) -> int:
        """Start the process and read it until it ends; return its exit code, negative for a signal.

        A pipe of our own carries the output: asyncio's would let `wait` hang while a grandchild holds it open.
        """
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as source:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # the folder that the operator happens to stand in must not replace our modules
                    "-m",
                    self.program.module,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=writing,
                    stderr=writing,
                    env=dict(self.program.environment),
                    start_new_session=True,  # Ctrl-C is for the supervisor, which stops its children in order
                )
            finally:
                os.close(writing)
            on_start(self)
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(self._pump(source.fileno()))
                code = await self._process.wait()
                await asyncio.wait([pump], timeout=_OUTPUT_GRACE_S)
                pump.cancel()
        return code

    async def _pump(self, descriptor: int) -> None:
        async for line in _lines(descriptor):
            self.last_words.append(line)
            self._on_line(line)

    async def stop(self, patience_s: float) -> None:
        """Ask the process to end, and kill it when it has not within `patience_s`."""
        if self._process is None or not self.running:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience_s):
                await self._process.wait()
        except TimeoutError:
            self._on_line(f"did not stop within {patience_s:g} s and is killed")
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """Kill the process."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


async def _lines(descriptor: int) -> AsyncIterator[str]:
    """Yield the lines of a pipe; one longer than 64 KiB comes in pieces."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    source = os.fdopen(os.dup(descriptor), "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    rest = b""
    try:
        while chunk := await reader.read(_CHUNK_BYTES):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
            if len(rest) >= _CHUNK_BYTES:
                yield rest.decode(errors="replace")
                rest = b""
        if rest:
            yield rest.decode(errors="replace")
    finally:
        transport.close()
