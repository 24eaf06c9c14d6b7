"""The part of the contract that every plug-in serves: what it is, its settings, how it is, its log."""

from __future__ import annotations

from typing import Final

from quasar.convert.manifest import manifest_to_proto, value_to_plain
from quasar.plugins.host.journal import Line
from quasar.plugins.host.runtime import Runtime
from quasar.plugins.manifest import Kind
from quasar.plugins.serving import Rpc
from quasar_proto.plugin.v1 import plugin_pb2

_CONTRACT: Final = 1


class PluginService:
    """Serves `quasar.plugin.v1.Plugin`."""

    def __init__(self, runtime: Runtime) -> None:
        """Serve one plug-in."""
        self._runtime = runtime

    async def Describe(self, request: plugin_pb2.DescribeRequest, rpc: Rpc) -> plugin_pb2.DescribeResponse:
        """Say what the plug-in is; needs no settings."""
        found, manifest = self._runtime.found, self._runtime.manifest
        assert manifest is not None
        answer = plugin_pb2.DescribeResponse(
            manifest=manifest_to_proto(manifest),
            contract_version=min(_CONTRACT, request.contract_version),
            symbols_per_connection=int(getattr(found, "symbols_per_connection", 0)),
            max_live_streams=int(getattr(found, "max_live_streams", 0)),
        )
        if manifest.kind is not Kind.STRATEGY:
            own_client = bool(getattr(found, "own_client", False))
            answer.permit_mode = (
                plugin_pb2.PERMIT_MODE_HOST_CHARGES if own_client else plugin_pb2.PERMIT_MODE_PLUGIN_ACQUIRES
            )
        return answer

    async def Configure(self, request: plugin_pb2.ConfigureRequest, rpc: Rpc) -> plugin_pb2.ConfigureResponse:
        """Put settings in force."""
        preferences = {name: value_to_plain(value) for name, value in request.preferences.fields.items()}
        restart = await self._runtime.configure(dict(request.secrets), preferences, request.host.validating)
        self._runtime.generation = request.generation
        return plugin_pb2.ConfigureResponse(generation=request.generation, needs_restart=restart)

    async def Health(self, request: plugin_pb2.HealthRequest, rpc: Rpc) -> plugin_pb2.HealthResponse:
        """Say how the plug-in is."""
        runtime = self._runtime
        waiting = sum(buffer() for buffer in runtime.buffers.values())
        answer = plugin_pb2.HealthResponse(in_flight=runtime.in_flight, buffered_bytes=waiting)
        answer.loop_lag.FromNanoseconds(int(runtime.lag_s * 1e9))
        if runtime.stopping.is_set():
            answer.state = plugin_pb2.PLUGIN_STATE_STOPPING
        elif runtime.generation:
            answer.state = plugin_pb2.PLUGIN_STATE_READY
        else:
            answer.state = plugin_pb2.PLUGIN_STATE_UNCONFIGURED
        return answer

    async def Shutdown(self, request: plugin_pb2.ShutdownRequest, rpc: Rpc) -> plugin_pb2.ShutdownResponse:
        """Begin to end the process."""
        self._runtime.stop(request.grace.ToNanoseconds() / 1e9)
        return plugin_pb2.ShutdownResponse()

    async def StreamLogs(self, request: plugin_pb2.StreamLogsRequest, rpc: Rpc) -> None:
        """Stream what the code logs and prints."""
        sequence = request.after_sequence
        while True:
            lines, dropped = await self._runtime.journal.after(sequence)
            if not lines and not dropped:
                return
            await rpc.write(plugin_pb2.StreamLogsResponse(lines=[_to_proto(line) for line in lines], dropped=dropped))
            sequence = lines[-1].sequence if lines else sequence


def _to_proto(line: Line) -> plugin_pb2.PluginLogLine:
    return plugin_pb2.PluginLogLine(
        sequence=line.sequence,
        time_ns=line.time_ns,
        level=line.level,
        logger=line.logger,
        message=line.message,
        work_id=line.work_id,
        place=line.place,
        traceback=line.traceback,
    )
