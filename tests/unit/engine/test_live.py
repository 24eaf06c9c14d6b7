from __future__ import annotations

import dataclasses
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
from quasar.engine.live import LiveBar, LiveEngine, LiveTick, OrderUpdate
from quasar.engine.paper import PaperBroker, PaperEvent
from quasar.engine.rules import ExitsFrom, MarketRules
from quasar.engine.series import Series
from quasar.model.bars import Bar as BarValue
from quasar.model.bars import BarColumns
from quasar.model.order_states import OrderStatus
from quasar.model.orders import (
    Bracket,
    Fill,
    OrderChange,
    OrderIntent,
    OrderSide,
    OrderSpec,
    OrderTarget,
    OrderType,
    PlaceIntent,
    Position,
    ReplaceIntent,
)
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
        self.chance = random.Random(self.seed)
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


@settings(max_examples=25, deadline=None, derandomize=True)
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
        Series(name, random_bars(150 + 10 * row, seed + row), "1min", Grid(2))
        for row, name in enumerate("ABC"[:symbols])
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


class TickTaker(Strategy):
    def on_start(self) -> None:
        self.seen: list[float] = []
        self.filled: list[Fill] = []

    def on_tick(self, tick: Tick) -> None:
        self.seen.append(tick.price)
        if len(self.seen) == 1:
            self.bracket(10, stop_loss=tick.price - 1, take_profit=tick.price + 1)

    def on_fill(self, fill: Fill) -> None:
        self.filled.append(fill)


def test_ticks_fill_orders_at_the_side_of_the_quote_that_they_meet() -> None:
    strategy = TickTaker()
    grids = {"X": Grid(2)}
    driver = Driver(LiveEngine(strategy, [("X", "1min")], grids), PaperBroker(MarketRules(), grids))
    for second, (bid, ask) in enumerate([(99.9, 100.1), (99.9, 100.1), (100.9, 101.1), (101.05, 101.2)]):
        driver.tick(LiveTick(symbol="X", time_ns=START_NS + second * 10**9, price=100.0, bid=bid, ask=ask))
    assert [(fill.side, fill.price) for fill in strategy.filled] == [
        (OrderSide.BUY, Decimal("100.10")),
        (OrderSide.SELL, Decimal("101.05")),
    ]
    assert driver.broker.ledger.exact_amount(driver.broker.ledger.cash) == Decimal("100009.50")
    assert not driver.broker.open_orders


def test_an_intent_that_comes_twice_makes_one_order() -> None:
    grids = {"X": Grid(2)}
    strategy = TickTaker()
    engine, broker = LiveEngine(strategy, [("X", "1min")], grids), PaperBroker(MarketRules(), grids)
    engine.start()
    (intent,) = engine.on_tick(LiveTick(symbol="X", time_ns=START_NS, price=100.0))
    assert isinstance(intent.action, PlaceIntent)
    assert broker.handle(intent)
    assert broker.handle(intent) == []
    assert [order.client_order_id for order in broker.open_orders] == ["1"]


def test_an_order_is_not_filled_on_a_bar_that_opened_before_it_was_given() -> None:
    grids = {"X": Grid(2)}
    strategy = TickTaker()
    engine, broker = LiveEngine(strategy, [("X", "1min")], grids), PaperBroker(MarketRules(), grids)
    engine.start()
    for intent in engine.on_tick(LiveTick(symbol="X", time_ns=START_NS + 30 * 10**9, price=100.0)):
        broker.handle(intent)
    early = BarValue(START_NS, 90.0, 101.0, 90.0, 100.0, 10.0, START_NS + MINUTE_NS)
    later = BarValue(START_NS + MINUTE_NS, 100.0, 100.5, 99.5, 100.0, 10.0, START_NS + 2 * MINUTE_NS)
    assert broker.on_bars([LiveBar("X", "1min", early)]) == []
    filled = [event for event in broker.on_bars([LiveBar("X", "1min", later)]) if isinstance(event, tuple)]
    assert [fill.price for _, fill in filled] == [Decimal("100.00")]


def test_a_changed_order_is_not_filled_by_what_its_bar_did_before_the_change() -> None:
    broker = PaperBroker(MarketRules(), {"X": Grid(2)})
    spec = OrderSpec(symbol="X", side=OrderSide.BUY, type=OrderType.LIMIT, quantity=Decimal(1), limit_price=Decimal(90))
    broker.handle(OrderIntent(intent_number=1, decide_time_ns=START_NS, action=PlaceIntent(spec)))
    raised = ReplaceIntent(OrderTarget(1), OrderChange(limit_price=Decimal(99)))
    broker.handle(OrderIntent(intent_number=2, decide_time_ns=START_NS + 30 * 10**9, action=raised))
    early = BarValue(START_NS, 100.0, 106.0, 98.0, 105.0, 10.0, START_NS + MINUTE_NS)
    assert broker.on_bars([LiveBar("X", "1min", early)]) == []
    later = BarValue(START_NS + MINUTE_NS, 105.0, 105.0, 98.0, 100.0, 10.0, START_NS + 2 * MINUTE_NS)
    filled = [event for event in broker.on_bars([LiveBar("X", "1min", later)]) if isinstance(event, tuple)]
    assert [fill.price for _, fill in filled] == [Decimal("99.00")]


