"""One back-test: the engine runs in a thread of its own, so that the process goes on answering."""

from __future__ import annotations

import asyncio
import ctypes
import resource
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from quasar.convert import plugin_records as records
from quasar.engine.backtest import run_backtest
from quasar.engine.desk import Note
from quasar.engine.result import BacktestResult
from quasar.engine.rules import MarketRules
from quasar.engine.series import Series
from quasar.plugins.host.blame import Blame, blame
from quasar.plugins.host.runtime import Runtime
from quasar.strategy import Strategy
from quasar_proto.plugin.v1 import strategy_pb2
from quasar_proto.strategy.v1 import backtest_pb2

_ENGINE: Final = "1"
_POLL_S: Final = 0.05
_GRACE_S: Final = 2.0
Write = Callable[[Any], Awaitable[None]]


class _Stopped(BaseException):
    """The back-test was cancelled; not an `Exception`, so that the author's code does not catch it by the way."""


class BacktestRun:
    """Runs one back-test and tells what comes of it."""

    def __init__(self, runtime: Runtime, strategy: Strategy, series: Sequence[Series], rules: MarketRules) -> None:
        """Prepare.

        Args:
            runtime: The process.
            strategy: A fresh instance.
            series: What it sees.
            rules: The simulated market.
        """
        self._runtime = runtime
        self._strategy = strategy
        self._series = series
        self._rules = rules
        self._total = sum(len(one) for one in series)
        self._done = 0
        self._stop = False
        self._result: BacktestResult | None = None
        self._error: BaseException | None = None
        self._ended = asyncio.Event()

    async def run(self, write: Write, progress_s: float, callback_s: float, level: int) -> None:
        """Run to the end and write progress, records and the outcome.

        Args:
            write: Sends one message.
            progress_s: Time between two messages of progress.
            callback_s: The longest time that one call of the strategy may take.
            level: How much is recorded, a number of the contract's `RecordLevel`.
        """
        clock = self._runtime.context.clock
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._work, args=(loop,), name="backtest", daemon=True)
        began = clock.monotonic()
        thread.start()
        try:
            hung = await self._follow(write, progress_s, callback_s)
        except BaseException:
            await self._end(thread)
            raise
        elapsed = clock.monotonic() - began
        if hung is not None:
            try:
                await write(strategy_pb2.RunBacktestResponse(outcome=self._failed(hung)))
            finally:  # a reader that has the outcome may hang up before the write returns
                self._runtime.stop(0.0)  # a thread cannot be ended; the process can
            return
        if self._error is not None:
            outcome = self._failed(blame(self._error))
        else:
            assert self._result is not None
            await self._tell(write, self._result, level)
            outcome = records.outcome(self._result)
        self._time(outcome, elapsed)
        await write(strategy_pb2.RunBacktestResponse(outcome=outcome))

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._result = run_backtest(self._strategy, self._series, self._rules, progress=self._progress)
        except BaseException as error:
            self._error = error
        loop.call_soon_threadsafe(self._ended.set)

    def _progress(self, done: int, total: int) -> None:
        self._done = done
        if self._stop:
            raise _Stopped

    async def _follow(self, write: Write, progress_s: float, callback_s: float) -> Blame | None:
        """Wait for the end; return what hung, if something did."""
        clock = self._runtime.context.clock
        told = moved = clock.monotonic()
        last_time, last_done = -1, 0
        while not self._ended.is_set():
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._ended.wait()
            except TimeoutError:
                now = clock.monotonic()
                time_ns = self._event_time_ns()
                if time_ns != last_time:
                    last_time, moved = time_ns, now
                elif now - moved > callback_s:
                    return Blame("TimeoutError", f"one call of the strategy took longer than {callback_s:g} s")
                if now - told >= progress_s:
                    rate = (self._done - last_done) / (now - told)
                    told, last_done = now, self._done
                    await write(strategy_pb2.RunBacktestResponse(progress=self._said(time_ns, rate)))
        return None

    def _event_time_ns(self) -> int:
        desk = self._strategy._desk  # the engine's side of the strategy; read only, from another thread
        return int(getattr(desk, "now_ns", 0)) if type(desk).__name__ == "Simulation" else 0

    def _said(self, time_ns: int, rate: float) -> strategy_pb2.BacktestProgress:
        return strategy_pb2.BacktestProgress(
            bars_done=self._done, bars_total=self._total, event_time_ns=time_ns, bars_per_second=rate
        )

    async def _end(self, thread: threading.Thread) -> None:
        self._stop = True
        if thread.ident is not None and thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_Stopped))
        try:
            async with asyncio.timeout(_GRACE_S):
                await self._ended.wait()
        except TimeoutError:
            self._runtime.stop(0.0)

    async def _tell(self, write: Write, result: BacktestResult, level: int) -> None:
        if level == backtest_pb2.RECORD_LEVEL_STATISTICS:
            return
        response = strategy_pb2.RunBacktestResponse
        for chunk in records.equity_chunks(result):
            await write(response(equity=[chunk]))
        for trades in _batched(records.trades(result)):
            await write(response(trades=trades))
        if level == backtest_pb2.RECORD_LEVEL_TRADES:
            return
        for orders in _batched(records.orders(result)):
            await write(response(orders=orders))
        for fills in _batched(records.fills(result)):
            await write(response(fills=fills))
        notes: Sequence[Note] = result.notes
        for lines in _batched(records.log_line(note, number) for number, note in enumerate(notes, 1)):
            await write(response(logs=lines))

    def _failed(self, why: Blame) -> strategy_pb2.BacktestOutcome:
        redact = self._runtime.context.redact
        error = strategy_pb2.StrategyError(
            type=why.type,
            message=redact(why.message),
            file=why.file,
            line=why.line,
            traceback=redact(why.traceback),
            event_time_ns=max(0, self._event_time_ns()),
        )
        return strategy_pb2.BacktestOutcome(error=error)

    def _time(self, outcome: strategy_pb2.BacktestOutcome, elapsed_s: float) -> None:
        outcome.engine_version = _ENGINE
        timing = outcome.timing
        timing.run_time.FromNanoseconds(int(elapsed_s * 1e9))
        timing.bars_per_second = self._total / elapsed_s if elapsed_s > 0 else 0.0
        timing.peak_memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _batched(items: Iterable[Any]) -> Iterable[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) >= records.RECORDS:
            yield batch
            batch = []
    if batch:
        yield batch
