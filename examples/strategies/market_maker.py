"""Quote both sides of the last close, within a limit of inventory.

What: after each bar cancels its quotes, then bids `spread` below and offers `spread` above the close, `quantity`
each, as long as the position stays within `inventory`. Needs: one symbol, short intervals, an account that may sell
short; no secrets, no network.
Command: `quasar dev backtest market_maker.py --data SYMBOL-INTERVAL.csv`, or upload it on the
page under Strategies and back-test it there.
"""

from __future__ import annotations

from quasar.strategy import Bar, Parameter, Strategy


class MarketMaker(Strategy):
    """Quote both sides of the last close, within a limit of inventory."""

    spread = Parameter(0.05, minimum=0.0, description="distance of each quote from the close, in price")
    quantity = Parameter(1, minimum=1, description="units of each quote")
    inventory = Parameter(10, minimum=1, description="units that the position stays within")

    def on_bar(self, bar: Bar) -> None:
        self.cancel_all()
        held = self.position.quantity
        if held < self.inventory:
            self.buy(self.quantity, limit=bar.close - self.spread)
        if held > -self.inventory:
            self.sell(self.quantity, limit=bar.close + self.spread)
