"""Runs, attempts and jobs as messages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from google.rpc import error_details_pb2, status_pb2

from datahub.collection.runs import public_id
from datahub.rpc.series_messages import range_message, series_key
from datahub.series.series import SeriesName
from quasar.rpc.errors import CODE_OF_REASON, DOMAIN
from quasar.rpc.wellknown import duration, timestamp
from quasar_proto.datahub.v1 import collection_pb2 as pb
from quasar_proto.datahub.v1 import market_data_pb2


def run_message(row: Any) -> pb.Run:
    """Return the run that a row of `run_rows` holds."""
    message = pb.Run(
        run_id=public_id(row["run_id"]),
        job_id=job_name_of_run(row),
        kind=pb.JobKind.Value(f"JOB_KIND_{row['kind']}"),
        trigger=pb.RunTrigger.Value(f"RUN_TRIGGER_{row['trigger']}"),
        state=run_state(row["state"]),
        provider=row["provider"],
        index=row["index_name"],
        scheduled_time=timestamp(row["scheduled_for"]),
        batch_id=str(row["batch_id"] or ""),
        operation_id=str(row["operation_id"] or ""),
        attempt_count=row["attempts"],
        max_attempts=row["max_attempts"],
        next_attempt_time=timestamp(row["next_attempt_at"]),
        create_time=timestamp(row["created_at"]),
        start_time=timestamp(row["started_at"]),
        end_time=timestamp(row["finished_at"]),
        update_time=timestamp(row["updated_at"]),
        claimed_by=row["worker"] or "",
        lease_expire_time=timestamp(row["lease_until"]),
        counts=counts_message(row),
        resume_time=timestamp(row["watermark"]),
        cancel_requested=row["cancel_requested"] and row["finished_at"] is None,
    )
    if row["range_start"] is not None:
        message.range.CopyFrom(range_message(row["range_start"], row["range_end"]))
    if row["symbol"] is not None:
        name = SeriesName(row["series_provider"], row["symbol"], row["interval"])
        message.series.CopyFrom(market_data_pb2.SeriesInfo(series_id=row["series_id"], key=series_key(name)))
    if row["error"]:
        message.error.CopyFrom(status_message(row["error"]))
    if row["kind"] == "MAINTENANCE" and row["result"]:
        message.maintenance.CopyFrom(pb.MaintenanceResult(**row["result"]))
    if row["kind"] == "INDEX_SYNC" and row["result"]:
        message.index_sync.CopyFrom(pb.IndexSyncResult(**row["result"]))
    return message


def run_state(word: str) -> pb.RunState.ValueType:
    """Return the number of a state."""
    return pb.RunState.Value(f"RUN_STATE_{word}")


def counts_message(row: Any) -> pb.RunCounts:
    """Return what a run did, or the sum over runs."""
    return pb.RunCounts(
        fetched=int(row["fetched"]),
        inserted=int(row["inserted"]),
        updated=int(row["updated"]),
        unchanged=int(row["unchanged"]),
        quarantined=int(row["quarantined"]),
        received_bytes=int(row["bytes"]),
        vendor_calls=int(row["vendor_calls"]),
        rate_limit_wait=duration(float(row["wait_s"])),
        slots_done=int(row["slots_done"]),
        slots_total=int(row["slots_total"]),
        slots_gap=int(row["slots_gap"]),
    )


def attempt_message(row: Any) -> pb.RunAttempt:
    """Return the attempt that a row holds."""
    counts: Mapping[str, Any] = row["counts"]
    whole = dict.fromkeys(_COUNTS, 0) | dict(counts)
    message = pb.RunAttempt(
        attempt=row["attempt"],
        claimed_by=row["worker"],
        start_time=timestamp(row["started_at"]),
        end_time=timestamp(row["finished_at"]),
        counts=counts_message(whole),
        retry_after=duration(row["retry_after_s"]),
        log_lines=row["log_lines"],
    )
    if row["error"]:
        message.error.CopyFrom(status_message(row["error"]))
    return message


_COUNTS = (
    "fetched",
    "inserted",
    "updated",
    "unchanged",
    "quarantined",
    "bytes",
    "vendor_calls",
    "wait_s",
    "slots_done",
    "slots_total",
    "slots_gap",
)


def status_message(stored: Mapping[str, Any]) -> status_pb2.Status:
    """Return a stored failure as a status."""
    reason = stored.get("reason", "INTERNAL")
    code = CODE_OF_REASON.get(reason, CODE_OF_REASON["INTERNAL"])
    status = status_pb2.Status(code=code.value[0], message=stored.get("message", ""))
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=stored.get("metadata", {}))
    status.details.add().Pack(info)
    return status


def job_name(kind: str, provider: str, interval: str, index: str, cron: str, time_zone: str) -> str:
    """Return the name of a job outside."""
    if kind == "INDEX_SYNC":
        return f"index_sync/{provider}/{index}"
    if kind == "BARS":
        zone = "" if time_zone in ("", "UTC") else f"@{time_zone}"
        return f"bars/{provider}/{interval}/{cron}{zone}"
    return f"repair/{provider}" if kind == "REPAIR" else "maintenance/storage"


def job_name_of_run(row: Any) -> str:
    """Return the name of a run's job; empty when it has none."""
    if row["kind"] == "REPAIR" and row["trigger"] == "REPAIR":
        return job_name("REPAIR", row["provider"], "", "", "", "")
    if row["job_kind"] is None:
        return ""
    return job_name(
        row["job_kind"],
        row["job_provider"],
        row["job_interval"],
        row["job_index"],
        row["job_cron"],
        row["job_time_zone"],
    )


def job_message(row: Any) -> pb.Job:
    """Return the job that a row of `job_rows` holds."""
    message = pb.Job(
        job_id=row["name"],
        kind=pb.JobKind.Value(f"JOB_KIND_{row['kind']}"),
        state=pb.JobState.Value(f"JOB_STATE_{row['state']}"),
        provider=row["provider"],
        interval=row["interval"],
        index=row["index_name"],
        cron=row["cron"],
        time_zone=row["time_zone"],
        offset=duration(float(row["offset_s"])),
        series_count=row["series_count"],
        due_series_count=row["due_series_count"],
        next_fire_time=timestamp(row["next_fire_at"] if row["state"] == "SCHEDULED" else None),
        last_fire_time=timestamp(row["last_fire_at"]),
        misfire_grace=duration(float(row["misfire_s"])),
        active_runs=row["active_runs"],
    )
    for state, count in (row["last_states"] or {}).items():
        message.last_run_states.add(state=run_state(state), count=count)
    return message


def instant_or_none(message: Any) -> dt.datetime | None:
    """Return an optional time of a message; None when it is absent."""
    return message.ToDatetime(tzinfo=dt.UTC) if message.ByteSize() else None
