"""Unary calls through all that the service kit does, against the same call on a bare grpc.aio server.

Two server processes, one client that loads them in turn. The kit's server authenticates, checks the role, validates the
request, counts, keeps a deadline and writes one JSON line a call to a file; the bare one only answers.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import uvloop

from quasar import logs
from quasar.clock import SystemClock
from quasar.metrics import Metrics
from quasar.rpc.caller import ADMIN, Caller
from quasar.rpc.health import Health
from quasar.rpc.server import RpcServer, ServerSettings
from quasar_proto.ops.v1 import operation_service_pb2 as pb
from quasar_proto.ops.v1 import operation_service_pb2_grpc as stubs

ROUNDS = 15
CALLS = 2000
IN_FLIGHT = 16
BAR = 0.6
_ID = "0191b6a0-0000-7000-8000-000000000001"
_METADATA = (("authorization", "Bearer qsr_0123456789abcdef0123456789abcdef"), ("x-request-id", "bench-1"))


class Echo(stubs.OperationServiceServicer):
    """Answers with the id that it was asked for."""

    async def GetOperation(self, request: pb.GetOperationRequest, context: Any) -> pb.GetOperationResponse:
        answer = pb.GetOperationResponse()
        answer.operation.operation_id = request.operation_id
        return answer


class OneToken:
    """Knows one token, as a cache of tokens would after the first call."""

    def __init__(self) -> None:
        self._callers = {_METADATA[0][1].partition(" ")[2]: Caller("bench", ADMIN)}

    async def authenticate(self, bearer: str) -> Caller:
        """Return the caller."""
        return self._callers[bearer]


async def serve_bare() -> None:
    """Serve with nothing between the library and the method."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    stubs.add_OperationServiceServicer_to_server(Echo(), server)  # type: ignore[abstract]  # one method is enough
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


async def serve_kit() -> None:
    """Serve with everything that every service of the platform has."""
    clock = SystemClock()
    logs.configure(logs.LogOptions(service="bench", format="json"), clock=clock)
    server = RpcServer(
        ServerSettings(),
        service="bench",
        authenticator=OneToken(),
        health=Health(clock),
        clock=clock,
        metrics=Metrics("bench", clock),
    )
    server.add(Echo())  # type: ignore[abstract]  # one method is enough
    print(await server.start(), flush=True)
    await asyncio.Event().wait()


@contextmanager
def server_process(kind: str, folder: Path) -> Iterator[int]:
    """Run a server in a process of its own; yields its port."""
    command = [sys.executable, "-m", "benchmarks.unary", kind]
    with (folder / f"{kind}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / f"{kind}.log").read_text()
            pin(process.pid, 0)
            yield int(line)
        finally:
            process.kill()
            process.communicate()


def pin(pid: int, core: int) -> None:
    """Keep a process on one core where the system can: moving between cores is most of the noise."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(pid, {cores[core % len(cores)]})


async def load(port: int, calls: int) -> float:
    """Return the calls a second that one client gets."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        get = stubs.OperationServiceStub(channel).GetOperation
        request = pb.GetOperationRequest(operation_id=_ID)

        async def one_after_the_other(times: int) -> None:
            for _ in range(times):
                await get(request, metadata=_METADATA, timeout=30)

        await one_after_the_other(50)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(IN_FLIGHT):
                tasks.create_task(one_after_the_other(calls // IN_FLIGHT))
        return calls // IN_FLIGHT * IN_FLIGHT / (time.perf_counter() - began)


async def measured(kit: int, bare: int) -> tuple[float, float, float]:
    """Return the medians of both and of their ratio, over rounds in which they take turns.

    A slow moment of the machine hits both halves of a round, so the ratio of a round is steadier than its rates.
    """
    await load(kit, CALLS // 2)
    await load(bare, CALLS // 2)
    rounds = []
    for turn in range(ROUNDS):
        rates = {port: await load(port, CALLS) for port in ((kit, bare) if turn % 2 else (bare, kit))}
        rounds.append((rates[kit], rates[bare], rates[kit] / rates[bare]))
    ours, theirs, ratio = (statistics.median(column) for column in zip(*rounds, strict=True))
    return ours, theirs, ratio


def rows() -> list[dict[str, Any]]:
    """Return the rows of this benchmark."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        kit = stack.enter_context(server_process("kit", Path(folder)))
        bare = stack.enter_context(server_process("bare", Path(folder)))
        pin(0, 1)
        try:
            ours, theirs, ratio = uvloop.run(measured(kit, bare))
        finally:
            if affinity is not None:
                os.sched_setaffinity(0, affinity)
    return [
        {
            "issue": "foundation",
            "name": "unary calls through the service kit",
            "value": round(ours),
            "unit": "calls/s",
            "against": "bare grpc.aio server",
            "against_value": round(theirs),
            "ratio": round(ratio, 3),
            "bar": f">= {BAR}",
            "holds": ratio >= BAR,
        }
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["bare"]:
        uvloop.run(serve_bare())
    elif sys.argv[1:] == ["kit"]:
        uvloop.run(serve_kit())
    else:
        for row in rows():
            print(row)
