"""Composition root of the StrategyEngine: everything is built here, from the settings, and nothing at import."""

from __future__ import annotations

from contextlib import AsyncExitStack

from quasar.config import Settings
from quasar.rpc.ops.floor import lay
from quasar.rpc.server import RpcServer
from strategy_engine.rpc.contract import SERVICES


async def build(settings: Settings, stack: AsyncExitStack) -> RpcServer:
    """Return the server, not started; what was opened is closed with the stack."""
    floor = await lay(settings, stack)
    servicers: tuple[object, ...] = ()
    return floor.serve(servicers, contract=SERVICES)
