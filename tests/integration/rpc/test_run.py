"""A serving process: how it stops on a signal, and what it says when it cannot go on."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from quasar_proto.ops.v1 import system_service_pb2 as pb
from quasar_proto.ops.v1 import system_service_pb2_grpc as stubs
from tests.integration.rpc.harness import as_, running

ROOT = Path(__file__).resolve().parents[3]


class Served:
    """A process that serves, and what it says."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    async def says(self, word: str) -> None:
        """Wait until the process has said a word."""
        assert self.process.stdout is not None
        async with asyncio.timeout(90):
            async for line in self.process.stdout:
                if line.decode().strip() == word:
                    return
        raise AssertionError(f"the process must say {word!r}, ended")

    async def logs(self, event: str) -> dict[str, Any]:
        """Wait until the process has logged an event, and return the line."""
        assert self.process.stderr is not None
        async with asyncio.timeout(90):
            async for line in self.process.stderr:
                self.lines.append(json.loads(line))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]
        raise AssertionError(f"the process must log {event!r}, ended after {self.lines}")

    async def exit_code(self) -> int:
        """Wait for the end."""
        async with asyncio.timeout(90):
            return await self.process.wait()


@asynccontextmanager
async def served(kind: str, port: int = 0) -> AsyncIterator[Served]:
    """Run a process of `served_process` while the context lasts."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.rpc.served_process",
        kind,
        str(port),
        cwd=ROOT,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield Served(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_on_sigterm_calls_in_flight_finish_and_the_process_ends_well() -> None:
    async with served("usual") as it:
        port = (await it.logs("serving"))["port"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = stubs.SystemServiceStub(channel).GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer"))
            answer = asyncio.ensure_future(_awaited(call))
            await it.says("called")
            it.process.send_signal(signal.SIGTERM)
            assert (await it.logs("draining"))["calls"] == 1

            assert await answer == pb.GetSystemInfoResponse()
        assert await it.exit_code() == 0
        await it.says("closed")


async def test_a_second_signal_cuts_the_drain_short() -> None:
    async with served("stuck") as it:
        port = (await it.logs("serving"))["port"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = stubs.SystemServiceStub(channel).GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer"))
            answer = asyncio.ensure_future(call.code())
            await it.says("called")
            it.process.send_signal(signal.SIGINT)
            await it.logs("draining")
            it.process.send_signal(signal.SIGINT)

            assert await it.exit_code() == 0
            assert await answer is grpc.StatusCode.UNAVAILABLE


async def test_a_signal_while_the_server_is_built_ends_the_process_and_closes_what_is_open() -> None:
    async with served("hangs") as it:
        await it.says("building")
        it.process.send_signal(signal.SIGTERM)

        assert await it.exit_code() == 0
        await it.says("closed")


async def test_a_port_in_use_ends_the_process_with_the_remedy() -> None:
    async with running() as other, served("usual", other.server.port) as it:
        problem = (await it.logs("could not go on"))["problem"]

        assert f"127.0.0.1:{other.server.port} must be free to listen on" in problem
        assert "set another port" in problem
        assert await it.exit_code() == 1


async def test_a_part_that_fails_ends_the_process_and_is_logged() -> None:
    async with served("crashes") as it:
        line = await it.logs("failed")

        assert "the scheduler broke" in line["exception"]
        assert await it.exit_code() == 1


async def _awaited(call: Any) -> Any:
    return await call
