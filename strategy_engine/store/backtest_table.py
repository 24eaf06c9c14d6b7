"""Back-tests in the database."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from quasar.database.pool import Database
from quasar.errors import FailedPrecondition, NotFound, Resource
from quasar.filters import condition
from quasar.model.columns import FloatArray, Int64Array
from quasar.model.instants import from_ns
from quasar.ops.actors import Actor
from strategy_engine.backtests.records import (
    BacktestState,
    Document,
    EquityColumns,
    FillRecord,
    LogRecord,
    OrderRecord,
    TradeRecord,
)
from strategy_engine.store.actors import actor_document, actor_of
from strategy_engine.store.backtest_lists import BACKTESTS, LOGS, RECORDS
from strategy_engine.store.pages import Asked
from strategy_engine.store.statements import SQL

POINTS: Final = 65_536
"""Points of a curve in one row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestRow:
    """One back-test as it stands."""

    backtest_id: uuid.UUID
    display_name: str
    labels: Mapping[str, str]
    strategy: str
    code_version: int
    code_sha256: str
    parameters: Mapping[str, Any]
    universe: Document
    series: Sequence[Document]
    terms: Document
    state: BacktestState
    error: str
    operation_id: uuid.UUID | None
    sweep_id: uuid.UUID | None
    trial_number: int
    instance_id: str
    run_id: uuid.UUID | None
    statistics: Mapping[str, Any] | None
    findings: Sequence[Document]
    data_sha256: str
    engine_version: str
    timing: Mapping[str, Any]
    actor: Actor | None
    create_time: dt.datetime
    start_time: dt.datetime | None
    end_time: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBacktest:
    """A back-test that is to be recorded."""

    backtest_id: uuid.UUID
    display_name: str
    labels: Mapping[str, str]
    strategy: str
    code_version: int
    code_sha256: str
    source: bytes | None
    """Only of inline code."""
    parameters: Mapping[str, Any]
    universe: Document
    terms: Document
    actor: Actor | None


@dataclass(frozen=True, slots=True)
class Finish:
    """How a back-test ended."""

    state: BacktestState
    error: str = ""
    statistics: Mapping[str, Any] | None = None
    findings: Sequence[Document] = ()
    engine_version: str = ""
    timing: Mapping[str, Any] | None = None


class BacktestTable:
    """Reads and writes back-tests and their records."""

    def __init__(self, database: Database) -> None:
        """Use `database`."""
        self.database = database

    async def insert(self, connection: Any, new: NewBacktest, operation_id: uuid.UUID, now: dt.datetime) -> bool:
        """Record a back-test in the caller's transaction; one that is there stays as it is, and False is returned."""
        found = await connection.fetchval(
            SQL["backtest_insert"],
            new.backtest_id,
            new.display_name,
            dict(new.labels),
            new.strategy,
            new.code_version,
            new.code_sha256,
            new.source,
            dict(new.parameters),
            dict(new.universe),
            dict(new.terms),
            operation_id,
            actor_document(new.actor),
            now,
        )
        return found is not None

    async def get(self, backtest_id: uuid.UUID) -> BacktestRow:
        """Return one back-test.

        Raises:
            NotFound: There is none of that id.
        """
        statement = SQL["backtests"].format(key="null", filter="backtest_id = $2", after="true", order="1")
        row = await self.database.fetchrow(statement, 1, backtest_id)
        if row is None:
            raise _unknown(backtest_id)
        return _backtest(row)

    async def page(self, asked: Asked) -> tuple[list[BacktestRow], str]:
        """Return a page of back-tests, newest first unless ordered otherwise, and the token of the next page."""
        rows, following = await BACKTESTS.page(self.database, asked)
        return [_backtest(row) for row in rows], following

    async def update(self, backtest_id: uuid.UUID, name: str | None, labels: dict[str, str] | None) -> None:
        """Change the name and the labels of a back-test; None keeps them."""
        await self.database.execute(SQL["backtest_update"], backtest_id, name, labels)

    async def source(self, backtest_id: uuid.UUID) -> bytes | None:
        """Return the source that was sent along; None where the registry has the code."""
        found: bytes | None = await self.database.fetchval(SQL["backtest_source"], backtest_id)
        return found

    async def begin(self, backtest_id: uuid.UUID, now: dt.datetime) -> None:
        """Note that the data is being read, and forget what an attempt before this one left."""
        async with self.database.transaction() as connection:
            await connection.execute(SQL["backtest_clear"], backtest_id)
            await connection.execute(SQL["backtest_move"], backtest_id, BacktestState.LOADING.value, now)

    async def loaded(self, backtest_id: uuid.UUID, series: Sequence[Document], data_sha256: str) -> None:
        """Note which data it runs on."""
        await self.database.execute(SQL["backtest_loaded"], backtest_id, [dict(each) for each in series], data_sha256)

    async def finish(self, connection: Any, backtest_id: uuid.UUID, end: Finish, now: dt.datetime) -> bool:
        """Note how it ended, in the caller's transaction; False when it had ended before."""
        found = await connection.fetchval(
            SQL["backtest_finish"],
            backtest_id,
            end.state.value,
            end.error,
            None if end.statistics is None else dict(end.statistics),
            [dict(each) for each in end.findings],
            end.engine_version,
            dict(end.timing or {}),
            now,
        )
        return found is not None

    async def delete(self, connection: Any, found: BacktestRow) -> None:
        """Delete a back-test with all that it left, in the caller's transaction.

        Raises:
            FailedPrecondition: It has not ended.
        """
        backtest_id, ended = found.backtest_id, found.end_time is not None
        if await connection.fetchval(SQL["backtest_delete"], backtest_id, ended) is None:
            raise FailedPrecondition(
                f"back-test {backtest_id} must have ended to be deleted, was {found.state.value}; cancel operation "
                f"{found.operation_id} first.",
                resource=Resource("backtest", str(backtest_id)),
            )

    async def records(self, table: str, backtest_id: uuid.UUID, asked: Asked) -> tuple[list[Document], str, int]:
        """Return a page of the records of a table, the token of the next page, and how many there are in all."""
        rows, following = await RECORDS[table].page(self.database, asked, backtest_id)
        counted = condition(asked.filter_text, RECORDS[table].fields, first_parameter=2)
        count = SQL["backtest_records_count"].format(table=table, filter=counted.sql)
        total: int = await self.database.fetchval(count, backtest_id, *counted.parameters)
        return [row["data"] for row in rows], following, total

    async def logs(self, backtest_id: uuid.UUID, asked: Asked) -> tuple[list[Any], str]:
        """Return a page of the lines that the strategy wrote."""
        return await LOGS.page(self.database, asked, backtest_id)

    async def curves(self, backtest_id: uuid.UUID, names: Sequence[str]) -> EquityColumns:
        """Return columns of the equity curve: float64 of one length, by name."""
        times: dict[int, Int64Array] = {}
        parts: dict[str, list[FloatArray]] = {name: [] for name in names}
        for row in await self.database.fetch(SQL["backtest_curves"], backtest_id, list(names)):
            times[row["part"]] = np.frombuffer(row["times"], dtype="<i8")
            parts[row["name"]].append(np.frombuffer(row["values"], dtype="<f8"))
        if not times:
            return EquityColumns(np.empty(0, dtype=np.int64), {name: np.empty(0) for name in names})
        columns = {name: np.concatenate(own) for name, own in parts.items() if own}
        return EquityColumns(np.concatenate([times[part] for part in sorted(times)]), columns)


