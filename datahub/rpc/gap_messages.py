"""Gaps as messages."""

from __future__ import annotations

from typing import Any

from datahub.collection.runs import public_id
from datahub.rpc.series_messages import series_key
from datahub.series.series import SeriesName
from quasar.model.instants import to_ns
from quasar.rpc.wellknown import timestamp
from quasar_proto.datahub.v1 import gap_pb2 as pb


def gap_message(row: Any) -> pb.Gap:
    """Return the gap that a row holds; the row has `provider`, `symbol` and `interval` of its series beside its own."""
    end = row["end_time"]
    return pb.Gap(
        gap_id=str(row["gap_id"]),
        series_id=row["series_id"],
        key=series_key(SeriesName(row["provider"], row["symbol"], row["interval"])),
        start_time_ns=to_ns(row["start_time"]) + row["start_ns"],
        end_time_ns=0 if end is None else to_ns(end) + row["end_ns"],
        missing_slots=row["missing_slots"],
        state=pb.GapState.Value(f"GAP_STATE_{row['state']}"),
        cause=pb.GapCause.Value(f"GAP_CAUSE_{row['cause'] or 'UNSPECIFIED'}"),
        evidence="; ".join(f"{each.get('time', '')} {each.get('answer', '')}".strip() for each in row["evidence"]),
        attempts=row["attempts"],
        next_attempt_time=timestamp(row["next_attempt_at"]),
        detect_time=timestamp(row["detected_at"]),
        update_time=timestamp(row["updated_at"]),
        repaired_from=row["repaired_from"],
        run_id=public_id(row["run_id"]) if row["run_id"] else "",
    )
