"""Serves a strategy: data sets, back-tests, and live runs that are fed from outside."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from quasar import errors
from quasar.convert.columns import decode_bars
from quasar.convert.manifest import value_to_plain
from quasar.convert.plugin_batches import taken_apart
from quasar.convert.plugin_terms import grid_of, rules_of, sized_grid
from quasar.engine.grid import Grid, detect_price_decimals
from quasar.engine.series import Series
from quasar.model.bars import BarColumns
from quasar.plugins.errands import Errands
from quasar.plugins.host.backtest import BacktestRun
from quasar.plugins.host.live_run import LiveRun
from quasar.plugins.host.runtime import Runtime
from quasar.plugins.serving import Rpc
from quasar.strategy import Strategy
from quasar_proto.plugin.v1 import strategy_pb2
from quasar_proto.strategy.v1 import backtest_pb2

_BARS: Final = 4
_PROGRESS_S: Final = 0.25
_CALLBACK_S: Final = 10.0
_ENDING_S: Final = 3.0
_PRICE_DECIMALS: Final = 8
"""Of prices whose tick nobody told."""


@dataclass(slots=True)
class _Dataset:
    parts: int = 0
    rows: int = 0
    memory_bytes: int = 0
    complete: bool = False
    bars: dict[int, list[BarColumns]] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)
    users: int = 0


class StrategyService:
    """Serves `quasar.plugin.v1.StrategyPlugin`."""

    RAW: ClassVar[frozenset[str]] = frozenset({"LoadDataset"})
    """Methods that take the request as bytes: columns are read in place."""

    def __init__(self, runtime: Runtime) -> None:
        """Serve one strategy."""
        self._runtime = runtime
        self._datasets: dict[str, _Dataset] = {}
        self._run: LiveRun | None = None
        self._idle = asyncio.Lock()

    async def LoadDataset(self, raw: bytes, rpc: Rpc) -> strategy_pb2.LoadDatasetResponse:
        """Take a part of a data set."""
        views, rest = taken_apart(raw, (_BARS,))
        request = strategy_pb2.LoadDatasetRequest.FromString(rest)
        if request.ticks:
            raise errors.Unimplemented("back-tests run over bars")
        dataset = self._datasets.setdefault(request.dataset_id, _Dataset())
        if request.part > dataset.parts + 1:
            raise errors.FailedPrecondition(f"part must be {dataset.parts + 1}, was {request.part}")
        if request.part == dataset.parts + 1:
            for view in views[_BARS]:
                chunk = decode_bars(view)
                dataset.bars.setdefault(chunk.series_id, []).append(chunk.columns)
                dataset.rows += len(chunk.columns)
                dataset.memory_bytes += len(view)
                dataset.digest.update(view)
            dataset.parts = request.part
            dataset.complete = request.last
        digest = dataset.digest.hexdigest() if dataset.complete else ""
        return strategy_pb2.LoadDatasetResponse(
            parts=dataset.parts, rows=dataset.rows, memory_bytes=dataset.memory_bytes, sha256=digest
        )

    async def DropDataset(self, request: strategy_pb2.DropDatasetRequest, rpc: Rpc) -> strategy_pb2.DropDatasetResponse:
        """Free a data set."""
        dataset = self._datasets.get(request.dataset_id)
        if dataset is not None and dataset.users:
            raise errors.FailedPrecondition(f"data set {request.dataset_id} must not be in use, was in use")
        self._datasets.pop(request.dataset_id, None)
        return strategy_pb2.DropDatasetResponse()

    async def RunBacktest(self, request: strategy_pb2.RunBacktestRequest, rpc: Rpc) -> None:
        """Run one back-test."""
        dataset = self._datasets.get(request.dataset_id)
        if dataset is None or not dataset.complete:
            raise errors.NotFound(f"data set {request.dataset_id} must be loaded completely, was not")
        await self._take()
        dataset.users += 1
        try:
            with self._runtime.working():
                strategy = self._strategy(request.parameters)
                if request.terms.HasField("warmup_bars"):
                    strategy.warm_up = request.terms.warmup_bars  # type: ignore[misc]  # this run's, over the class's
                series = [_series(one, dataset, request.terms) for one in request.series if _is_shown(one)]
                run = BacktestRun(self._runtime, strategy, series, rules_of(request.terms))
                await run.run(
                    rpc.write,
                    _seconds(request, "progress_interval", _PROGRESS_S),
                    _seconds(request, "callback_timeout", _CALLBACK_S),
                    request.terms.record_level,
                )
        finally:
            dataset.users -= 1
            self._idle.release()

    async def _take(self) -> None:
        """Begin to use the process; one run that is being cancelled is waited for."""
        try:
            async with asyncio.timeout(_ENDING_S):
                await self._idle.acquire()
        except TimeoutError:
            raise errors.FailedPrecondition("a back-test or a run is going on in this process") from None

    def _strategy(self, parameters: Any) -> Strategy:
        values = {name: value_to_plain(value) for name, value in parameters.fields.items()}
        made: Strategy = self._runtime.found(values)
        return made

    async def StartLive(self, request: strategy_pb2.StartLiveRequest, rpc: Rpc) -> None:
        """Begin a run and stream what the strategy wants."""
        await self._take()
        try:
            with self._runtime.working():
                grids = {one.series.symbol: _live_grid(one) for one in request.series}
                self._run = LiveRun(self._runtime, self._strategy(request.parameters), request, grids)
                async with Errands() as errands:
                    errands.add(self._end(self._run))
                    await self._run.serve(rpc.write)
        finally:
            self._run = None
            self._idle.release()

    async def _end(self, run: LiveRun) -> None:
        """End a run when the process is to end: it would otherwise be waited for as long as there is patience."""
        await self._runtime.stopping.wait()
        await run.stop(immediately=False)

    def _need_run(self, run_id: str) -> LiveRun:
        if self._run is None or self._run.run_id != run_id:
            raise errors.NotFound(f"run {run_id} does not go on")
        return self._run

    async def PushEvents(self, request: strategy_pb2.PushEventsRequest, rpc: Rpc) -> strategy_pb2.PushEventsResponse:
        """Show events to the strategy."""
        return await self._need_run(request.run_id).push(request)

    async def SnapshotState(
        self, request: strategy_pb2.SnapshotStateRequest, rpc: Rpc
    ) -> strategy_pb2.SnapshotStateResponse:
        """Return the state of a run."""
        return strategy_pb2.SnapshotStateResponse(state=self._need_run(request.run_id).state())

    async def RestoreState(
        self, request: strategy_pb2.RestoreStateRequest, rpc: Rpc
    ) -> strategy_pb2.RestoreStateResponse:
        """Put a state back."""
        sequence = self._need_run(request.run_id).restore(request.state)
        return strategy_pb2.RestoreStateResponse(event_sequence=sequence)

    async def StopLive(self, request: strategy_pb2.StopLiveRequest, rpc: Rpc) -> strategy_pb2.StopLiveResponse:
        """End a run."""
        if self._run is None or self._run.run_id != request.run_id:
            return strategy_pb2.StopLiveResponse()
        state = await self._run.stop(immediately=request.immediately)
        return strategy_pb2.StopLiveResponse(state=state)


def _is_shown(series: strategy_pb2.StrategySeries) -> bool:
    return series.purpose in (strategy_pb2.SERIES_PURPOSE_UNSPECIFIED, strategy_pb2.SERIES_PURPOSE_SHOWN)


def _series(series: strategy_pb2.StrategySeries, dataset: _Dataset, terms: backtest_pb2.BacktestTerms) -> Series:
    bars = BarColumns.concatenate(dataset.bars.get(series.series_id, []))
    grid = grid_of(series, terms)
    if grid is None:
        found = detect_price_decimals(bars.close, bars.open, bars.high, bars.low)
        grid = sized_grid(series, found, terms)
    name = series.series.symbol or series.series.series.symbol
    return Series(name, bars, series.series.series.interval, grid)


def _live_grid(series: strategy_pb2.StrategySeries) -> Grid:
    return grid_of(series) or sized_grid(series, _PRICE_DECIMALS)


def _seconds(request: Any, name: str, usual: float) -> float:
    return getattr(request, name).ToNanoseconds() / 1e9 if request.HasField(name) else usual