class RecordWriter:
    """Writes the records of one back-test in the caller's transaction."""

    def __init__(self, connection: Any, backtest_id: uuid.UUID) -> None:
        """Write for `backtest_id`."""
        self._connection = connection
        self._id = backtest_id

    async def orders(self, orders: Sequence[OrderRecord]) -> None:
        """Write orders, numbered from 1."""
        rows = [(each.client_order_id, each.symbol, each.status, each.time, dict(each.document)) for each in orders]
        await self._write("backtest_orders_insert", rows)

    async def fills(self, fills: Sequence[FillRecord]) -> None:
        """Write fills, numbered from 1."""
        rows = [
            (
                each.client_order_id,
                each.symbol,
                each.side,
                each.quantity,
                each.price,
                each.commission,
                each.time,
                dict(each.document),
            )
            for each in fills
        ]
        await self._write("backtest_fills_insert", rows)

    async def trades(self, trades: Sequence[TradeRecord]) -> None:
        """Write round trips, numbered from 1."""
        rows = [
            (
                each.symbol,
                each.side,
                each.quantity,
                each.entry_time,
                each.exit_time,
                each.entry_price,
                each.exit_price,
                each.profit,
                each.return_ratio,
                each.commission,
                each.bars_held,
                each.tag,
                dict(each.document),
            )
            for each in trades
        ]
        await self._write("backtest_trades_insert", rows)

    async def logs(self, logs: Sequence[LogRecord], now: dt.datetime) -> None:
        """Write lines, numbered from 1."""
        rows = [(each.event_time, now, each.level, each.message, each.place) for each in logs]
        await self._write("backtest_logs_insert", rows)

    async def curve(self, equity: EquityColumns) -> None:
        """Write the equity curve in parts."""
        for part, start in enumerate(range(0, len(equity), POINTS)):
            times = equity.time_ns[start : start + POINTS]
            bounds = from_ns(int(times[0])), from_ns(int(times[-1]))
            stamps = times.astype("<i8").tobytes()
            for name, column in equity.columns.items():
                values = column[start : start + POINTS].astype("<f8").tobytes()
                await self._connection.execute(
                    SQL["backtest_curve_insert"], self._id, name, part, len(times), *bounds, stamps, values
                )

    async def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            columns = [list(column) for column in zip(*rows, strict=True)]
            await self._connection.execute(SQL[statement], self._id, list(range(1, len(rows) + 1)), *columns)


def _unknown(backtest_id: uuid.UUID) -> NotFound:
    return NotFound(f"There is no back-test {backtest_id}.", resource=Resource("backtest", str(backtest_id)))


def _backtest(row: Any) -> BacktestRow:
    return BacktestRow(
        backtest_id=row["backtest_id"],
        display_name=row["display_name"],
        labels=row["labels"],
        strategy=row["strategy"],
        code_version=row["code_version"],
        code_sha256=row["code_sha256"],
        parameters=row["parameters"],
        universe=row["universe"],
        series=row["series"],
        terms=row["terms"],
        state=BacktestState(row["state"]),
        error=row["error"],
        operation_id=row["operation_id"],
        sweep_id=row["sweep_id"],
        trial_number=row["trial_number"] or 0,
        instance_id=row["instance_id"] or "",
        run_id=row["run_id"],
        statistics=row["statistics"],
        findings=row["findings"],
        data_sha256=row["data_sha256"],
        engine_version=row["engine_version"],
        timing=row["timing"],
        actor=actor_of(row["created_by"]),
        create_time=row["created_at"],
        start_time=row["started_at"],
        end_time=row["finished_at"],
    )
