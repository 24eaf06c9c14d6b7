"""A strategy in its process as the strategy engine sees it: back-tests over columns, and live runs fed from outside.

Records and wishes are handed on as messages of the contract (`quasar.plugin.v1`), since they go from here to tables and
clients; `quasar.convert.plugin_orders` makes values of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from google.protobuf.json_format import ParseDict

from quasar import errors
from quasar.clock import Clock
from quasar.convert.columns import BarChunk, encode_bars
from quasar.convert.manifest import asset_class_to_proto, plain_to_value
from quasar.convert.plugin_batches import joined
from quasar.convert.plugin_orders import decimal_to_proto
from quasar.model.asset_classes import AssetClass
from quasar.model.bars import BarColumns
from quasar.plugins.containment import Cause
from quasar.plugins.keeper import Keeper
from quasar.plugins.manifest import Manifest
from quasar.plugins.process import PluginProcess
from quasar_proto.common.v1 import values_pb2
from quasar_proto.plugin.v1 import strategy_pb2
from quasar_proto.strategy.v1 import backtest_pb2, universe_pb2

_PATH: Final = "/quasar.plugin.v1.StrategyPlugin/"
_BARS_FIELD: Final = 4
_CHUNK_ROWS: Final = 65_536
_CALLBACK_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyInput:
    """One series that a strategy sees."""

    name: str
    """What the strategy calls it: the common symbol."""
    interval: str
    provider: str = ""
    symbol: str = ""
    """The provider's symbol; empty: the name."""
    bars: BarColumns = field(default_factory=BarColumns.empty)
    """Sorted by open time; empty for live runs."""
    asset_class: AssetClass | None = None
    exchange: str = ""
    calendar: str = ""
    currency: str = ""
    alias: str = ""
    read_only: bool = False
    price_tick: Decimal | None = None
    """None: found from the prices."""
    quantity_step: Decimal | None = None
    """None: eight decimals for crypto assets and currencies, whole units for the rest."""
    multiplier: Decimal | None = None

    def to_proto(self, series_id: int) -> strategy_pb2.StrategySeries:
        """Return the contract's form."""
        key = values_pb2.SeriesKey(provider=self.provider, symbol=self.symbol or self.name, interval=self.interval)
        resolved = universe_pb2.ResolvedSeries(
            series=key,
            symbol=self.name,
            alias=self.alias,
            asset_class=asset_class_to_proto(self.asset_class),
            exchange=self.exchange,
            calendar=self.calendar,
            currency=self.currency,
            read_only=self.read_only,
        )
        found = strategy_pb2.StrategySeries(series_id=series_id, series=resolved)
        for name in ("price_tick", "quantity_step", "multiplier"):
            value: Decimal | None = getattr(self, name)
            if value is not None:
                getattr(found.rules, name).CopyFrom(decimal_to_proto(value))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestSpec:
    """One back-test."""

    backtest_id: str
    series: Sequence[StrategyInput]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    terms: backtest_pb2.BacktestTerms | Mapping[str, Any]
    """The contract's `BacktestTerms`, or its JSON form; every default filled in."""
    progress_s: float = 0.25
    callback_s: float = _CALLBACK_S
    """The longest time that one call of the strategy may take."""
    keep_dataset: bool = False
    """Leave the columns in the process, for the next trial of a sweep over the same series."""


