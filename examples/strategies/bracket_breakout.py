"""Enter when the close leaves the range of the last bars, with a stop-loss and a take-profit from the start.

What: when nothing is held and the close is above the highest high of the `length` bars before, buys `quantity` at the
next open with a stop `stop_ratio` below and a target `target_ratio` above the close; the first exit that fills
cancels the other. Needs: one symbol, any interval, `length` bars of history; no secrets, no network.
Command: `quasar dev backtest bracket_breakout.py --data SYMBOL-INTERVAL.csv`, or upload it on the
page under Strategies and back-test it there.
"""

from __future__ import annotations

from decimal import Decimal

from quasar.strategy import Bar, Fill, Highest, Parameter, Strategy


class BracketBreakout(Strategy):
    """Buy a new high; leave by a stop-loss or a take-profit, whichever comes first."""

    length = Parameter(20, minimum=2, maximum=500, description="bars of the range")
    quantity = Parameter(100, minimum=1, description="units to buy")
    stop_ratio = Parameter(Decimal("0.02"), minimum=Decimal("0.001"), maximum=Decimal("0.5"), description="risk")
    target_ratio = Parameter(Decimal("0.04"), minimum=Decimal("0.001"), maximum=Decimal("2"), description="reward")

    def on_start(self) -> None:
        self.highest = self.indicator(Highest(self.length))
        self.range_high = float("inf")

    def on_bar(self, bar: Bar) -> None:
        broke_out = bar.close > self.range_high
        self.range_high = self.highest.value
        if broke_out and self.position.is_flat:
            grid = self.grid()
            self.bracket(
                self.quantity,
                stop_loss=grid.floor(bar.close * (1 - float(self.stop_ratio))),
                take_profit=grid.ceil(bar.close * (1 + float(self.target_ratio))),
            )

    def on_fill(self, fill: Fill) -> None:
        self.log(f"{fill.side.value} {fill.quantity} at {fill.price}, cash {self.cash:.2f}")
