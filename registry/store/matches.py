"""What a run of the matcher writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quasar.database.pool import encode_json
from registry.matching.decisions import PROPOSED, TAKEN, Decision
from registry.store.proposals import document
from registry.store.statements import SQL

_COLUMNS = (
    "asset_id",
    "outcome",
    "cause",
    "identity_id",
    "method",
    "confidence",
    "reason",
    "best",
    "runner_up",
    "further",
)


async def stage(connection: Any, decisions: Iterable[Decision]) -> None:
    """Put the decisions of a run in a table of the transaction."""
    await connection.execute(SQL["match_stage"])
    await connection.copy_records_to_table("match_results", records=map(_record, decisions), columns=_COLUMNS)
    await connection.execute(SQL["match_analyze_staged"])


def _record(decision: Decision) -> tuple[Any, ...]:
    best = decision.best if decision.outcome in (TAKEN, PROPOSED) else None
    if best is None:
        return (decision.asset_id, decision.outcome, "", "", "", None, "", None, None, 0)
    proposed = decision.outcome == PROPOSED
    return (
        decision.asset_id,
        decision.outcome,
        decision.cause,
        best.target.identity_id,
        best.method,
        best.confidence,
        best.reason,
        encode_json(document(best)) if proposed else None,
        encode_json(document(decision.runner_up)) if decision.runner_up else None,
        decision.further,
    )
