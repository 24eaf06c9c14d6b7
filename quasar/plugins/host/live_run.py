"""One live or paper run: events in, one after the other; wishes out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any

from quasar import errors
from quasar.convert.columns import decode_bars, decode_ticks
from quasar.convert.plugin_orders import (
    decimal_of,
    fill_from_proto,
    intent_to_proto,
    position_from_proto,
    update_from_proto,
)
from quasar.convert.plugin_records import log_line, timed_signal
from quasar.engine.grid import Grid
from quasar.engine.live import LiveBar, LiveEngine, LiveTick
from quasar.engine.rules import MarketRules
from quasar.model.bars import Bar, BarState
from quasar.model.orders import OrderIntent, backtest_order_id, client_order_id
from quasar.model.ticks import Tick
from quasar.plugins.host.blame import blame
from quasar.plugins.host.runtime import Runtime
from quasar.strategy import Strategy
from quasar_proto.plugin.v1 import strategy_pb2

Write = Callable[[Any], Awaitable[None]]


class LiveRun:
    """Runs one instance of the strategy, in one thread of its own, so that the process goes on answering."""

    def __init__(
        self, runtime: Runtime, strategy: Strategy, request: strategy_pb2.StartLiveRequest, grids: Mapping[str, Grid]
    ) -> None:
        """Prepare from what the host knows of the run."""
        self.run_id = request.run_id
        self._runtime = runtime
        self._strategy = strategy
        self._request = request
        self._names = {one.series_id: (one.series.symbol, one.series.series.interval) for one in request.series}
        cash = next((decimal_of(one, "amount") for one in request.cash), None) or Decimal(0)
        currency = request.cash[0].currency if request.cash else "USD"
        self._engine = LiveEngine(
            strategy, list(dict.fromkeys(self._names.values())), grids, MarketRules(cash=cash, currency=currency)
        )
        positions = [position_from_proto(one) for one in request.positions]
        self._engine.adopt(cash=cash, positions=positions, next_intent_number=request.next_intent_number)
        self._thread = ThreadPoolExecutor(1, "strategy")
        self._turn = asyncio.Lock()
        self._outgoing: asyncio.Queue[strategy_pb2.StartLiveResponse | None] = asyncio.Queue()
        self._handled = request.state.event_sequence if request.HasField("state") else 0
        self._seen_events = False
        self._output = 0
        self._notes = 0
        self._time_ns = request.time_ns

    async def serve(self, write: Write) -> None:
        """Let the strategy prepare, then write what it wants until the run ends."""
        intents = await self._call(self._engine.start, self._request.time_ns)
        warmup = max(self._engine.warm_up_bars.values(), default=0)
        ready = strategy_pb2.StrategyReady(restored=self._request.HasField("state"), warmup_bars=warmup)
        self._tell(intents, ready=ready)
        try:
            while (message := await self._outgoing.get()) is not None:
                await write(message)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def push(self, request: strategy_pb2.PushEventsRequest) -> strategy_pb2.PushEventsResponse:
        """Show the events of one call; a sequence that was handled already is answered again."""
        async with self._turn:
            if request.sequence > self._handled + 1:
                raise errors.FailedPrecondition(f"sequence must be {self._handled + 1}, was {request.sequence}")
            answer = strategy_pb2.PushEventsResponse()
            if request.sequence == self._handled + 1:
                answer = await self._handle(request)
                self._handled = request.sequence
                self._seen_events = True
            answer.handled_sequence = self._handled
            answer.output_sequence = self._output
            return answer

    async def _handle(self, request: strategy_pb2.PushEventsRequest) -> strategy_pb2.PushEventsResponse:
        clock = self._runtime.context.clock
        began = clock.monotonic()
        answer = strategy_pb2.PushEventsResponse()
        intents: list[OrderIntent] = []
        for step in self._steps(request):
            try:
                intents += await self._call(step)
            except Exception as error:
                answer.error.CopyFrom(self._error(error))
        self._time_ns = max(self._time_ns, request.time_ns)
        answer.elapsed.FromNanoseconds(int((clock.monotonic() - began) * 1e9))
        if request.warmup:
            intents = []
        self._tell(intents, sequence=request.sequence, want_state=request.want_state)
        return answer

    def _steps(self, request: strategy_pb2.PushEventsRequest) -> Iterable[Callable[[], list[OrderIntent]]]:
        """Yield what is done, in the order of the contract: fills, orders, ticks, bars, time."""
        engine = self._engine
        for fill in request.fills:
            number, leg = self._order_name(fill.client_order_id)
            yield partial(engine.on_fill, number, leg, fill_from_proto(fill))
        for order in request.orders:
            _, leg = self._order_name(order.client_order_id, order.intent_number)
            yield partial(engine.on_order, update_from_proto(order, leg))
        for tick in self._ticks(request):
            yield partial(engine.on_tick, tick)
        for bars in self._bars(request):
            yield partial(self._warm_up if request.warmup else engine.on_bars, bars)
        if not request.warmup:
            yield partial(engine.on_time, request.time_ns)

    def _warm_up(self, bars: Sequence[LiveBar]) -> list[OrderIntent]:
        self._engine.warm_up(bars)
        return []

    def _order_name(self, order_id: str, intent_number: int = 0) -> tuple[int, int]:
        """Return the intent and leg of an order of this run by its id; (the number given, 0) for another's."""
        numbers = (intent_number,) if intent_number else tuple({number for number, _ in self._engine.desk.orders})
        for number in numbers:
            for leg in range(3):
                if order_id in (self._order_id(number, leg), backtest_order_id(number, leg).replace("/", "-")):
                    return (number, leg)
        return (intent_number, 0)

    def _order_id(self, number: int, leg: int) -> str:
        try:
            return client_order_id(uuid.UUID(self.run_id), number, leg)
        except ValueError:
            return ""  # a run without a UUID has no orders outside of a test

    def _ticks(self, request: strategy_pb2.PushEventsRequest) -> list[LiveTick]:
        found = []
        for chunk in request.ticks:
            read = decode_ticks(chunk.SerializeToString())
            symbol = self._names.get(read.series_id, ("", ""))[0]
            found += [_live_tick(symbol, tick) for tick in read.columns.ticks()] if symbol else []
        return sorted(found, key=lambda tick: tick.time_ns)

    def _bars(self, request: strategy_pb2.PushEventsRequest) -> list[list[LiveBar]]:
        """Return closed bars grouped by the instant at which they closed."""
        by_close: dict[int, list[LiveBar]] = {}
        for chunk in request.bars:
            read = decode_bars(chunk.SerializeToString())
            symbol, interval = self._names.get(read.series_id, ("", ""))
            for bar in read.columns.bars() if symbol else ():
                if bar.state is BarState.CLOSED:
                    by_close.setdefault(_close(bar), []).append(LiveBar(symbol, interval, bar))
        return [by_close[time] for time in sorted(by_close)]

    async def stop(self, *, immediately: bool) -> strategy_pb2.StrategyState:
        """End the run; unless immediately, the strategy may say good-bye."""
        async with self._turn:
            if not immediately:
                try:
                    self._tell(await self._call(self._engine.stop))
                except Exception as error:
                    self._output += 1
                    self._outgoing.put_nowait(
                        strategy_pb2.StartLiveResponse(sequence=self._output, errors=[self._error(error)])
                    )
            self._outgoing.put_nowait(None)
            return self.state()

    def state(self) -> strategy_pb2.StrategyState:
        """Return what a successor begins from; the strategy's own attributes are not part of it."""
        return strategy_pb2.StrategyState(
            event_sequence=self._handled,
            next_intent_number=self._engine.desk.number + 1,
            event_time_ns=self._time_ns,
            encoding="none",
            code_version=self._runtime.spec.version,
        )

    def restore(self, state: strategy_pb2.StrategyState) -> int:
        """Begin from a state; returns the sequence after which events are taken.

        Raises:
            FailedPrecondition: The run has seen an event.
        """
        if self._seen_events:
            raise errors.FailedPrecondition("the run must not have seen an event, has seen some")
        self._handled = state.event_sequence
        self._engine.desk.number = max(self._engine.desk.number, state.next_intent_number - 1)
        return self._handled

    def _tell(
        self,
        intents: Sequence[OrderIntent],
        *,
        ready: strategy_pb2.StrategyReady | None = None,
        sequence: int = 0,
        want_state: bool = False,
    ) -> None:
        desk = self._engine.desk
        # Taken away, so that a run of months may write as much as it likes: only one call's lines are bounded.
        notes, desk.notes[:] = desk.notes.copy(), []
        signals, desk.signals[:] = desk.signals.copy(), []
        if not (intents or ready or notes or signals or want_state):
            return
        self._output += 1
        message = strategy_pb2.StartLiveResponse(
            sequence=self._output,
            event_sequence=sequence or self._handled,
            ready=ready,
            intents=[intent_to_proto(one) for one in intents],
            signals=[timed_signal(one) for one in signals],
            logs=[log_line(note, self._notes + number) for number, note in enumerate(notes, 1)],
        )
        self._notes += len(notes)
        if want_state:
            message.state.CopyFrom(self.state())
        self._outgoing.put_nowait(message)

    async def _call(self, work: Callable[..., list[OrderIntent]], *arguments: Any) -> list[OrderIntent]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _error(self, error: BaseException) -> strategy_pb2.StrategyError:
        why, redact = blame(error), self._runtime.context.redact
        return strategy_pb2.StrategyError(
            type=why.type,
            message=redact(why.message),
            file=why.file,
            line=why.line,
            traceback=redact(why.traceback),
            event_time_ns=self._time_ns,
        )


def _live_tick(symbol: str, tick: Tick) -> LiveTick:
    return LiveTick(
        symbol=symbol,
        time_ns=tick.event_time_ns,
        price=tick.price,
        size=tick.size,
        bid=tick.bid_price,
        ask=tick.ask_price,
    )


def _close(bar: Bar) -> int:
    return bar.open_time_ns if bar.close_time_ns is None else bar.close_time_ns
