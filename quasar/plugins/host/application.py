"""Composes the process of a plug-in: sockets, second step of the jail, the author's class, the services."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from quasar.clock import SystemClock
from quasar.plugins.host.journal import Journal
from quasar.plugins.host.permits import HostPermits
from quasar.plugins.host.plugin_service import PluginService
from quasar.plugins.host.runtime import Runtime
from quasar.plugins.jail import seccomp
from quasar.plugins.jail.confinement import seal
from quasar.plugins.jail.posture import PostureItem, tell_posture
from quasar.plugins.jail.spec import Spec
from quasar.plugins.manifest import Kind
from quasar.plugins.serving import handler
from quasar.sdk.context import Context
from quasar_proto.plugin.v1 import broker_pb2, plugin_pb2, provider_pb2, strategy_pb2

if TYPE_CHECKING:
    from quasar.sdk.wire import Wire

_MIB: Final = 1024 * 1024
_FOREVER_MS: Final = 2**31 - 1
CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 16 * _MIB),
    ("grpc.max_send_message_length", -1),
    # Nobody can connect anew once the jail is sealed, so an idle connection has to stay.
    ("grpc.client_idle_timeout_ms", _FOREVER_MS),
    ("grpc.enable_retries", 0),
)


def run(spec: Spec, posture: list[PostureItem]) -> None:
    """Serve until the service ends this process."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(spec, posture))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop; None: the usual one.

    uvloop spends less on each wake-up. Where the kernel has io_uring it waits on a ring, whatever its settings
    are, and aborts once the jail forbids that; so rings are forbidden before there is a loop.
    """
    try:
        import uvloop
    except ImportError:
        return None
    if seccomp.supported():
        try:
            seccomp.forbid_rings()
        except OSError:
            return None
    return uvloop.new_event_loop


async def serve(spec: Spec, posture: list[PostureItem]) -> None:
    """Serve one plug-in."""
    clock = SystemClock()
    context = Context(name=spec.name, clock=clock, random=random.Random(), scratch=Path(spec.scratch))  # noqa: S311
    journal = Journal(clock.time_ns, context.redact)
    async with grpc.aio.insecure_channel(f"unix:{spec.host_socket}", options=CHANNEL_OPTIONS) as channel:
        await asyncio.wait_for(channel.channel_ready(), 10.0)
        server = grpc.aio.server(options=CHANNEL_OPTIONS)
        context.permits = HostPermits(channel)
        context.wire = _wire(spec, context)
        runtime = Runtime(spec, context, journal)
        plugin = PluginService(runtime)
        server.add_generic_rpc_handlers((_service(plugin_pb2, "Plugin", plugin, context.redact),))
        server.add_generic_rpc_handlers((_SERVICES[Kind(spec.kind)](runtime),))
        server.add_insecure_port(f"unix:{spec.socket}")
        tell_posture([*posture, *seal(spec)])
        journal.attach()
        runtime.load()
        await server.start()
        async with asyncio.TaskGroup() as group:
            beat = group.create_task(runtime.beat())
            watch = group.create_task(_watch(channel, runtime))
            await runtime.stopping.wait()
            await runtime.close()
            await server.stop(0.2)
            beat.cancel()
            watch.cancel()
    if context.wire is not None:
        context.wire.close()
    os._exit(0)  # threads that the author's code left behind must not keep the process


def _wire(spec: Spec, context: Context) -> Wire | None:
    """Return what keeps or plays back the vendor's traffic; None on the platform."""
    if spec.wire == "record":
        from quasar.sdk.recording import FILE, Recorder

        return Recorder(Path(spec.scratch) / FILE, lambda: context.secrets.values(), context.clock.monotonic)
    if spec.wire:
        from quasar.sdk.wire import Detour

        return Detour(int(spec.wire.partition(":")[2]))
    return None


async def _watch(channel: grpc.aio.Channel, runtime: Runtime) -> None:
    """End this process when the service's socket closes."""
    state = channel.get_state()
    await channel.wait_for_state_change(state)
    runtime.stop(0.0)


def _service(module: Any, name: str, servicer: object, redact: Callable[[str], str]) -> grpc.GenericRpcHandler:
    return handler(module.DESCRIPTOR.services_by_name[name], servicer, redact)


def _provider(runtime: Runtime) -> grpc.GenericRpcHandler:
    from quasar.plugins.host.provider_service import ProviderService

    return _service(provider_pb2, "ProviderPlugin", ProviderService(runtime), runtime.context.redact)


def _strategy(runtime: Runtime) -> grpc.GenericRpcHandler:
    from quasar.plugins.host.strategy_service import StrategyService

    return _service(strategy_pb2, "StrategyPlugin", StrategyService(runtime), runtime.context.redact)


def _broker(runtime: Runtime) -> grpc.GenericRpcHandler:
    from quasar.plugins.host.broker_service import BrokerService

    return _service(broker_pb2, "BrokerPlugin", BrokerService(runtime), runtime.context.redact)


_SERVICES: Final = {Kind.PROVIDER: _provider, Kind.STRATEGY: _strategy, Kind.BROKER: _broker}
