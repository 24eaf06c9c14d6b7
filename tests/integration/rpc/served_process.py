"""A process that serves, for tests of how one starts and stops.

python -m tests.integration.rpc.served_process KIND PORT
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Any

from quasar import logs
from quasar.clock import SystemClock
from quasar.metrics import Metrics
from quasar.rpc.health import Health
from quasar.rpc.run import run, serve
from quasar.rpc.server import RpcServer, ServerSettings
from quasar_proto.ops.v1 import system_service_pb2 as pb
from tests.integration.rpc.harness import Service, Tokens

KIND, PORT = sys.argv[1], int(sys.argv[2])


def say(word: str) -> None:
    """Tell the test where the process is."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class Slow(Service):
    """A method that takes some seconds, so that it is in flight when the process is told to stop."""

    async def GetSystemInfo(self, request: Any, context: Any) -> pb.GetSystemInfoResponse:
        say("called")
        await asyncio.sleep(3.0 if KIND != "stuck" else 60.0)
        return pb.GetSystemInfoResponse()


async def crash() -> None:
    """Fail a moment after the start."""
    await asyncio.sleep(0.1)
    raise ValueError("the scheduler broke")


async def build(stack: AsyncExitStack) -> RpcServer:
    """Build the server that the test asked for."""
    stack.callback(say, "closed")
    say("building")
    if KIND == "hangs":
        await asyncio.Event().wait()
    clock = SystemClock()
    if KIND == "crashes":
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        tasks.create_task(crash())
    server = RpcServer(
        ServerSettings(port=PORT, drain_grace_s=30),
        service="registry",
        authenticator=Tokens(),
        health=Health(clock),
        clock=clock,
        metrics=Metrics("registry", clock),
    )
    server.add(Slow())  # type: ignore[abstract]  # one method is enough
    return server


async def main() -> int:
    """Serve."""
    logs.configure(logs.LogOptions(service="registry", format="json"))
    return await serve(build)


if __name__ == "__main__":
    sys.exit(run(main()))
