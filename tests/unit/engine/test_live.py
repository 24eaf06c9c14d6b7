from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasar import errors
from quasar.engine.backtest import run_backtest
from quasar.engine.commission import PercentCommission
from quasar.engine.grid import Grid
from quasar.engine.live import LiveBar, LiveEngine, LiveTick
from quasar.engine.paper import PaperBroker, PaperEvent
from quasar.engine.rules import ExitsFrom, MarketRules
from quasar.engine.series import Series
from quasar.model.bars import Bar as BarValue
from quasar.model.bars import BarColumns
from quasar.model.orders import Fill, OrderIntent, OrderSide, PlaceIntent, Position
from quasar.strategy import ATR, EMA, SMA, Bar, BracketLeg, Contingency, Strategy, Tick, TimeInForce, WorkingOrder
from tests.unit.engine.markets import MINUTE_NS, START_NS, random_bars, series


class Erratic(Strategy):
    """Does at random, but reproducibly, everything that a strategy may do."""

    max_symbols = 3

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.handles: list[WorkingOrder] = []
        self.heard: list[tuple[str, Decimal, Decimal]] = []

    def on_start(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - nothing secret
        self.average = self.indicator(SMA(5))
        self.smooth = self.indicator(EMA(4))
        self.range = self.indicator(ATR(3))

    def on_bar(self, bar: Bar) -> None:
        chance = self.chance
        lean = 1 if self.average.value > self.smooth.value else -1
        offset = self.range.value * chance.uniform(-1, 2) if self.range.ready else 0.5
        action = chance.choice(["nothing", "nothing", "market", "limit", "stop", "stop_limit", "bracket", "group"])
        action = chance.choice([action, "cancel", "cancel_all", "replace", "close", "trail", "touch", "tif"])
        getattr(self, f"do_{action}")(bar, chance, lean, offset)
        self.handles = [order for order in self.handles if order.is_open][-20:]

    def do_nothing(self, *_: object) -> None: ...

    def trade(self, sign: int, *args: Any, **terms: Any) -> None:
        self.handles.append((self.buy if sign > 0 else self.sell)(*args, **terms))

    def do_market(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        self.trade(lean, chance.randint(1, 50))

    def do_limit(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        self.trade(lean, chance.randint(1, 50), limit=bar.close - lean * offset, post_only=chance.random() < 0.2)

    def do_stop(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        self.trade(lean, 7, stop=bar.close + lean * offset)

    def do_stop_limit(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        self.trade(lean, 7, stop=bar.close + lean * offset, limit=bar.close + lean * (offset + 0.1))

    def do_bracket(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        distance = Decimal(str(round(abs(offset) + 0.05, 2)))
        self.trade(
            lean,
            20,
            stop_loss=BracketLeg(offset=distance, trailing=chance.random() < 0.3),
            take_profit=BracketLeg(offset_ratio=Decimal("0.004")),
        )

    def do_group(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        label = f"pair {bar.index}"
        for side, level in ((1, bar.close - 0.3), (-1, bar.close + 0.3)):
            self.trade(side, 5, limit=level, group=label, contingency=Contingency.OCO)

    def do_cancel(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        if self.handles:
            self.cancel(chance.choice(self.handles))

    def do_cancel_all(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        self.cancel_all(chance.choice([None, bar.symbol]))

    def do_replace(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        for order in self.handles:
            if order.is_open and order.limit is not None and order.trigger is None:
                self.replace(order, limit=bar.close - order.sign * 0.2)
                return

    def do_close(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        self.close()

    def do_trail(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        self.trade(-lean, 9, trail_ratio="0.003", reduce_only=chance.random() < 0.5)

    def do_touch(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        self.trade(lean, 4, touch=bar.close - lean * 0.2)

    def do_tif(self, bar: Bar, chance: random.Random, lean: int, offset: float) -> None:
        kind = chance.choice([TimeInForce.IOC, TimeInForce.FOK, TimeInForce.DAY, TimeInForce.AT_OPEN])
        self.trade(lean, 6, limit=bar.close + lean * 0.05, tif=kind)

    def on_fill(self, fill: Fill) -> None:
        self.heard.append((fill.client_order_id, fill.quantity, fill.price))
        if self.chance.random() < 0.1:
            self.buy(1, symbol=fill.symbol, limit=fill.price - 1)


class Driver:
    """Runs a live engine against a paper broker, as the strategy engine does, without policy in between."""

    def __init__(self, engine: LiveEngine, broker: PaperBroker) -> None:
        self.engine = engine
        self.broker = broker
        self.intents: list[OrderIntent] = []
        self.send(engine.start())

    def send(self, intents: Sequence[OrderIntent]) -> None:
        for intent in intents:
            self.intents.append(intent)
            self.tell(self.broker.handle(intent))

    def tell(self, events: Sequence[PaperEvent]) -> None:
        for event in events:
            if isinstance(event, tuple):
                (number, leg), fill = event
                self.send(self.engine.on_fill(number, leg, fill))
            else:
                self.send(self.engine.on_order(event))

    def bars(self, bars: Sequence[LiveBar]) -> None:
        self.tell(self.broker.on_bars(bars))
        self.send(self.engine.on_bars(bars))

    def tick(self, tick: LiveTick) -> None:
        self.tell(self.broker.on_tick(tick))
        self.send(self.engine.on_tick(tick))


def instants(lanes: Sequence[Series]) -> list[list[LiveBar]]:
    found: dict[int, list[LiveBar]] = {}
    for lane in lanes:
        columns = lane.bars
        for row, close_ns in enumerate(lane.close_time_ns.tolist()):
            bar = columns.bar(row)
            value = BarValue(bar.open_time_ns, bar.open, bar.high, bar.low, bar.close, bar.volume, close_ns)
            found.setdefault(close_ns, []).append(LiveBar(lane.symbol, lane.interval, value))
    return [found[time] for time in sorted(found)]


def follow(strategy: Strategy, lanes: Sequence[Series], rules: MarketRules) -> Driver:
    grids = {lane.symbol: lane.grid for lane in lanes}
    engine = LiveEngine(strategy, [(lane.symbol, lane.interval) for lane in lanes], grids, rules)
    driver = Driver(engine, PaperBroker(rules, grids))
    for batch in instants(lanes):
        driver.bars(batch)
    driver.send(engine.stop())
    return driver


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    symbols=st.integers(1, 3),
    exits=st.sampled_from(ExitsFrom),
    share=st.sampled_from([None, Decimal("0.05")]),
)
def test_live_trading_asks_for_what_the_back_test_asks_for(
    seed: int, symbols: int, exits: ExitsFrom, share: Decimal | None
) -> None:
    lanes = [
        Series(name, random_bars(150 + 10 * row, seed + row), "1min", Grid(2)) for row, name in enumerate("ABC"[:symbols])
    ]
    commission = PercentCommission(Decimal("0.0005"))
    rules = MarketRules(cash=Decimal(20_000), commission=commission, exits_from=exits, volume_share=share)
    tested, live = Erratic(seed), Erratic(seed)
    result = run_backtest(tested, lanes, rules, keep_intents=True)
    driver = follow(live, lanes, rules)
    assert driver.intents == list(result.intents)
    assert live.heard == tested.heard
    assert driver.engine.ledger.cash == result.ledger.cash
    assert driver.broker.ledger.equity == result.ledger.equity
