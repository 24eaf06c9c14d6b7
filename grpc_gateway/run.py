"""The life of the gateway's process: settings, log, start, stop on a signal."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack

from grpc_gateway import app
from grpc_gateway.config import GatewaySettings
from quasar import leash, logs
from quasar.environment import BadSetting


def main(variables: Mapping[str, str]) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    leash.hold(variables)
    try:
        settings = GatewaySettings.read(variables)
    except BadSetting as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    logs.configure(logs.LogOptions(service="gateway", level=settings.log.level, format=settings.log.format))
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings))
    except OSError as error:
        remedy = "Stop the program that uses it, or choose another port with QUASAR_GATEWAY_PORT."
        sys.stderr.write(f"The gateway cannot listen on {settings.host}:{settings.port}: {error.strerror}. {remedy}\n")
        return 1
    return 0


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.Loop


async def _serve(settings: GatewaySettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    async with AsyncExitStack() as stack:
        await app.start(settings, stack)
        await stopped.wait()