class StrategyHandle:
    """One strategy in one process."""

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        """See the plug-in that `keeper` keeps."""
        self.keeper = keeper
        self._clock = clock
        self._loaded: dict[str, PluginProcess] = {}

    @property
    def manifest(self) -> Manifest:
        """What the class declares.

        Raises:
            PluginUnavailable: It does not run.
        """
        process = self.keeper.process
        if process is None or process.manifest is None:
            raise errors.PluginUnavailable(f"{self.keeper.code.name} does not run: {self.keeper.last_exit}")
        return process.manifest

    async def run_backtest(self, spec: BacktestSpec) -> AsyncGenerator[strategy_pb2.RunBacktestResponse, None]:
        """Yield progress and records; the last message holds the outcome, also of a strategy that raised.

        Closing the generator cancels the run. The process runs one back-test at a time.

        Raises:
            InvalidArgument: The terms ask for what the engine cannot do, or a parameter breaks a rule.
            FailedPrecondition: A back-test or a run goes on in the process.
            PluginUnavailable: The process ended; a strategy that used more memory than allowed ends so.
        """
        process = await self.keeper.ready()
        dataset_id = await self._load(process, spec)
        terms = spec.terms
        if isinstance(terms, Mapping):
            terms = ParseDict(dict(terms), backtest_pb2.BacktestTerms(), ignore_unknown_fields=True)
        request = strategy_pb2.RunBacktestRequest(
            backtest_id=spec.backtest_id,
            dataset_id=dataset_id,
            series=[one.to_proto(number) for number, one in enumerate(spec.series, 1)],
            terms=terms,
        )
        for name, value in spec.parameters.items():
            request.parameters.fields[name].CopyFrom(plain_to_value(value))
        request.progress_interval.FromNanoseconds(int(spec.progress_s * 1e9))
        request.callback_timeout.FromNanoseconds(int(spec.callback_s * 1e9))
        try:
            async with aclosing(process.messages(self._stream(process, "RunBacktest", request))) as messages:
                async for message in messages:
                    yield message
        finally:
            if not spec.keep_dataset and not process.ended.is_set():
                await self._drop(process, dataset_id)

    async def _load(self, process: PluginProcess, spec: BacktestSpec) -> str:
        chunks = [
            (number, encode_bars(BarChunk(number, one.bars[start : start + _CHUNK_ROWS])))
            for number, one in enumerate(spec.series, 1)
            for start in range(0, len(one.bars), _CHUNK_ROWS)
        ]
        digest = hashlib.sha256()
        for _, chunk in chunks:
            digest.update(chunk)
        dataset_id = digest.hexdigest()
        if self._loaded.get(dataset_id) is process:
            return dataset_id
        call: Any = process.channel.unary_unary(
            f"{_PATH}LoadDataset", None, strategy_pb2.LoadDatasetResponse.FromString
        )
        for part, (_, chunk) in enumerate(chunks, 1):
            rest = strategy_pb2.LoadDatasetRequest(dataset_id=dataset_id, part=part, last=part == len(chunks))
            await process.answer(call(joined([(_BARS_FIELD, chunk)], rest)))
        self._loaded[dataset_id] = process
        return dataset_id

    async def _drop(self, process: PluginProcess, dataset_id: str) -> None:
        self._loaded.pop(dataset_id, None)
        request = strategy_pb2.DropDatasetRequest(dataset_id=dataset_id)
        try:
            await self._call(process, "DropDataset", request, 5.0)
        except errors.QuasarError:
            return  # a run that is being cancelled still uses it; it goes with the process

    async def start_live(
        self, request: strategy_pb2.StartLiveRequest
    ) -> AsyncGenerator[strategy_pb2.StartLiveResponse, None]:
        """Begin a run and yield what the strategy wants; the first message says that it takes events.

        The run ends with the process: after `PluginUnavailable`, begin it again from the state outside.

        Raises:
            PluginFailed: The strategy's set-up raised.
            PluginUnavailable: The process ended.
        """
        process = await self.keeper.ready()
        async with aclosing(process.messages(self._stream(process, "StartLive", request))) as messages:
            async for message in messages:
                yield message

    async def push_events(
        self, request: strategy_pb2.PushEventsRequest, *, callback_s: float = _CALLBACK_S
    ) -> strategy_pb2.PushEventsResponse:
        """Show events to the strategy and wait until it has handled them.

        Args:
            request: The events, in the order of `sequence`.
            callback_s: A strategy that takes longer is killed.

        Raises:
            PluginFailed: The strategy took too long; its process was killed.
            NotFound: The run does not go on.
        """
        process = await self.keeper.ready()
        try:
            answer: strategy_pb2.PushEventsResponse = await self._call(process, "PushEvents", request, callback_s)
        except errors.DeadlineExceeded:
            detail = f"did not handle an event within {callback_s:g} s and was killed"
            process.contain(Cause.HUNG, detail)
            raise errors.PluginFailed(f"{self.keeper.code.name} {detail}") from None
        return answer

    async def snapshot(self, run_id: str) -> strategy_pb2.StrategyState:
        """Return the state of a run between two events.

        Raises:
            NotFound: The run does not go on.
        """
        process = await self.keeper.ready()
        request = strategy_pb2.SnapshotStateRequest(run_id=run_id)
        answer: strategy_pb2.SnapshotStateResponse = await self._call(process, "SnapshotState", request, _CALLBACK_S)
        return answer.state

    async def stop_live(self, run_id: str, reason: str = "", *, immediately: bool = False) -> None:
        """Let the strategy say good-bye, and end the run; ending one that does not go on changes nothing."""
        process = self.keeper.process
        if process is not None and not process.ended.is_set():
            request = strategy_pb2.StopLiveRequest(run_id=run_id, reason=reason, immediately=immediately)
            await self._call(process, "StopLive", request, _CALLBACK_S)

    def _stream(self, process: PluginProcess, method: str, request: Any) -> Any:
        answer = getattr(strategy_pb2, f"{method}Response")
        open_call: Any = process.channel.unary_stream(
            f"{_PATH}{method}", type(request).SerializeToString, answer.FromString
        )
        return open_call(request)

    async def _call(self, process: PluginProcess, method: str, request: Any, timeout_s: float) -> Any:
        answer = getattr(strategy_pb2, f"{method}Response")
        call: Any = process.channel.unary_unary(f"{_PATH}{method}", type(request).SerializeToString, answer.FromString)
        return await process.answer(call(request, timeout=timeout_s))
