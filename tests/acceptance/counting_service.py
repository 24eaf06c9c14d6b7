"""A service with one kind of operation, `count`, that takes its time and keeps a checkpoint; run as a process."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack

from quasar.config import Settings
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import OperationResult
from quasar.rpc.ops.floor import lay
from quasar.rpc.ops.process import main
from quasar.rpc.server import RpcServer
from registry.config import read_settings

STEP_S = 0.01


async def count(context: OperationContext) -> OperationResult:
    """Count to `to`, a step at a time."""
    start = int(context.checkpoint.get("done", 0))
    for number in range(start + 1, context.request["to"] + 1):
        await asyncio.sleep(STEP_S)
        await context.save({"done": number})
        context.progress("counting", done=number, total=context.request["to"], unit="numbers")
    return OperationResult({"resumed_after": start})


async def build(settings: Settings, stack: AsyncExitStack) -> RpcServer:
    """Return the server."""
    floor = await lay(settings, stack)
    floor.runner.register("count", count)
    return floor.serve(())


if __name__ == "__main__":
    sys.exit(main(read_settings, build, os.environ))
