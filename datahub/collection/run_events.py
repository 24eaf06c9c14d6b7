"""What happens to runs, told as events, so that every fault of a source or of the house can be found afterwards."""

from __future__ import annotations

import datetime as dt
from typing import Any

from datahub.collection.runs import Failure, Outcome, RunState, Work
from datahub.store.run_table import BrokenOff
from quasar.ops.events import Events, Severity

IRREGULAR_ROWS = 10
"""Fewer rows that come again, as where pages of a vendor overlap, are noted on the attempt and are no event."""


async def answered(events: Events, connection: Any, work: Work, result: Outcome | Failure) -> None:
    """Tell of an answer with rows that came again or out of order."""
    if result.irregular >= IRREGULAR_ROWS:
        message = f"Provider {work.provider} sent {result.irregular} rows of a run again or out of order."
        data = {"attempt": work.attempt, "rows": result.irregular}
        await _record(events, connection, "RunAnswerIrregular", message, Severity.WARNING, work, data)


async def ended(events: Events, connection: Any, work: Work, outcome: Outcome) -> None:
    """Tell of a run that failed or left something missing; one that succeeded is no news."""
    if outcome.state is RunState.FAILED:
        why = outcome.failure.message if outcome.failure else "it could not be done"
        message = f"A run of provider {work.provider} failed: {why}"
        data = {"attempts": work.attempt, "slots_missing": outcome.slots_gap, **_stored(outcome.failure)}
        await _record(events, connection, "RunFailed", message, Severity.ERROR, work, data)
    elif outcome.state is RunState.PARTIAL and work.index_name:
        result = outcome.result or {}
        why = result.get("message") or f"{len(result.get('errors', ()))} of its constituents were refused."
        message = f"The index {work.index_name} of provider {work.provider} was not synced as a whole: {why}"
        data = {"index": work.index_name, **{name: result.get(name) for name in ("constituents", "added", "removed")}}
        await _record(events, connection, "RunIncomplete", message, Severity.WARNING, work, data)
    elif outcome.state is RunState.PARTIAL:
        message = f"A run of provider {work.provider} ended with {outcome.slots_gap} of {work.slots_total} bars missing"
        message += " or with rows held back; gaps are asked for again."
        data = {"slots_missing": outcome.slots_gap, "slots": work.slots_total}
        await _record(events, connection, "RunIncomplete", message, Severity.WARNING, work, data)


async def backed_off(events: Events, connection: Any, work: Work, failure: Failure, until: dt.datetime) -> None:
    """Tell of an attempt that failed and will be repeated."""
    message = f"Attempt {work.attempt} of a run of provider {work.provider} failed: {failure.message}"
    data = {"attempt": work.attempt, "next_attempt": until.isoformat(), **_stored(failure)}
    await _record(events, connection, "RunAttemptFailed", message, Severity.WARNING, work, data)


async def taken_over(events: Events, connection: Any, broken: BrokenOff) -> None:
    """Tell of a run whose worker went away in the midst of it."""
    work = broken.work
    message = f"A run of provider {work.provider} was broken off and goes on where it stopped."
    data = {"attempt": work.attempt, "former_worker": broken.worker, "worker": work.worker}
    await _record(events, connection, "RunTakenOver", message, Severity.WARNING, work, data)


async def _record(
    events: Events, connection: Any, kind: str, message: str, severity: Severity, work: Work, data: dict[str, Any]
) -> None:
    await events.record(
        connection,
        kind,
        message,
        subject_type="provider",
        subject_name=work.provider,
        severity=severity,
        data={"run": work.run_id, "kind": work.kind, **data},
    )


def _stored(failure: Failure | None) -> dict[str, Any]:
    return failure.stored if failure else {}
