"""What `SystemService` answers, from the values that tell it."""

from __future__ import annotations

from collections.abc import Sequence

from quasar.log_ring import LogRecord
from quasar.metrics import Sample
from quasar.ops.identity import Identity
from quasar.ops.plugin_processes import PluginProcess
from quasar.ops.schema_report import StorageReport
from quasar.ops.tokens import Token
from quasar.rpc.health import Health
from quasar.rpc.wellknown import duration, struct, timestamp, timestamp_ns
from quasar_proto.common.v1 import values_pb2
from quasar_proto.ops.v1 import system_pb2
from quasar_proto.ops.v1 import system_service_pb2 as pb

_ENGINES = {
    "postgresql": system_pb2.STORAGE_ENGINE_POSTGRESQL,
    "timescaledb": system_pb2.STORAGE_ENGINE_TIMESCALEDB,
}
_KINDS = {
    "provider": values_pb2.CODE_KIND_PROVIDER,
    "broker": values_pb2.CODE_KIND_BROKER,
    "strategy": values_pb2.CODE_KIND_STRATEGY,
}


def system_info(
    identity: Identity, health: Health, storage: StorageReport | None, monotonic: float
) -> system_pb2.SystemInfo:
    """Return what a service says of itself."""
    parts = [
        system_pb2.PartHealth(
            name=part.name,
            state=int(part.state),  # type: ignore[arg-type]  # enum values travel as plain integers
            detail=part.detail,
            since=timestamp(part.since),
        )
        for part in health.parts()
    ]
    return system_pb2.SystemInfo(
        service=identity.service,
        version=identity.version,
        instance_id=identity.instance_id,
        start_time=timestamp(identity.start_time),
        uptime=duration(monotonic - identity.started),
        pid=identity.pid,
        host=identity.host,
        state=int(health.state()),  # type: ignore[arg-type]  # enum values travel as plain integers
        parts=parts,
        storage=_storage(storage) if storage is not None else None,
        features=identity.features,
        runtime=identity.runtime,
    )


def _storage(report: StorageReport) -> system_pb2.StorageInfo:
    return system_pb2.StorageInfo(
        engine=_ENGINES[report.mode.engine],
        postgresql_version=report.mode.server_version,
        timescaledb_version=report.mode.extension_version,
        embedded=report.embedded,
        size_bytes=report.size_bytes,
        migration=report.migration,
        features=sorted(report.mode.features),
    )


def system_metrics(sample: Sample) -> system_pb2.SystemMetrics:
    """Return the figures of one moment."""
    return system_pb2.SystemMetrics(
        time=timestamp(sample.time),
        memory_bytes=sample.memory_bytes,
        cpu_share=sample.cpu_share,
        calls_in_flight=sample.calls_in_flight,
        calls_per_second=sample.calls_per_second,
        error_share=sample.error_share,
        latency_p50_seconds=sample.latency_p50_seconds,
        latency_p99_seconds=sample.latency_p99_seconds,
        loop_lag_seconds=sample.loop_lag_seconds,
        gauges=sample.gauges,
    )


def log_lines(service: str, records: Sequence[LogRecord], dropped: int = 0) -> pb.WatchLogsResponse:
    """Return some lines of the log."""
    lines = [
        system_pb2.LogRecord(
            time=timestamp_ns(record.time_ns),
            service=service,
            level=record.level,
            event=record.event,
            logger=record.logger,
            request_id=record.request_id,
            fields=struct(record.fields),
            sequence=record.sequence,
        )
        for record in records
    ]
    return pb.WatchLogsResponse(records=lines, dropped=dropped)


def plugin_process(process: PluginProcess) -> system_pb2.PluginProcess:
    """Return how a process of uploaded or built-in code is held."""
    posture = [
        system_pb2.PostureItem(measure=item.measure, enforced=item.enforced, detail=item.detail)
        for item in process.posture
    ]
    return system_pb2.PluginProcess(
        name=process.name,
        kind=_KINDS[process.kind],
        version=process.version,
        pid=process.pid,
        state=int(process.state),  # type: ignore[arg-type]  # enum values travel as plain integers
        memory_bytes=process.memory_bytes,
        cpu_seconds=process.cpu_seconds,
        restarts=process.restarts,
        start_time=timestamp(process.start_time),
        last_exit=process.last_exit,
        posture=posture,
    )


def token(found: Token) -> system_pb2.Token:
    """Return a token without its secret."""
    return system_pb2.Token(
        token_id=str(found.token_id),
        name=found.name,
        role=int(found.role),  # type: ignore[arg-type]  # enum values travel as plain integers
        create_time=timestamp(found.create_time),
        created_by=found.created_by,
        expire_time=timestamp(found.expire_time),
        last_used_time=timestamp(found.last_used_time),
        revoke_time=timestamp(found.revoke_time),
    )
