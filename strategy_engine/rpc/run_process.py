"""Runs a strategy on live data in a process of its own, through the handle of the plug-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from quasar.convert.columns import BarChunk, TickChunk, encode_bars, encode_ticks
from quasar.convert.manifest import plain_to_value
from quasar.convert.plugin_orders import intent_from_proto
from quasar.errors import InvalidArgument, NotFound, PluginUnavailable, QuasarError
from quasar.model.bars import BarColumns
from quasar.model.ticks import TickColumns
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from quasar.plugins.strategy import StrategyHandle, StrategyInput
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.plugin.v1 import strategy_pb2 as plugin
from quasar_proto.strategy.v1 import strategy_pb2
from strategy_engine.backtests.records import LoadedSeries, LogRecord
from strategy_engine.instances.instances import Begin, Said, Session, Shown
from strategy_engine.rpc.backtest_process import strategy_input
from strategy_engine.rpc.order_messages import fill_message, order_message, position_message
from strategy_engine.rpc.record_messages import error_text
from strategy_engine.rpc.values import document, instant_of, money_message
from strategy_engine.trading.quotes import grid_of, instrument_rules_of

_ANSWER_S: Final = 15.0


class RunStage:
    """Implements `strategy_engine.instances.instances.Stage`: one process for each run."""

    def __init__(self, pool: PluginPool) -> None:
        """Run strategies in processes of `pool`."""
        self._pool = pool

    @asynccontextmanager
    async def open(self, begin: Begin) -> AsyncIterator[Session]:
        """Begin a run; it ends with the context, and its process with it."""
        name = str(begin.run_id)
        try:
            handle = await self._pool.strategy(begin.code, name)
            async with aclosing(handle.start_live(_start(begin))) as messages:
                session = RunSession(handle, messages, begin)
                await session.ready()
                yield session
                await session.leave()
        finally:
            await self._pool.stop(Kind.STRATEGY, begin.code.name, name)


class RunSession:
    """One run behind its handle. What the strategy wants is read as far as the answer to a push says."""

    def __init__(
        self, handle: StrategyHandle, messages: AsyncGenerator[plugin.StartLiveResponse, None], begin: Begin
    ) -> None:
        """Talk to the process behind `handle`."""
        self.warmup_bars = 0
        self._handle = handle
        self._messages = messages
        self._run_id = str(begin.run_id)
        self._ids = {(each.facts.name, each.facts.interval): number for number, each in enumerate(begin.series, 1)}
        self._pushed = 0
        self._read = 0
        self._first = Said()

    async def ready(self) -> None:
        """Wait until the strategy is set up."""
        message = await self._next()
        self.warmup_bars = message.ready.warmup_bars
        self._first = _said([message], "")

    async def first(self) -> Said:
        """Return what the strategy wanted while it was set up, once."""
        said, self._first = self._first, Said()
        return said

    async def show(self, events: Shown) -> Said:
        """Show events and return what came of them; see `Session.show`."""
        self._pushed += 1
        try:
            answer = await self._handle.push_events(self._request(events))
        except NotFound as error:
            # Its process ended while nothing was shown, and its keeper has started another one.
            raise PluginUnavailable("the strategy's process ended, and another one does not know the run") from error
        messages = []
        while self._read < answer.output_sequence:
            messages.append(await self._next())
        return _said(messages, error_text(answer.error) if answer.HasField("error") else "")

    async def leave(self) -> None:
        """Let the strategy say good-bye; its last wishes are not carried out."""
        try:
            await self._handle.stop_live(self._run_id, "stopped")
        except QuasarError:
            return  # the process ends all the same

    async def _next(self) -> plugin.StartLiveResponse:
        try:
            async with asyncio.timeout(_ANSWER_S):
                message = await anext(self._messages, None)
        except TimeoutError:
            raise PluginUnavailable("the strategy's process did not tell what the strategy wants") from None
        if message is None:
            raise PluginUnavailable("the strategy's process ended the run")
        self._read = message.sequence
        return message

    def _request(self, events: Shown) -> plugin.PushEventsRequest:
        request = plugin.PushEventsRequest(
            run_id=self._run_id, sequence=self._pushed, time_ns=events.time_ns, warmup=events.warmup
        )
        by_series: dict[int, list[Any]] = {}
        for each in events.bars:
            by_series.setdefault(self._ids[each.symbol, each.interval], []).append(each.bar)
        for series_id, bars in by_series.items():
            data = encode_bars(BarChunk(series_id, BarColumns.from_bars(bars)))
            request.bars.append(market_data_pb2.BarChunk.FromString(data))
        self._add_ticks(request, events)
        for change in events.changes:
            request.orders.append(order_message(change.order))
            if change.fill is not None:
                request.fills.append(fill_message(change.fill))
            if change.position is not None:
                request.positions.append(position_message(change.position))
        return request

    def _add_ticks(self, request: plugin.PushEventsRequest, events: Shown) -> None:
        ids = {symbol: number for (symbol, _), number in reversed(self._ids.items())}
        for tick in events.ticks:
            if tick.price is None:
                continue
            columns = TickColumns(
                event_time_ns=[tick.time_ns],  # type: ignore[arg-type]  # a list becomes a column
                price=[tick.price],  # type: ignore[arg-type]  # see above
                size=None if tick.size is None else [tick.size],  # type: ignore[arg-type]  # see above
            )
            data = encode_ticks(TickChunk(ids[tick.symbol], columns))
            request.ticks.append(market_data_pb2.TickChunk.FromString(data))


def _live_input(series: LoadedSeries, begin: Begin) -> StrategyInput:
    """Return a series as the process takes it, with the grid on which its orders are judged."""
    facts = begin.instruments[series.facts.name]
    rules = instrument_rules_of(facts)
    return replace(
        strategy_input(series),
        price_tick=rules.price_tick,
        quantity_step=rules.quantity_step,
        multiplier=grid_of(facts).multiplier,
    )


def _start(begin: Begin) -> plugin.StartLiveRequest:
    request = plugin.StartLiveRequest(
        run_id=str(begin.run_id),
        mode=strategy_pb2.TRADING_MODE_PAPER,
        series=[_live_input(each, begin).to_proto(number) for number, each in enumerate(begin.series, 1)],
        positions=[position_message(each) for each in begin.positions],
        next_intent_number=begin.next_intent_number,
        seed=begin.seed,
        time_ns=begin.time_ns,
    )
    request.cash.append(money_message(begin.cash, begin.currency))  # type: ignore[arg-type]  # it is set
    for name, value in begin.parameters.items():
        request.parameters.fields[name].CopyFrom(plain_to_value(value))
    return request


def _said(messages: list[plugin.StartLiveResponse], error: str) -> Said:
    intents, documents, logs, errors = [], [], [], [error] if error else []
    signals: list[tuple[int, dict[str, Any]]] = []
    for message in messages:
        for found in message.intents:
            try:
                intents.append(intent_from_proto(found))
                documents.append(document(found))
            except InvalidArgument as refused:
                errors.append(refused.message)
        logs += [
            LogRecord(event_time=instant_of(line, "event_time"), level=line.level, message=line.message)
            for line in message.logs
        ]
        signals += [(each.event_time.ToNanoseconds(), document(each.signal)) for each in message.signals]
        errors += [error_text(each) for each in message.errors]
    return Said(intents=intents, intent_documents=documents, logs=logs, signals=signals, error="; ".join(errors))
