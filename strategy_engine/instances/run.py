"""One run of an instance: live data in, wishes through policy to the broker, fills back; everything told as events."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from quasar.clock import Clock
from quasar.engine.live import LiveBar
from quasar.errors import InvalidArgument, NotFound, QuasarError
from quasar.model.instants import from_ns
from quasar.model.orders import (
    CancelAllIntent,
    CancelIntent,
    IntentAction,
    OrderIntent,
    PlaceIntent,
    ReplaceIntent,
    client_order_id,
)
from quasar.ops.events import Events, Severity
from strategy_engine.backtests.records import LoadedSeries
from strategy_engine.instances.instances import Instance, Said, Session, Shown
from strategy_engine.store.instance_table import InstanceTable
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.feed import Instant, LiveFeed
from strategy_engine.trading.orders import Changed, NewOrder


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What runs stand on."""

    table: InstanceTable
    desk: TradingDesk
    feed: LiveFeed
    events: Events
    clock: Clock


class Run:
    """Drives one strategy."""

    def __init__(
        self,
        around: Surroundings,
        instance: Instance,
        run_id: uuid.UUID,
        session: Session,
        last_intent: int,
        metrics: Mapping[str, Any],
    ) -> None:
        """Drive the strategy behind `session` for `instance`; what was broken off counts on from its `metrics`."""
        self._around = around
        self._instance = instance
        self.run_id = run_id
        self._session = session
        self._queue: asyncio.Queue[tuple[Instant | Sequence[Changed] | str, asyncio.Event] | None] = asyncio.Queue()
        self._last_intent = last_intent
        self._bars: int = metrics.get("bars", 0)
        self._signals: int = metrics.get("signals", 0)
        self._ticks: int = metrics.get("ticks", 0)
        self._errors: int = metrics.get("errors", 0)
        self._last_signal: Mapping[str, Any] = {}
        self._newest: dict[tuple[str, str], int] = {}
        self._time_ns: int = metrics.get("last_data_ns", 0)
        self._ready = False
        self.wants_ticks = False
        """The strategy hears of ticks; the others are not asked for each of them."""
        self.paused = False
        """Wishes of the strategy are not carried out."""

    async def warm_up(self, series: Sequence[LoadedSeries]) -> None:
        """Show bars of the past, of which wishes are not carried out."""
        by_close: dict[int, list[LiveBar]] = {}
        for each in series:
            for bar in each.bars.bars():
                close = bar.close_time_ns or bar.open_time_ns
                by_close.setdefault(close, []).append(LiveBar(each.facts.name, each.facts.interval, bar))
                self._newest[each.facts.name, each.facts.interval] = bar.open_time_ns
        bars = [bar for time in sorted(by_close) for bar in by_close[time]]
        self._time_ns = max([self._time_ns, *by_close])
        if bars:
            await self._session.show(Shown(time_ns=self._time_ns, bars=bars, warmup=True))

    def prepared(self) -> None:
        """Have the market wait from now on for what the strategy does at an instant."""
        self._ready = True

    def stop(self) -> None:
        """End the run after what is in hand."""
        self._queue.put_nowait(None)

    @contextmanager
    def reading(self, keys: Sequence[tuple[str, str, str]], names: set[tuple[str, str]]) -> Iterator[None]:
        """Keep what comes in while this lasts, to be shown by `go`; begun before history is read, there is no hole."""
        symbols = {symbol for symbol, _ in names}

        def read(instant: Instant) -> asyncio.Event | None:
            bars = [one for one in instant.bars if (one.symbol, one.interval) in names]
            ticks = [one for one in instant.ticks if one.symbol in symbols] if self.wants_ticks else []
            if not (bars or ticks):
                return None
            done = asyncio.Event()
            self._queue.put_nowait((Instant(bars, ticks), done))
            # Nobody waits for a strategy that is still being prepared.
            return done if self._ready else None

        async def hear(changed: Sequence[Changed]) -> None:
            own = [each for each in changed if each.order.run_id == self.run_id]
            if own:
                self._queue.put_nowait((own, asyncio.Event()))

        def lost(why: str) -> None:
            self._queue.put_nowait((f"live data was lost; bars and ticks are missing here: {why}", asyncio.Event()))

        self._around.desk.listen(hear)
        try:
            with self._around.feed.reading(keys, read, lost):
                yield
        finally:
            self._around.desk.unlisten(hear)

    async def go(self) -> None:
        """Show what came in and comes in until the run is stopped.

        Raises:
            PluginFailed: The strategy took too long.
            PluginUnavailable: Its process ended.
        """
        await self._carry_out(await self._session.first())
        while (item := await self._queue.get()) is not None:
            what, done = item
            try:
                if isinstance(what, str):
                    await self._log("warning", what)
                else:
                    await self._carry_out(await self._session.show(self._shown(what)))
            finally:
                done.set()
        await self._progress()

    def _shown(self, item: Instant | Sequence[Changed]) -> Shown:
        if not isinstance(item, Instant):
            return Shown(time_ns=self._time_ns, changes=item)
        bars = []
        for each in item.bars:
            name = (each.symbol, each.interval)
            if each.bar.open_time_ns > self._newest.get(name, -1):
                self._newest[name] = each.bar.open_time_ns
                bars.append(each)
        times = [each.bar.close_time_ns or each.bar.open_time_ns for each in bars] + [t.time_ns for t in item.ticks]
        self._time_ns = max([self._time_ns, *times])
        self._bars += len(bars)
        self._ticks += len(item.ticks)
        return Shown(time_ns=self._time_ns, bars=bars, ticks=item.ticks)

    async def _carry_out(self, said: Said) -> None:
        if said.logs or said.signals or said.error or said.intents:
            await self._tell(said)
        self._last_intent = max([self._last_intent, *(each.intent_number for each in said.intents)])
        # Before anything is sent: after a crash in between, no number stands for a second order. While more is waiting
        # to be shown, what only counts can wait too.
        if said.intents or said.signals or self._queue.empty():
            await self._progress()
        for intent in said.intents:
            if not self.paused or isinstance(intent.action, PlaceIntent):
                await self._act(intent)
            else:
                await self._leave(intent.action)

    async def _progress(self) -> None:
        counts = {"bars": self._bars, "ticks": self._ticks, "intents": self._last_intent, "errors": self._errors}
        metrics = {**counts, "last_data_ns": self._time_ns, **self._last_signal}
        await self._around.table.progress(self.run_id, self._last_intent, metrics)

    async def _act(self, intent: OrderIntent) -> None:
        desk, action = self._around.desk, intent.action
        if isinstance(action, PlaceIntent):
            new = NewOrder(
                client_order_id=client_order_id(self.run_id, intent.intent_number),
                account_id=self._instance.account_id,
                instance_id=self._instance.instance_id,
                run_id=self.run_id,
                intent_number=intent.intent_number,
                spec=action.order,
                origin="STRATEGY",
                decide_time=from_ns(intent.decide_time_ns),
                running=not self.paused,
            )
            try:
                await desk.place(new)
            except InvalidArgument as error:
                await self._log("error", f"order {intent.intent_number} was refused: {error.message}")
        elif isinstance(action, CancelIntent):
            name = client_order_id(self.run_id, action.target.intent_number, action.target.leg)
            try:
                await desk.cancel(name)
            except NotFound as error:
                await self._log("warning", error.message)
        elif isinstance(action, CancelAllIntent):
            await desk.cancel_all(instance_id=self._instance.instance_id, symbol=action.symbol)
        else:
            await self._change(action, intent.decide_time_ns)

    async def _change(self, action: ReplaceIntent, time_ns: int) -> None:
        name = client_order_id(self.run_id, action.target.intent_number, action.target.leg)
        problem = ""
        try:
            before = await self._around.desk.records.orders.get(name)
            after, decision = await self._around.desk.change(name, action.change, actor=None, decide_time_ns=time_ns)
            if decision is not None and not decision.allowed:
                problem = "; ".join(f"{each.reason}: {each.detail}" for each in decision.denials)
        except QuasarError as error:
            problem, before = error.message, None
        if problem:
            await self._log("warning", f"order {action.target.intent_number} was not changed: {problem}")
        if before is None or after.revision == before.revision:
            await self._tell_standing([name])

    async def _leave(self, action: IntentAction) -> None:
        """Carry out nothing of a wish about orders that work."""
        if isinstance(action, CancelAllIntent):
            found = await self._around.desk.open_orders(instance_id=self._instance.instance_id, symbol=action.symbol)
            await self._tell_standing([each.client_order_id for each in found])
        elif isinstance(action, CancelIntent | ReplaceIntent):
            await self._tell_standing([client_order_id(self.run_id, action.target.intent_number, action.target.leg)])

    async def _tell_standing(self, names: Sequence[str]) -> None:
        """Tell the strategy how orders stand, which it takes for ones that are being changed until then."""
        found = await self._around.desk.records.orders.find_all(list(names))
        if found:
            self._queue.put_nowait(([Changed(each, each.status) for each in found], asyncio.Event()))

    async def _log(self, level: str, message: str) -> None:
        payload = {"level": level, "message": message}
        async with self._around.table.database.transaction() as connection:
            await self._event(connection, "RunLogged", message, "LOG", payload, Severity.WARNING)

    async def _tell(self, said: Said) -> None:
        async with self._around.table.database.transaction() as connection:
            for line in said.logs:
                payload = {"level": line.level, "message": line.message, "place": line.place}
                await self._event(connection, "RunLogged", line.message[:500], "LOG", payload, Severity.INFO)
            for time_ns, signal in said.signals:
                self._signals += 1
                self._last_signal = {"signals": self._signals, "last_signal": dict(signal), "last_signal_ns": time_ns}
                text = f"Signal of {self._instance.instance_id}: {signal.get('label') or signal.get('symbol', '')}"
                await self._event(connection, "SignalGiven", text[:500], "SIGNAL", signal, Severity.INFO)
            if said.error:
                self._errors += 1
                payload = {"level": "error", "message": said.error}
                await self._event(connection, "StrategyRaised", said.error[:500], "LOG", payload, Severity.ERROR)
            for intent, found in zip(said.intents, said.intent_documents, strict=True):
                text = f"Intent {intent.intent_number} of {self._instance.instance_id}."
                await self._event(connection, "IntentGiven", text, "INTENT", found, Severity.INFO)

    async def _event(
        self,
        connection: Any,
        kind: str,
        message: str,
        telemetry: str,
        payload: Mapping[str, Any],
        severity: Severity,
    ) -> None:
        time = from_ns(self._time_ns) if self._time_ns else self._around.clock.now()
        await self._around.events.record(
            connection,
            kind,
            message,
            subject_type="instance",
            subject_name=self._instance.instance_id,
            severity=severity,
            data={"telemetry": telemetry, "payload": dict(payload), "event_time": time.isoformat()},
            run_id=str(self.run_id),
        )