def test_exits_tell_their_quantity_whenever_their_entry_fills_in_part() -> None:
    broker = PaperBroker(MarketRules(volume_share=Decimal("0.5")), {"X": Grid(2)})
    bracket = Bracket(stop_loss=BracketLeg(price=Decimal(90)), take_profit=BracketLeg(price=Decimal(110)))
    spec = OrderSpec(symbol="X", side=OrderSide.BUY, type=OrderType.MARKET, quantity=Decimal(10), bracket=bracket)
    broker.handle(OrderIntent(intent_number=1, decide_time_ns=START_NS, action=PlaceIntent(spec)))
    told: dict[int, list[Decimal | None]] = {1: [], 2: []}
    for index, (price, volume) in enumerate(((100.0, 8.0), (101.0, 20.0), (110.0, 6.0))):
        bar = BarValue(
            START_NS + index * MINUTE_NS, price, price, price, price, volume, START_NS + (index + 1) * MINUTE_NS
        )
        for event in broker.on_bars([LiveBar("X", "1min", bar)]):
            if isinstance(event, OrderUpdate) and event.leg:
                told[event.leg].append(event.quantity)
    assert told[1] == [Decimal(4), Decimal(10), Decimal(7)]  # what the target sold, the stop need not sell
    assert told[2][:2] == [Decimal(4), Decimal(10)]


def test_an_order_that_is_triggered_without_a_fill_says_so() -> None:
    broker = PaperBroker(MarketRules(), {"X": Grid(2)})
    spec = OrderSpec(
        symbol="X",
        side=OrderSide.BUY,
        type=OrderType.STOP_LIMIT,
        quantity=Decimal(1),
        trigger_price=Decimal(105),
        limit_price=Decimal(95),
    )
    broker.handle(OrderIntent(intent_number=1, decide_time_ns=START_NS, action=PlaceIntent(spec)))
    bar = BarValue(START_NS, 100.0, 106.0, 99.0, 105.0, 10.0, START_NS + MINUTE_NS)
    (told,) = broker.on_bars([LiveBar("X", "1min", bar)])
    assert isinstance(told, OrderUpdate)
    assert told.status is OrderStatus.TRIGGERED


def test_the_end_of_a_dated_order_may_be_moved_and_that_of_no_other() -> None:
    broker = PaperBroker(MarketRules(), {"X": Grid(2)})
    dated = OrderSpec(
        symbol="X",
        side=OrderSide.BUY,
        type=OrderType.LIMIT,
        quantity=Decimal(1),
        limit_price=Decimal(90),
        time_in_force=TimeInForce.GTD,
        expire_time_ns=START_NS + MINUTE_NS,
    )
    broker.handle(OrderIntent(intent_number=1, decide_time_ns=START_NS, action=PlaceIntent(dated)))
    plain = dataclasses.replace(dated, time_in_force=TimeInForce.GTC, expire_time_ns=None)
    broker.handle(OrderIntent(intent_number=2, decide_time_ns=START_NS, action=PlaceIntent(plain)))
    moved = OrderChange(expire_time_ns=START_NS + 10 * MINUTE_NS)
    broker.handle(OrderIntent(intent_number=3, decide_time_ns=START_NS, action=ReplaceIntent(OrderTarget(1), moved)))
    with pytest.raises(errors.InvalidArgument, match="GTC"):
        broker.handle(
            OrderIntent(intent_number=4, decide_time_ns=START_NS, action=ReplaceIntent(OrderTarget(2), moved))
        )
    later = BarValue(START_NS + 5 * MINUTE_NS, 100.0, 100.0, 100.0, 100.0, 10.0, START_NS + 6 * MINUTE_NS)
    broker.on_bars([LiveBar("X", "1min", later)])
    assert [order.client_order_id for order in broker.open_orders] == ["1", "2"]


class Holder(Strategy):
    warm_up = 3

    def on_start(self) -> None:
        self.closes: list[float] = []

    def on_bar(self, bar: Bar) -> None:
        self.closes = self.history(10).close.tolist()
        self.close()


def test_a_run_continues_from_what_is_held_and_never_uses_a_number_twice() -> None:
    strategy = Holder()
    engine = LiveEngine(strategy, [("X", "1min")], {"X": Grid(2)})
    held = Position(symbol="X", quantity=Decimal(7), average_price=Decimal("99.5"))
    engine.adopt(cash=Decimal(500), positions=[held], next_intent_number=12)
    engine.start()
    lane = series(*[(100.0 + row, 101.0 + row, 99.0 + row, 100.5 + row) for row in range(3)])
    batches = instants([lane])
    assert engine.warm_up_bars == {("X", "1min"): 2}
    engine.warm_up([*batches[0], *batches[1]])
    (intent,) = engine.on_bars(batches[2])
    assert intent.intent_number == 12
    assert isinstance(intent.action, PlaceIntent)
    assert (intent.action.order.side, intent.action.order.quantity) == (OrderSide.SELL, Decimal(7))
    assert strategy.closes == [100.5, 101.5, 102.5]


def test_bars_that_go_back_in_time_are_refused() -> None:
    engine = LiveEngine(Holder(), [("X", "1min")], {"X": Grid(2)})
    engine.start()
    (first,), (second,) = instants([series((1, 1, 1, 1), (1, 1, 1, 1))])
    engine.on_bars([second])
    with pytest.raises(errors.InvalidArgument, match="must ascend by open time"):
        engine.on_bars([first])


def test_a_series_without_a_grid_is_refused() -> None:
    with pytest.raises(errors.InvalidArgument, match=r"was without for \['X'\]"):
        LiveEngine(Holder(), [("X", "1min")], {})


def test_columns_of_history_are_those_of_the_back_test() -> None:
    columns: BarColumns = random_bars(20, 3)
    lane = Series("X", columns, "1min", Grid(2))
    tested, live = Holder(), Holder()
    run_backtest(tested, [lane])
    follow(live, [lane], MarketRules())
    assert tested.closes == live.closes == columns.close[-10:].tolist()
