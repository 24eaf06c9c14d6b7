"""Discovery: asking sources for their symbols and merging what they answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace

from quasar.errors import QuasarError
from quasar.ops.events import Severity
from quasar.ops.operation_context import OperationContext
from registry.assets.merging import Merging
from registry.assets.rows import RejectedRow, RowReader
from registry.assets.sources import Source
from registry.assets.upstream import Upstream
from registry.ground import Ground, Happening
from registry.store import assets as table
from registry.store.assets import Merged
from registry.store.statements import SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """What became of one source."""

    source: Source
    received: int = 0
    merged: Merged = field(default_factory=Merged)
    vanished: int = 0
    rejected: int = 0
    rejections: Sequence[RejectedRow] = ()
    empty_answer: bool = False
    error: str = ""
    """Why the source could not be synced, with the reason first; empty when it was."""
    warnings: Sequence[str] = ()
    elapsed_s: float = 0.0

    @property
    def counts(self) -> dict[str, int]:
        """What events and progress tell."""
        return {
            "received": self.received,
            **asdict(self.merged),
            "vanished": self.vanished,
            "rejected": self.rejected,
        }


Progress = Callable[[int, int | None, float], None]
"""Told rows so far, rows in all when known, and seconds waited for rate limits."""


class Discovery:
    """Merges what sources say about their symbols."""

    def __init__(self, ground: Ground, upstream: Upstream) -> None:
        """Ask `upstream`, store on `ground`."""
        self._ground = ground
        self._upstream = upstream

    async def discover(self, context: OperationContext, source: Source, progress: Progress) -> Discovered:
        """Ask one source for its symbols and merge them. What is merged stays, whatever happens later.

        Raises:
            QuasarError: The source could not be asked, or broke off; then nothing is marked as vanished.
        """
        began = self._ground.clock.monotonic()
        merging = Merging(self._ground, source.code_id)
        async with merging.at_work(), aclosing(self._upstream.symbols(source)) as pages:
            async for page in pages:
                await merging.take(page.symbols)
                merging.note_errors(page.errors, page.error_count)
                progress(merging.reader.received, page.total, page.wait_s)
        found = await self._complete(context, source, merging)
        return replace(found, elapsed_s=self._ground.clock.monotonic() - began)

    async def _complete(self, context: OperationContext, source: Source, merging: Merging) -> Discovered:
        """Mark what the source did not mention and record the event, in one transaction."""
        reader, now = merging.reader, self._ground.clock.now()
        async with self._ground.database.transaction() as connection:
            await table.lock_source(connection, source.code_id)
            empty = not reader.seen
            vanished = 0
            if not empty:
                mentioned = reader.seen | reader.mentioned
                vanished = await table.vanish(connection, source.code_id, mentioned, now)
                await connection.execute(SQL["asset_synced"], source.code_id, context.operation.operation_id, now)
            had_any = bool(not reader.received and await connection.fetchval(SQL["asset_known_count"], source.code_id))
            found = Discovered(
                source=source,
                received=reader.received,
                merged=merging.merged,
                vanished=vanished,
                rejected=reader.rejected,
                rejections=tuple(reader.rejections),
                empty_answer=had_any,
                warnings=_warnings(reader),
            )
            await self._ground.record(connection, _synced(found), context.operation.actor)
            await self._ground.tell(connection, f"assets/{source.label}")
        return found

    async def failed(self, context: OperationContext, source: Source, error: QuasarError) -> Discovered:
        """Record that a source could not be synced."""
        reason = f"{error.reason}: {error.message}"
        happening = Happening(
            kind="AssetsSyncFailed",
            message=f"The assets of the {source.ref} were not synced: {error.message}",
            subject_type=str(source.ref.kind),
            subject_name=source.ref.name,
            data={"reason": error.reason},
            severity=Severity.ERROR,
        )
        async with self._ground.database.transaction() as connection:
            await self._ground.record(connection, happening, context.operation.actor)
        return Discovered(source=source, error=reason)


def _warnings(reader: RowReader) -> tuple[str, ...]:
    if not reader.strange_ids:
        return ()
    return (
        (
            f"{reader.strange_ids} identifiers were not taken, their symbols were: "
            "primary_id must be a FIGI or an ISIN, "
            f"was {reader.strange_id!r}"
        ),
    )


def _synced(found: Discovered) -> Happening:
    merged = found.merged
    message = (
        f"The {found.source.ref} listed {found.received} symbols: {merged.added} new, {merged.updated} changed, "
        f"{found.vanished} vanished, {found.rejected} not taken."
    )
    return Happening(
        kind="AssetsSynced",
        message=message,
        subject_type=str(found.source.ref.kind),
        subject_name=found.source.ref.name,
        data={**found.counts, "empty_answer": found.empty_answer},
        severity=Severity.WARNING if found.empty_answer or found.rejected else Severity.INFO,
    )
