"""Long while a fast average of closes is above a slow one.

What: buys `quantity` at the next open when SMA(fast) is above SMA(slow) and nothing is held; sells all when it is
below. Needs: one symbol, any interval, `slow` bars of history; no secrets, no network.
Command: `quasar dev backtest sma_cross.py --data SYMBOL-INTERVAL.csv`, or upload it on the
page under Strategies and back-test it there.
"""

from __future__ import annotations

from quasar.strategy import SMA, Bar, Parameter, Strategy


class SmaCross(Strategy):
    """Long while a fast average of closes is above a slow one."""

    fast = Parameter(10, minimum=1, maximum=500, description="bars of the fast average")
    slow = Parameter(30, minimum=2, maximum=1000, description="bars of the slow average")
    quantity = Parameter(100, minimum=1, description="units to buy")

    def on_start(self) -> None:
        self.quick = self.indicator(SMA(self.fast))
        self.calm = self.indicator(SMA(self.slow))

    def on_bar(self, bar: Bar) -> None:
        if self.position.is_flat and self.quick.value > self.calm.value:
            self.buy(self.quantity)
        elif self.position.is_long and self.quick.value < self.calm.value:
            self.close()
