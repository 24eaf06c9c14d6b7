"""The strategies of `benchmarks.backtest` written for the peers; a peer is imported only when it is measured."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from quasar.model.bars import BarColumns

CASH = 10_000_000
MINUTE_NS = 60_000_000_000


def _average(closes: Any, length: int) -> Any:
    """Return the moving average from sums of whole cents, so that every engine sees the same crossings."""
    cents = np.rint(np.asarray(closes) * 100).astype(np.int64)
    running = np.cumsum(cents)
    running[length:] -= running[:-length].copy()
    values = running / (length * 100)
    values[: length - 1] = np.nan
    return values


def _frame(bars: BarColumns) -> pd.DataFrame:
    columns = {name.capitalize(): getattr(bars, name).copy() for name in ("open", "high", "low", "close", "volume")}
    return pd.DataFrame(columns, index=pd.to_datetime(bars.open_time_ns))


def _backtesting_nothing() -> type:
    from backtesting import Strategy

    class Nothing(Strategy):  # type: ignore[misc]  # the peer ships no types
        def init(self) -> None: ...

        def next(self) -> None: ...

    return Nothing


def _backtesting_cross() -> type:
    from backtesting import Strategy

    class Cross(Strategy):  # type: ignore[misc]  # the peer ships no types
        def init(self) -> None:
            self.fast = self.I(_average, self.data.Close, 10)
            self.slow = self.I(_average, self.data.Close, 30)

        def next(self) -> None:
            if not self.position and self.fast[-1] > self.slow[-1]:
                self.buy(size=100)
            elif self.position and self.fast[-1] < self.slow[-1]:
                self.position.close()

    return Cross


def _backtesting_maker() -> type:
    from backtesting import Strategy

    class Maker(Strategy):  # type: ignore[misc]  # the peer ships no types
        def init(self) -> None: ...

        def next(self) -> None:
            for order in self.orders:
                order.cancel()
            close, held = self.data.Close[-1], self.position.size
            if held < 10:
                self.buy(size=1, limit=round(close - 0.05, 2))
            if held > -10:
                self.sell(size=1, limit=round(close + 0.05, 2))

    return Maker


_BACKTESTING: Mapping[str, Callable[[], type]] = {
    "do nothing": _backtesting_nothing,
    "sma 10/30": _backtesting_cross,
    "maker": _backtesting_maker,
}


def run_backtesting(case: str, bars: BarColumns) -> tuple[float, int]:
    """Run backtesting.py; return bars per second and the number of fills.

    Its `run` includes its statistics; on a run without trades they are a small part.
    """
    from backtesting import Backtest

    commission = 0.001 if case == "sma 10/30" else 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test = Backtest(_frame(bars), _BACKTESTING[case](), cash=CASH, commission=commission)
        begun = time.perf_counter()
        stats = test.run()
        spent = time.perf_counter() - begun
    trades = stats["_trades"]
    still_open = len(stats["_strategy"].trades) if hasattr(stats["_strategy"], "trades") else 0
    return len(bars) / spent, 2 * len(trades) + still_open


def _nautilus_nothing(bar_type: Any, instrument: Any) -> type:
    from nautilus_trader.trading.strategy import Strategy

    class Nothing(Strategy):  # type: ignore[misc]  # compiled, without types
        def on_start(self) -> None:
            self.subscribe_bars(bar_type)

        def on_bar(self, bar: Any) -> None: ...

        def held(self) -> float:
            return float(self.portfolio.net_position(instrument.id))

    return Nothing


def _nautilus_cross(bar_type: Any, instrument: Any) -> type:
    from nautilus_trader.model.enums import OrderSide

    class Cross(_nautilus_nothing(bar_type, instrument)):  # type: ignore[misc]  # a base that is made at run time
        def on_start(self) -> None:
            super().on_start()
            self.cents: list[int] = []

        def market(self, side: OrderSide) -> None:
            self.submit_order(self.order_factory.market(instrument.id, side, instrument.make_qty(100)))

        def on_bar(self, bar: Any) -> None:
            self.cents.append(round(float(bar.close) * 100))
            if len(self.cents) < 30:
                return
            del self.cents[:-30]
            fast, slow, held = 3 * sum(self.cents[-10:]), sum(self.cents), self.held()
            if not held and fast > slow:
                self.market(OrderSide.BUY)
            elif held and fast < slow:
                self.market(OrderSide.SELL)

    return Cross


def _nautilus_maker(bar_type: Any, instrument: Any) -> type:
    from nautilus_trader.model.enums import OrderSide

    class Maker(_nautilus_nothing(bar_type, instrument)):  # type: ignore[misc]  # a base that is made at run time
        def quote(self, side: OrderSide, price: float) -> None:
            one, at = instrument.make_qty(1), instrument.make_price(price)
            self.submit_order(self.order_factory.limit(instrument.id, side, one, at))

        def on_bar(self, bar: Any) -> None:
            self.cancel_all_orders(instrument.id)
            close, held = float(bar.close), self.held()
            if held < 10:
                self.quote(OrderSide.BUY, close - 0.05)
            if held > -10:
                self.quote(OrderSide.SELL, close + 0.05)

    return Maker


_NAUTILUS: Mapping[str, Callable[[Any, Any], type]] = {
    "do nothing": _nautilus_nothing,
    "sma 10/30": _nautilus_cross,
    "maker": _nautilus_maker,
}


def _nautilus_bars(bars: BarColumns, bar_type: Any, instrument: Any) -> list[Any]:
    from nautilus_trader.model.data import Bar

    price, size = instrument.make_price, instrument.make_qty
    columns = (bars.open_time_ns, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return [
        Bar(bar_type, price(o), price(h), price(low), price(c), size(v), t + MINUTE_NS, t + MINUTE_NS)
        for t, o, h, low, c, v in zip(*(column.tolist() for column in columns), strict=True)
    ]


def run_nautilus(case: str, bars: BarColumns) -> tuple[float, int]:
    """Run nautilus_trader's engine; return bars per second and fills. Its market orders fill at the close."""
    from nautilus_trader.backtest.config import BacktestEngineConfig
    from nautilus_trader.backtest.engine import BacktestEngine
    from nautilus_trader.config import LoggingConfig
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.data import BarType
    from nautilus_trader.model.enums import AccountType, OmsType
    from nautilus_trader.model.identifiers import Venue
    from nautilus_trader.model.objects import Money
    from nautilus_trader.test_kit.providers import TestInstrumentProvider

    engine = BacktestEngine(config=BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        venue=Venue("XNAS"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=USD,
        starting_balances=[Money(CASH, USD)],
    )
    instrument = TestInstrumentProvider.equity(symbol="X", venue="XNAS")
    bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
    engine.add_instrument(instrument)
    engine.add_data(_nautilus_bars(bars, bar_type, instrument))
    engine.add_strategy(_NAUTILUS[case](bar_type, instrument)())
    begun = time.perf_counter()
    engine.run()
    spent = time.perf_counter() - begun
    fills = len(engine.trader.generate_fills_report())
    engine.dispose()
    return len(bars) / spent, fills


RUNS: Mapping[str, Callable[[str, BarColumns], tuple[float, int]]] = {
    "backtesting.py": run_backtesting,
    "nautilus_trader": run_nautilus,
}
