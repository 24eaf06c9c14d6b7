"""A strategy in its process: the same numbers as outside, errors with their lines, a way out of every loop."""

from __future__ import annotations

import asyncio
import textwrap
import uuid
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from quasar import errors
from quasar.convert.columns import BarChunk, encode_bars
from quasar.convert.plugin_orders import intent_from_proto
from quasar.engine.backtest import run_backtest
from quasar.engine.commission import PercentCommission
from quasar.engine.grid import Grid
from quasar.engine.rules import ExitsFrom, MarketRules
from quasar.engine.series import Series
from quasar.model.bars import BarColumns
from quasar.model.orders import PlaceIntent
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind
from quasar.plugins.strategy import BacktestSpec, StrategyHandle, StrategyInput
from quasar_proto.plugin.v1 import strategy_pb2
from tests.integration.plugins.conftest import Plugins

MINUTE = 60_000_000_000
CROSS = """
    fast = Parameter(5, minimum=1)

    def on_start(self):
        self.quick, self.calm = self.indicator(SMA(self.fast)), self.indicator(SMA(20))
        self.log("ready")

    def on_bar(self, bar):
        if self.position.is_flat and self.quick.value > self.calm.value:
            self.buy(10)
        elif self.position.is_long and self.quick.value < self.calm.value:
            self.close()
"""
TERMS = {
    "cash": {"amount": {"value": "100000"}, "currency": "USD"},
    "recordLevel": "RECORD_LEVEL_FULL",
    "execution": {"commission": {"rate": {"rate": {"value": "0.001"}}}},
}


def strategy_code(body: str, name: str = "mine") -> CodeVersion:
    source = f"from quasar.strategy import *\n\n\nclass Mine(Strategy):\n    name = {name!r}\n"
    source += textwrap.indent(textwrap.dedent(body), "    ")
    return CodeVersion(kind=Kind.STRATEGY, name=name, source=source.encode(), file_name=f"{name}.py", ports=())


def market(rows: int = 5_000) -> BarColumns:
    steps = np.random.default_rng(7).normal(0.0, 0.002, rows)
    close = np.round(100.0 * np.exp(np.cumsum(steps)), 2)
    times = np.arange(rows, dtype=np.int64) * MINUTE
    return BarColumns(times, close, close + 0.05, close - 0.05, close, np.full(rows, 1000.0))


def spec(bars: BarColumns | None = None, **fields: Any) -> BacktestSpec:
    series = StrategyInput(
        name="ABC",
        interval="1min",
        bars=bars if bars is not None else market(),
        price_tick=Decimal("0.01"),
        quantity_step=Decimal(1),
    )
    return BacktestSpec(**{"backtest_id": "b", "series": [series], "terms": TERMS, **fields})


async def outcome(handle: StrategyHandle, wanted: BacktestSpec) -> strategy_pb2.BacktestOutcome:
    async for message in handle.run_backtest(wanted):
        if message.HasField("outcome"):
            return message.outcome
    raise AssertionError("a back-test must end with its outcome")


async def test_a_back_test_gives_what_the_engine_gives_outside_to_the_last_digit(plugins: Plugins) -> None:
    handle = await plugins.pool.strategy(strategy_code(CROSS))
    messages = [message async for message in handle.run_backtest(spec(parameters={"fast": 8}))]
    space: dict[str, Any] = {"__name__": "outside"}
    exec(strategy_code(CROSS).source, space)
    rules = MarketRules(
        cash=Decimal(100_000), commission=PercentCommission(Decimal("0.001")), exits_from=ExitsFrom.NEXT_BAR
    )
    expected = run_backtest(space["Mine"]({"fast": 8}), [Series("ABC", market(), "1min", Grid(2, 0))], rules)
    fills = [fill for message in messages for fill in message.fills]
    equity = [value for message in messages for chunk in message.equity for value in chunk.equity]
    assert [Decimal(fill.price.value) for fill in fills] == [fill.price for fill in expected.exact_fills()]
    assert equity == expected.equity.tolist()
    assert Decimal(messages[-1].outcome.equity.amount.value) == expected.final_equity
    assert sum(len(message.trades) for message in messages) == len(expected.trades) > 10
    assert [line.message for message in messages for line in message.logs] == ["ready"]


async def test_an_error_of_the_strategy_is_an_outcome_with_its_line(plugins: Plugins) -> None:
    handle = await plugins.pool.strategy(strategy_code("def on_bar(self, bar):\n    return 1 / 0"))
    found = await outcome(handle, spec())
    assert not found.succeeded
    assert (found.error.type, found.error.file, found.error.line) == ("ZeroDivisionError", "mine.py", 7)


async def test_a_call_that_never_returns_ends_the_back_test_and_the_process(plugins: Plugins) -> None:
    handle = await plugins.pool.strategy(strategy_code("def on_bar(self, bar):\n    while True: pass"))
    process = handle.keeper.process
    assert process is not None
    found = await outcome(handle, spec(callback_s=0.5))
    assert found.error.type == "TimeoutError"
    async with asyncio.timeout(60):
        await process.ended.wait()
    assert (await handle.keeper.ready()).pid != process.pid


