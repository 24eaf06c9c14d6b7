"""Calls through the grpc-web gateway, against the same calls made directly, in turns.

The service and the gateway are processes of their own; one client loads both: over HTTP/1.1 with grpc-web frames, and
over gRPC. What is compared is the way, so the service only answers.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from benchmarks.unary import IN_FLIGHT, load, server_process
from grpc_gateway import framing
from quasar_proto.ops.v1 import operation_service_pb2 as pb

ROUNDS = 7
CALLS = 1500
_ID = "0191b6a0-0000-7000-8000-000000000001"
_PATH = "/quasar.ops.v1.OperationService/GetOperation"


@contextmanager
def gateway_process(target: int, folder: Path) -> Iterator[int]:
    """Run a gateway in front of a service; yields its port."""
    port = _free_port()
    settings = {"QUASAR_HOME": str(folder), "QUASAR_GATEWAY_PORT": str(port)}
    settings |= {f"QUASAR_{name}_ADDRESS": f"127.0.0.1:{target}" for name in ("REGISTRY", "DATAHUB", "STRATEGY")}
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "grpc_gateway"], env={**os.environ, **settings}, stdout=log, stderr=log
        )
        try:
            yield port
        finally:
            process.terminate()
            process.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def load_web(port: int, calls: int) -> float:
    """Return the calls a second that one browser-like client gets."""
    body = framing.data_frame(pb.GetOperationRequest(operation_id=_ID).SerializeToString())
    headers = {"Content-Type": "application/grpc-web+proto"}
    url = f"http://127.0.0.1:{port}{_PATH}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

        async def one_after_the_other(times: int) -> None:
            for _ in range(times):
                async with session.post(url, data=body, headers=headers) as answer:
                    await answer.read()

        await one_after_the_other(50)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(IN_FLIGHT):
                tasks.create_task(one_after_the_other(calls // IN_FLIGHT))
        return calls // IN_FLIGHT * IN_FLIGHT / (time.perf_counter() - began)


async def _ready(port: int) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/livez") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def _measured(gateway: int, direct: int) -> tuple[float, float, float]:
    await _ready(gateway)
    await load_web(gateway, CALLS // 3)
    await load(direct, CALLS // 3)
    rounds = []
    for _ in range(ROUNDS):
        ours, theirs = await load_web(gateway, CALLS), await load(direct, CALLS)
        rounds.append((ours, theirs, ours / theirs))
    web, plain, ratio = (statistics.median(column) for column in zip(*rounds, strict=True))
    return web, plain, ratio


def rows() -> list[dict[str, Any]]:
    """Return the rows of this benchmark."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        direct = stack.enter_context(server_process("bare", Path(folder)))
        gateway = stack.enter_context(gateway_process(direct, Path(folder)))
        web, plain, ratio = uvloop.run(_measured(gateway, direct))
    return [
        {
            "issue": "skeleton",
            "name": "unary calls through the grpc-web gateway",
            "value": round(web),
            "unit": "calls/s",
            "against": "the same calls made directly",
            "against_value": round(plain),
            "ratio": round(ratio, 3),
            "bar": None,
            "holds": None,
        }
    ]


if __name__ == "__main__":
    for row in rows():
        print(row)
