"""Does back-tests, as operations: reads the data, has the strategy's process run, stores what came out."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import numpy as np

from quasar.clock import Clock
from quasar.errors import FailedPrecondition, PluginFailed, QuasarError
from quasar.ops.events import Events, Severity
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import OperationResult
from quasar.plugins.code import CodeVersion
from strategy_engine.backtests.figures import Ground, figures, periods_per_year
from strategy_engine.backtests.records import (
    BacktestState,
    BarReader,
    Document,
    Engine,
    EquityColumns,
    FillRecord,
    Job,
    LoadedSeries,
    LogRecord,
    OrderRecord,
    Outcome,
    ReadTerms,
    Records,
    TradeRecord,
    WantedSeries,
)
from strategy_engine.store.backtest_table import BacktestRow, BacktestTable, Finish, RecordWriter

KIND: Final = "backtest.run"
"""The kind of operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a stored back-test asks for, read from its documents."""

    wanted: Sequence[WantedSeries]
    read: ReadTerms
    cash: Decimal
    currency: str
    calendar: str
    periods_per_year: float | None
    risk_free_rate: float
    record_level: int
    """1: statistics, 2: also equity and trades, 3: everything."""
    max_wall_s: float
    """It fails when it has not ended by then, in seconds of wall-clock time."""


Interpret = Callable[[BacktestRow], Task]
Describe = Callable[[LoadedSeries], Document]
FindCode = Callable[[BacktestRow], Awaitable[CodeVersion]]
Show = Callable[[BacktestRow], OperationResult]
"""Returns a back-test as the result of its operation."""


@dataclass(slots=True)
class _Collected:
    """What the engine has told so far."""

    equity: list[EquityColumns] = field(default_factory=list)
    orders: list[OrderRecord] = field(default_factory=list)
    fills: list[FillRecord] = field(default_factory=list)
    trades: list[TradeRecord] = field(default_factory=list)
    logs: list[LogRecord] = field(default_factory=list)
    outcome: Outcome | None = None

    def take(self, records: Records) -> None:
        """Take some records in."""
        self.equity += records.equity
        self.orders += records.orders
        self.fills += records.fills
        self.trades += records.trades
        self.logs += records.logs
        self.outcome = records.outcome or self.outcome


class BacktestRunner:
    """The handler of the operations that run back-tests."""

    def __init__(
        self,
        table: BacktestTable,
        bars: BarReader,
        engine: Engine,
        code: FindCode,
        interpret: Interpret,
        describe: Describe,
        show: Show,
        events: Events,
        clock: Clock,
    ) -> None:
        """Run back-tests.

        Args:
            table: Where they are kept.
            bars: Reads the data.
            engine: Runs them in the strategy's process.
            code: Finds the code of a back-test.
            interpret: Reads the stored universe and terms.
            describe: Returns the record of a series that was read.
            show: Returns a back-test as the result of its operation.
            events: Told when one has ended.
            clock: Measures.
        """
        self._table = table
        self._bars = bars
        self._engine = engine
        self._code = code
        self._interpret = interpret
        self._describe = describe
        self._show = show
        self._events = events
        self._clock = clock

    async def run(self, context: OperationContext) -> OperationResult:
        """Run the back-test of an operation; a repetition begins anew.

        Raises:
            QuasarError: It failed; the back-test tells the same.
        """
        backtest_id = uuid.UUID(str(context.request["backtest_id"]))
        row = await self._table.get(backtest_id)
        await self._table.begin(backtest_id, self._clock.now())
        try:
            return await self._run(context, row)
        except QuasarError as error:
            async with self._table.database.transaction() as connection:
                end = Finish(BacktestState.FAILED, error.message)
                await self._finish(connection, row, end)
            raise

    async def _run(self, context: OperationContext, row: BacktestRow) -> OperationResult:
        task, code = self._interpret(row), await self._code(row)
        context.progress("reading bars", unit="bars")
        began = self._clock.monotonic()
        series = await self._bars.read(task.wanted, task.read)
        require_bars(series)
        await self._table.loaded(row.backtest_id, [self._describe(each) for each in series], _digest(series))
        loaded = self._clock.monotonic()
        job = Job(backtest_id=row.backtest_id, code=code, series=series, parameters=row.parameters, terms=row.terms)
        collected = await self._followed(context, job, task.max_wall_s)
        outcome = collected.outcome
        if outcome is None:
            raise PluginFailed(f"{code.name} ended without an outcome.")
        computed = figures(_ground(task, series, collected, outcome))
        timing = {
            "load_s": loaded - began,
            "run_s": outcome.run_s,
            "bars_per_second": outcome.bars_per_second,
            "peak_memory_bytes": outcome.peak_memory_bytes,
        }
        await self._store(row, task, collected, computed, timing)
        if outcome.error:
            raise PluginFailed(outcome.error)
        return self._show(await self._table.get(row.backtest_id))

    async def _finish(self, connection: Any, row: BacktestRow, end: Finish) -> None:
        """Record how a back-test ended; once, whatever is tried again."""
        if not await self._table.finish(connection, row.backtest_id, end, self._clock.now()):
            return
        failed = end.state is BacktestState.FAILED
        what = f"failed: {end.error}" if failed else "succeeded."
        await self._events.record(
            connection,
            "BacktestEnded",
            f"Back-test {row.display_name or row.backtest_id} of {row.strategy} {what}"[:500],
            subject_type="backtest",
            subject_name=str(row.backtest_id),
            severity=Severity.WARNING if failed else Severity.INFO,
            data={"state": end.state.value},
        )

    async def _followed(self, context: OperationContext, job: Job, most_s: float) -> _Collected:
        try:
            async with asyncio.timeout(most_s) as limit:
                return await self._follow(context, job)
        except TimeoutError:
            if not limit.expired():
                raise
            raise PluginFailed(f"{job.code.name} must end within {most_s:g} s (max_wall_time), took longer.") from None

    async def _follow(self, context: OperationContext, job: Job) -> _Collected:
        collected = _Collected()
        context.progress("running", done=0, total=sum(len(each.bars) for each in job.series))
        async for records in self._engine.run(job):
            collected.take(records)
            if records.bars_done is not None:
                context.progress(done=records.bars_done, total=records.bars_total)
        return collected

    async def _store(
        self,
        row: BacktestRow,
        task: Task,
        collected: _Collected,
        computed: Mapping[str, Any],
        timing: Mapping[str, Any],
    ) -> None:
        began, outcome = self._clock.monotonic(), collected.outcome
        assert outcome is not None
        async with self._table.database.transaction() as connection:
            writer = RecordWriter(connection, row.backtest_id)
            if task.record_level >= 2:
                await writer.trades(collected.trades)
                await writer.curve(EquityColumns.concatenate(collected.equity))
            if task.record_level >= 3:
                await writer.orders(collected.orders)
                await writer.fills(collected.fills)
                await writer.logs(collected.logs, self._clock.now())
            state = BacktestState.FAILED if outcome.error else BacktestState.SUCCEEDED
            end = Finish(
                state,
                outcome.error,
                None if outcome.error else computed,
                outcome.findings,
                outcome.engine_version,
                {**timing, "store_s": self._clock.monotonic() - began},
            )
            await self._finish(connection, row, end)


def require_bars(series: Sequence[LoadedSeries]) -> None:
    """Refuse series of which one has no bars.

    Raises:
        FailedPrecondition: There are such; all are named.
    """
    empty = [f"{one.facts.provider} {one.facts.symbol} {one.facts.interval}" for one in series if not len(one.bars)]
    if empty:
        raise FailedPrecondition(
            f"Every series must have bars in the range, was none for {', '.join(empty)}; collect them first."
        )


def _digest(series: Sequence[LoadedSeries]) -> str:
    digest = hashlib.sha256()
    for each in series:
        digest.update(f"{each.facts.provider}\0{each.facts.symbol}\0{each.facts.interval}\0{len(each.bars)}".encode())
        for name in ("open_time_ns", "open", "high", "low", "close", "volume"):
            digest.update(np.ascontiguousarray(getattr(each.bars, name)).data)
    return digest.hexdigest()


def _ground(task: Task, series: Sequence[LoadedSeries], collected: _Collected, outcome: Outcome) -> Ground:
    calendars = [task.calendar] if task.calendar else [each.facts.calendar for each in series]
    equity = EquityColumns.concatenate(collected.equity)
    if "gross_exposure" not in equity.columns and "net_exposure" in equity.columns and len(series) == 1:
        # Of a single symbol the one follows from the other.
        gross = np.abs(equity.columns["net_exposure"])
        equity = EquityColumns(equity.time_ns, {**equity.columns, "gross_exposure": gross})
    return Ground(
        currency=task.currency,
        initial=task.cash,
        final=outcome.final_equity,
        equity=equity,
        fills=collected.fills,
        trades=collected.trades,
        first_open_ns=min(int(each.bars.open_time_ns[0]) for each in series),
        periods_per_year=task.periods_per_year or periods_per_year(calendars, [each.facts.interval for each in series]),
        risk_free_rate=task.risk_free_rate,
        counts=outcome.counts,
        closes=[(float(each.bars.close[0]), float(each.bars.close[-1])) for each in series],
    )