async def test_closing_the_stream_cancels_the_back_test(plugins: Plugins) -> None:
    body = "def on_bar(self, bar):\n    import time; time.sleep(0.001)"
    handle = await plugins.pool.strategy(strategy_code(body))
    async with aclosing(handle.run_backtest(spec(progress_s=0.05))) as messages:
        async for message in messages:
            if message.HasField("progress"):
                break
    async with asyncio.timeout(60):
        assert (await outcome(handle, spec(market(10)))).succeeded


async def test_terms_that_the_engine_lacks_are_refused_by_name(plugins: Plugins) -> None:
    handle = await plugins.pool.strategy(strategy_code(CROSS))
    terms = TERMS | {"execution": {"slippage": {"random": {"sigma": {"value": "0.1"}}}}}
    with pytest.raises(errors.InvalidArgument, match="slippage must be zero, ratio, volume_share"):
        await outcome(handle, spec(terms=terms))


async def test_a_parameter_out_of_bounds_is_refused_by_name(plugins: Plugins) -> None:
    handle = await plugins.pool.strategy(strategy_code(CROSS))
    with pytest.raises(errors.InvalidArgument, match="parameter fast must be at least 1, was 0"):
        await outcome(handle, spec(parameters={"fast": 0}))


def start_request(run_id: str) -> strategy_pb2.StartLiveRequest:
    series = StrategyInput(name="ABC", interval="1min", price_tick=Decimal("0.01"), quantity_step=Decimal(1))
    request = strategy_pb2.StartLiveRequest(
        run_id=run_id,
        series=[series.to_proto(1)],
        next_intent_number=1,
        mode=2,  # type: ignore[arg-type]  # PAPER
    )
    request.cash.add(currency="USD").amount.value = "100000"
    return request


def push_request(run_id: str, sequence: int, bars: BarColumns) -> strategy_pb2.PushEventsRequest:
    request = strategy_pb2.PushEventsRequest(
        run_id=run_id, sequence=sequence, time_ns=int(bars.open_time_ns[-1]) + MINUTE
    )
    request.bars.add().ParseFromString(encode_bars(BarChunk(1, bars)))
    return request


async def test_live_events_give_the_intents_of_the_back_test(plugins: Plugins) -> None:
    body = "def on_bar(self, bar):\n    if bar.index % 3 == 0: self.buy(1, limit=bar.close)"
    handle = await plugins.pool.strategy(strategy_code(body), "live")
    run_id, bars = str(uuid.uuid4()), market(30)
    got: list[strategy_pb2.StartLiveResponse] = []
    ready = asyncio.Event()

    async def listen() -> None:
        async for message in handle.start_live(start_request(run_id)):
            got.append(message)
            ready.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        await ready.wait()
        for row in range(30):
            answer = await handle.push_events(push_request(run_id, row + 1, bars[row : row + 1]))
            assert answer.handled_sequence == row + 1
        again = await handle.push_events(push_request(run_id, 30, bars[29:30]))
        assert again.handled_sequence == 30
        await handle.stop_live(run_id)
    intents = [intent_from_proto(intent) for message in got for intent in message.intents]
    assert [intent.intent_number for intent in intents] == list(range(1, 11))
    first = intents[0].action
    assert isinstance(first, PlaceIntent)
    assert first.order.limit_price == Decimal(str(bars.close[0]))


async def test_a_live_run_ends_with_its_good_bye_when_the_process_is_to_end(plugins: Plugins) -> None:
    handle = await plugins.pool.strategy(strategy_code("def on_stop(self):\n    self.log('good-bye')"), "live")
    got: list[str] = []
    ready = asyncio.Event()

    async def listen() -> None:
        async for message in handle.start_live(start_request(str(uuid.uuid4()))):
            got.extend(line.message for line in message.logs)
            ready.set()

    listening = asyncio.create_task(listen())
    await ready.wait()
    await plugins.pool.stop(Kind.STRATEGY, "mine", "live")
    await listening
    assert got == ["good-bye"]


async def test_a_live_call_that_never_returns_is_killed_and_told(plugins: Plugins) -> None:
    handle = await plugins.pool.strategy(strategy_code("def on_bar(self, bar):\n    while True: pass"), "live")
    run_id, ready = str(uuid.uuid4()), asyncio.Event()

    async def listen() -> None:
        async for _ in handle.start_live(start_request(run_id)):
            ready.set()

    listening = asyncio.create_task(listen())
    await ready.wait()
    with pytest.raises(errors.PluginFailed, match=r"did not handle an event within 0\.5 s and was killed"):
        await handle.push_events(push_request(run_id, 1, market(1)), callback_s=0.5)
    with pytest.raises(errors.PluginUnavailable):
        await listening
    await handle.keeper.ready()
    assert [notice.cause.value for notice in plugins.notices] == ["hung"]
