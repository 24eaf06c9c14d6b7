"""`quasar.ops.v1.SystemService`: what a service says of itself, and the tokens."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from quasar.clock import Clock
from quasar.errors import DatabaseUnavailable, FailedPrecondition
from quasar.log_ring import LogRing
from quasar.metrics import Metrics
from quasar.ops.identity import Identity
from quasar.ops.plugin_processes import PluginProcesses, no_plugin_processes
from quasar.ops.roles import Role
from quasar.ops.schema_report import SchemaReport
from quasar.ops.tokens import Tokens
from quasar.rpc.context import current_call
from quasar.rpc.health import Health
from quasar.rpc.ops import system_messages
from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.ops.streams import until_drained
from quasar.rpc.wellknown import seconds, timestamp
from quasar_proto.ops.v1 import system_service_pb2 as pb
from quasar_proto.ops.v1 import system_service_pb2_grpc

METRICS_INTERVAL_S = 2.0
LOG_HEARTBEAT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemParts:
    """What `SystemService` tells of."""

    identity: Identity
    health: Health
    metrics: Metrics
    log: LogRing
    schema: SchemaReport
    clock: Clock
    draining: asyncio.Event
    """Set when the server begins to stop."""
    tokens: Tokens | None = None
    """The tokens, in the service that keeps them (the Registry)."""
    plugin_processes: PluginProcesses = no_plugin_processes


class SystemService(system_service_pb2_grpc.SystemServiceServicer):
    """Tells of one process."""

    def __init__(self, parts: SystemParts) -> None:
        """Tell of `parts`."""
        self._parts = parts

    async def GetSystemInfo(self, request: pb.GetSystemInfoRequest, context: Any) -> pb.GetSystemInfoResponse:
        """Return version, uptime, parts, storage and features."""
        parts = self._parts
        try:
            storage = await parts.schema.storage()
        except DatabaseUnavailable:
            storage = None  # the part "database" says so, and that is what an operator needs to see now
        info = system_messages.system_info(parts.identity, parts.health, storage, parts.clock.monotonic())
        return pb.GetSystemInfoResponse(system_info=info)

    async def GetCaller(self, request: pb.GetCallerRequest, context: Any) -> pb.GetCallerResponse:
        """Return who is calling."""
        caller = current_call().caller
        assert caller is not None
        return pb.GetCallerResponse(
            principal=caller.principal,
            role=caller.role,  # type: ignore[arg-type]  # enum values travel as plain integers
            expire_time=timestamp(caller.expire_time),
        )

    async def WatchMetrics(
        self, request: pb.WatchMetricsRequest, context: Any
    ) -> AsyncGenerator[pb.WatchMetricsResponse, None]:
        """Stream load and throughput."""
        interval = seconds(request.interval) if request.HasField("interval") else METRICS_INTERVAL_S

        async def samples() -> AsyncGenerator[pb.WatchMetricsResponse, None]:
            while True:
                sample = self._parts.metrics.sample()
                yield pb.WatchMetricsResponse(metrics=system_messages.system_metrics(sample))
                await self._parts.clock.sleep(interval)

        async with aclosing(until_drained(samples(), self._parts.draining)) as messages:
            async for message in messages:
                yield message

    async def WatchLogs(self, request: pb.WatchLogsRequest, context: Any) -> AsyncGenerator[pb.WatchLogsResponse, None]:
        """Stream the last lines of the log, then new ones."""
        service, level = self._parts.identity.service, request.min_level or "info"

        async def lines() -> AsyncGenerator[pb.WatchLogsResponse, None]:
            log = self._parts.log
            position = log.last_sequence
            earlier = log.tail(request.tail, level, request.contains) if request.tail else ()
            if earlier:
                position = max(position, earlier[-1].sequence)
            yield system_messages.log_lines(service, earlier)
            async for batch in log.watch(position, level, request.contains):
                yield system_messages.log_lines(service, batch.records, batch.dropped)

        watched = until_drained(
            lines(), self._parts.draining, heartbeat=pb.WatchLogsResponse, heartbeat_s=LOG_HEARTBEAT_S
        )
        async with aclosing(watched):
            async for message in watched:
                yield message

    async def ListPluginProcesses(
        self, request: pb.ListPluginProcessesRequest, context: Any
    ) -> pb.ListPluginProcessesResponse:
        """List the processes of uploaded and built-in code, by name."""
        processes = sorted(await self._parts.plugin_processes(), key=lambda each: (each.name, each.pid))
        return pb.ListPluginProcessesResponse(processes=[system_messages.plugin_process(each) for each in processes])

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Any) -> pb.CreateTokenResponse:
        """Create a token."""
        lifetime = dt.timedelta(seconds=seconds(request.lifetime)) if request.HasField("lifetime") else None
        token, bearer = await self._tokens().create(
            request.name, Role(request.role), actor=calling_actor(), lifetime=lifetime
        )
        return pb.CreateTokenResponse(token=system_messages.token(token), bearer=bearer)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        """List tokens without their secrets."""
        tokens, following = await self._tokens().list(
            page_size=request.page_size, page_token=request.page_token, include_inactive=request.include_inactive
        )
        return pb.ListTokensResponse(tokens=[system_messages.token(each) for each in tokens], next_page_token=following)

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Any) -> pb.RevokeTokenResponse:
        """Revoke a token for good."""
        token = await self._tokens().revoke(request.token, actor=calling_actor())
        return pb.RevokeTokenResponse(token=system_messages.token(token))

    def _tokens(self) -> Tokens:
        if self._parts.tokens is None:
            service = self._parts.identity.service
            raise FailedPrecondition(
                f"Tokens are kept by the registry; call its SystemService instead of that of the {service}.",
                metadata={"service": "registry"},
            )
        return self._parts.tokens
