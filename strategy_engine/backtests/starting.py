"""Begins back-tests: finds the code, records what is asked, and has it done as an operation."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from quasar.clock import Clock
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from quasar.ops.operations import Operation, Operations
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind
from strategy_engine.backtests.records import Document
from strategy_engine.backtests.runner import KIND
from strategy_engine.store.backtest_table import BacktestRow, BacktestTable, NewBacktest
from strategy_engine.strategies.directory import StrategyDirectory
from strategy_engine.strategies.parameters import completed

_REQUESTS: Final = uuid.UUID("5c4f0f0e-5bb0-4d56-9d0c-4c8f4f6c7a11")
"""Name space of the ids of back-tests that were begun with a request id: a repetition finds the same one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A back-test that somebody asks for."""

    strategy: str
    """Empty with inline source."""
    version: int
    source: bytes
    file_name: str
    parameters: Mapping[str, Any]
    universe: Document
    terms: Document
    display_name: str
    labels: Mapping[str, str]
    request_id: str
    fingerprint: str
    """SHA-256 of the request."""
    actor: Actor | None


@dataclass(frozen=True, slots=True)
class Found:
    """The code that is to run."""

    code: CodeVersion
    sha256: str
    parameters: Mapping[str, Any]
    """Defaults included."""


class BacktestStart:
    """Begins back-tests."""

    def __init__(
        self,
        table: BacktestTable,
        operations: Operations,
        directory: StrategyDirectory,
        events: Events,
        clock: Clock,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        """Record in `table` and `operations`; ids come from `new_id`."""
        self._table = table
        self._operations = operations
        self._directory = directory
        self._events = events
        self._clock = clock
        self._new_id = new_id

    async def find(self, asked: Asked) -> Found:
        """Return the code that is to run, and its parameters with their defaults.

        Raises:
            NotFound: The registry has no such strategy.
            InvalidArgument: A parameter is unknown, of another type or out of bounds.
        """
        if asked.source:
            name = asked.file_name.rpartition(".")[0] or asked.file_name
            code = CodeVersion(kind=Kind.STRATEGY, name=name, source=asked.source, file_name=asked.file_name, ports=())
            return Found(code, code.sha256, asked.parameters)
        entry = await self._directory.get(asked.strategy, asked.version)
        return Found(entry.code, entry.sha256, completed(entry.manifest, asked.parameters))

    async def begin(self, asked: Asked, found: Found) -> tuple[Operation, BacktestRow]:
        """Record a back-test and its operation; a repeated request returns the first ones.

        Raises:
            AlreadyExists: The request id was used with another request.
        """
        principal = asked.actor.principal if asked.actor else ""
        known = bool(asked.request_id)
        backtest_id = uuid.uuid5(_REQUESTS, f"{principal}/{asked.request_id}") if known else self._new_id()
        new = NewBacktest(
            backtest_id=backtest_id,
            display_name=asked.display_name,
            labels=asked.labels,
            strategy=found.code.name,
            code_version=found.code.version,
            code_sha256=found.sha256,
            source=asked.source or None,
            parameters=found.parameters,
            universe=asked.universe,
            terms={**asked.terms},
            actor=asked.actor,
        )
        async with self._table.database.transaction() as connection:
            operation = await self._operations.submit(
                KIND,
                {"backtest_id": str(backtest_id), "fingerprint": asked.fingerprint, "file_name": asked.file_name},
                subject_type="backtest",
                subject=asked.display_name or found.code.name,
                actor=asked.actor,
                request_id=asked.request_id,
                connection=connection,
            )
            if await self._table.insert(connection, new, operation.operation_id, self._clock.now()):
                await self._record(connection, "BacktestStarted", "was started", new, asked.actor)
        return operation, await self._table.get(backtest_id)

    async def delete(self, backtest_id: uuid.UUID, actor: Actor) -> None:
        """Delete a back-test that has ended, with all that it left.

        Raises:
            NotFound: There is none of that id.
            FailedPrecondition: It has not ended.
        """
        row = await self._table.get(backtest_id)
        async with self._table.database.transaction() as connection:
            await self._table.delete(connection, row)
            await self._record(connection, "BacktestDeleted", "was deleted", row, actor)

    async def _record(
        self, connection: Any, kind: str, what: str, about: NewBacktest | BacktestRow, actor: Actor | None
    ) -> None:
        await self._events.record(
            connection,
            kind,
            f"Back-test {about.display_name or about.backtest_id} of {about.strategy} {what}.",
            subject_type="backtest",
            subject_name=str(about.backtest_id),
            actor=actor,
        )

    async def code_of(self, row: BacktestRow) -> CodeVersion:
        """Return the code of a recorded back-test."""
        source = await self._table.source(row.backtest_id)
        if source is None:
            return (await self._directory.get(row.strategy, row.code_version)).code
        file_name = f"{row.strategy}.zip" if source[:2] == b"PK" else f"{row.strategy}.py"
        return CodeVersion(kind=Kind.STRATEGY, name=row.strategy, source=source, file_name=file_name, ports=())
