"""Repairs that somebody asked for: runs for gaps, followed by one operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datahub.collection.steering import Steering
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.ops.operation_context import OperationContext

KIND = "gaps.repair"
LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What became of gaps."""

    gaps: int = 0
    repaired: int = 0
    partial: int = 0
    unrepairable: int = 0
    slots_repaired: int = 0
    slots_borrowed: int = 0


class GapRepairs:
    """Does operations of kind `gaps.repair`."""

    def __init__(self, database: Database, steering: Steering, clock: Clock) -> None:
        """Make runs with `steering`; workers do them."""
        self._database = database
        self._steering = steering
        self._clock = clock

    async def run(self, context: OperationContext) -> Repaired:
        """Make runs for the gaps of an operation, once, and follow them until none is being repaired."""
        gap_ids = [int(each) for each in context.request["gaps"]]
        if not context.checkpoint:
            before = {row["gap_id"]: row["missing_slots"] for row in await self._gaps(gap_ids)}
            own_only = bool(context.request.get("own_provider_only"))
            await self._steering.repair(gap_ids, own_provider_only=own_only)
            await context.save({"before": {str(gap): slots for gap, slots in before.items()}})
        before_slots: Mapping[str, int] = context.checkpoint["before"]
        while True:
            rows = await self._gaps(gap_ids)
            active = [row for row in rows if row["state"] == "REPAIRING"]
            context.progress("repairing", done=len(rows) - len(active), total=len(rows), unit="gaps")
            if not active:
                return _result(rows, before_slots)
            await self._clock.sleep(LOOK_S)

    async def _gaps(self, gap_ids: list[int]) -> list[Any]:
        return await self._database.fetch(SQL["gaps_by_ids"], gap_ids)


def _result(rows: list[Any], before: Mapping[str, int]) -> Repaired:
    repaired = partial = slots = borrowed = 0
    for row in rows:
        was = before.get(str(row["gap_id"]), row["missing_slots"])
        filled = was if row["state"] == "REPAIRED" else was - row["missing_slots"]
        slots += filled
        repaired += row["state"] == "REPAIRED"
        partial += row["state"] != "REPAIRED" and filled > 0
        borrowed += filled if row["repaired_from"] not in ("", row["provider"]) else 0
    return Repaired(
        gaps=len(rows),
        repaired=repaired,
        partial=partial,
        unrepairable=sum(row["state"] == "UNREPAIRABLE" for row in rows),
        slots_repaired=slots,
        slots_borrowed=borrowed,
    )
