"""Providers at run time as messages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from datahub.providers.entry import ProviderEntry
from datahub.providers.runtime import ProviderRuntime
from quasar.convert.manifest import manifest_to_proto
from quasar.model.instants import from_ns
from quasar.ops.plugin_processes import PluginProcess, PostureItem, ProcessState
from quasar.plugins.handover import Fitness
from quasar.plugins.keeper import KeeperState
from quasar.plugins.permits import Budget
from quasar.plugins.pool import ProcessView
from quasar.rpc.errors import to_status
from quasar.rpc.ops.system_messages import plugin_process
from quasar.rpc.wellknown import duration, instant, timestamp
from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.datahub.v1 import collection_pb2
from quasar_proto.datahub.v1 import provider_pb2 as pb

_STATES = {
    KeeperState.STARTING: ProcessState.STARTING,
    KeeperState.RUNNING: ProcessState.SERVING,
    KeeperState.SWAPPING: ProcessState.SERVING,
    KeeperState.BACKING_OFF: ProcessState.DEGRADED,
    KeeperState.FAILED: ProcessState.NOT_SERVING,
    KeeperState.STOPPED: ProcessState.NOT_SERVING,
}

_SERVING = (KeeperState.RUNNING, KeeperState.SWAPPING)
_FITNESS = {Fitness.DEGRADED: ProcessState.DEGRADED, Fitness.UNAVAILABLE: ProcessState.NOT_SERVING}


def provider_message(
    entry: ProviderEntry,
    runtime: ProviderRuntime,
    *,
    pause: Any | None,
    figures: Any | None,
    missing: Sequence[str],
    instance_id: str,
    now_ns: int,
) -> pb.Provider:
    """Return a provider and how it runs at a time."""
    view = runtime.process(entry.name)
    handle = runtime.running(entry.name)
    state, detail = _state(view, missing)
    failed = runtime.start_failure(entry.name)
    if failed is not None and state == pb.PROVIDER_STATE_IDLE:
        state, detail = pb.PROVIDER_STATE_FAILED, failed[0].message
    message = pb.Provider(
        name=entry.name,
        version=entry.version,
        sha256="" if entry.built_in else entry.sha256,
        built_in=entry.built_in,
        manifest=manifest_to_proto(entry.manifest),
        state=state,
        detail=detail,
        missing_settings=missing,
        instance_id=instance_id if view is not None else "",
    )
    if view is not None:
        message.process.CopyFrom(plugin_process(process_of(view)))
        message.memory_limit_bytes = view.memory_limit_bytes
        message.cpu_share = view.cpu_share
        message.state_since.FromNanoseconds(view.state_since_ns)
        if view.next_start_ns:
            message.next_start_time.FromNanoseconds(view.next_start_ns)
        if view.last_failure is not None:
            message.error.CopyFrom(to_status(view.last_failure, ""))
            message.error_time.FromNanoseconds(view.last_failure_ns)
    if failed is not None and failed[1] > message.error_time.ToNanoseconds():
        message.error.CopyFrom(to_status(failed[0], ""))
        message.error_time.FromNanoseconds(failed[1])
    if handle is not None:
        message.budget.CopyFrom(budget_message(handle.budget, now_ns))
    if pause is not None:
        message.pause.CopyFrom(pause_message(pause, waiting=figures["waiting"] if figures is not None else 0))
    if figures is not None:
        message.series_count, message.symbol_count = figures["series"], figures["symbols"]
        message.active_runs = figures["runs"]
        if figures["last_row"] is not None:
            message.last_row_time.FromDatetime(figures["last_row"])
    return message


def _state(view: ProcessView | None, missing: Sequence[str]) -> tuple[pb.ProviderState.ValueType, str]:
    if view is None or view.state is KeeperState.STOPPED:
        detail = f"settings must be stored before it can run: {', '.join(missing)}" if missing else ""
        return pb.PROVIDER_STATE_IDLE, detail
    detail = view.condition.detail if view.state in _SERVING else view.last_exit
    return pb.ProviderState.Value(f"PROVIDER_STATE_{view.state.value}"), detail


def process_of(view: ProcessView) -> PluginProcess:
    """Return a process as the system service shows it."""
    return PluginProcess(
        name=view.name,
        kind=view.kind.value,
        version=view.version,
        pid=view.pid,
        state=_FITNESS.get(view.condition.fitness, _STATES[view.state])
        if view.state in _SERVING
        else _STATES[view.state],
        memory_bytes=view.memory_bytes,
        cpu_seconds=view.cpu_seconds,
        restarts=view.restarts,
        start_time=from_ns(view.start_time_ns),
        last_exit=view.last_exit,
        posture=tuple(PostureItem(each.measure, each.enforced, each.detail) for each in view.posture),
    )


def budget_message(budget: Budget, now_ns: int) -> pb.RateLimitBudget:
    """Return what is left of a provider's limits at a time."""
    message = pb.RateLimitBudget(
        in_flight=budget.in_flight,
        concurrency=budget.concurrency,
        waiting=budget.waiting,
        expected_wait=duration(budget.expected_wait_s),
        throttle_count=budget.throttle_count,
    )
    if budget.throttled_for_s:
        message.throttled_until_time.FromNanoseconds(now_ns + int(budget.throttled_for_s * 1e9))
    for (limit, left), reset_s in zip(budget.remaining, budget.reset_s, strict=True):
        state = message.limits.add(remaining=left)
        state.limit.CopyFrom(code_pb2.RateLimit(calls=limit.calls, window=duration(limit.window_s), burst=limit.burst))
        state.reset_time.FromNanoseconds(now_ns + int(reset_s * 1e9))
    return message


def pause_message(row: Any, *, waiting: int, paused: bool = True) -> collection_pb2.ProviderPause:
    """Return a pause, or one that has ended."""
    message = collection_pb2.ProviderPause(
        provider=row["provider"],
        paused=paused,
        reason=row["reason"],
        pause_time=timestamp(row["paused_at"]),
        resume_time=timestamp(row["resume_at"]),
        waiting_runs=waiting,
    )
    who = row["paused_by"]
    if who:
        message.actor.CopyFrom(
            values_pb2.Actor(
                principal=who.get("principal", ""), role=who.get("role", 0), request_id=who.get("request_id", "")
            )
        )
    return message


def end_of(message: Any, default: dt.datetime) -> dt.datetime:
    """Return an optional time of a message."""
    return instant(message) if message.ByteSize() else default
