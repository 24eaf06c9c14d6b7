"""The engine gives the reference results fill for fill, each through the public strategy interface."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from quasar.engine.backtest import run_backtest
from quasar.engine.commission import NoCommission, PercentCommission
from quasar.engine.rules import ExitsFrom, FillAt, MarketRules
from quasar.engine.slippage import ProportionalSlippage
from quasar.strategy import SMA, Bar, Strategy
from tests.unit.engine.markets import goog, truth

TENTH_OF_A_PERCENT = PercentCommission(Decimal("0.001"))


class Averages(Strategy):
    def on_start(self) -> None:
        self.fast = self.indicator(SMA(10))
        self.slow = self.indicator(SMA(30))


class Cross(Averages):
    def on_bar(self, bar: Bar) -> None:
        if self.position.is_flat and self.fast.value > self.slow.value:
            self.buy(100)
        elif self.position.is_long and self.fast.value < self.slow.value:
            self.close()


class AllIn(Averages):
    def on_bar(self, bar: Bar) -> None:
        if self.position.is_flat and self.fast.value > self.slow.value:
            self.buy(fraction=1)
        elif self.position.is_long and self.fast.value < self.slow.value:
            self.close()


class LongShort(Averages):
    def on_bar(self, bar: Bar) -> None:
        if self.fast.value > self.slow.value:
            self.order_target(100)
        elif self.fast.value < self.slow.value:
            self.order_target(-100)


class CrossUpWithExits(Averages):
    was_above = False

    def on_bar(self, bar: Bar) -> None:
        before, above = self.was_above, self.fast.value > self.slow.value
        self.was_above = above
        if above and not before and self.position.is_flat:
            grid = self.grid()
            self.bracket(100, stop_loss=grid.floor(bar.close * 0.98), take_profit=grid.floor(bar.close * 1.04))


class Maker(Strategy):
    def on_bar(self, bar: Bar) -> None:
        self.cancel_all()
        held = self.position.quantity
        if held < 10:
            self.buy(1, limit=bar.close - 0.05)
        if held > -10:
            self.sell(1, limit=bar.close + 0.05)


CASES = {
    "goog_sma_next_open": (Cross, MarketRules(commission=TENTH_OF_A_PERCENT)),
    "goog_sma_same_close": (Cross, MarketRules(commission=TENTH_OF_A_PERCENT, fill_at=FillAt.SAME_CLOSE)),
    "goog_sma_next_open_all_in": (AllIn, MarketRules(commission=TENTH_OF_A_PERCENT)),
    "goog_sma_next_open_slippage": (
        Cross,
        MarketRules(commission=TENTH_OF_A_PERCENT, slippage=ProportionalSlippage(Decimal("0.0005"))),
    ),
    "goog_sma_long_short": (LongShort, MarketRules(commission=TENTH_OF_A_PERCENT)),
    "goog_bracket": (CrossUpWithExits, MarketRules(commission=TENTH_OF_A_PERCENT, exits_from=ExitsFrom.ENTRY_BAR)),
    "goog_bracket_next_bar": (
        CrossUpWithExits,
        MarketRules(commission=TENTH_OF_A_PERCENT, exits_from=ExitsFrom.NEXT_BAR),
    ),
    "goog_maker": (Maker, MarketRules(commission=NoCommission(), cash=Decimal(1_000_000))),
}


@pytest.mark.parametrize("name", CASES)
def test_fills_and_equity_are_those_of_the_reference(name: str) -> None:
    strategy, rules = CASES[name]
    wanted = truth(name)
    result = run_backtest(strategy(), [goog()], rules)
    fills = result.fills
    got = zip(fills.bar, fills.side, fills.quantity, fills.price, fills.commission, strict=True)
    rows = [tuple(map(float, row)) for row in got]
    assert [row[:3] for row in rows] == [tuple(map(float, row[:3])) for row in wanted["fills"]]
    # The reference writes prices and commissions with six decimals.
    np.testing.assert_allclose([row[3:] for row in rows], [row[3:] for row in wanted["fills"]], rtol=0, atol=6e-7)
    np.testing.assert_allclose(result.equity, wanted["equity"], rtol=0, atol=1e-6)
    assert float(result.final_cash) == pytest.approx(wanted["final"]["cash"], abs=1e-6)
    assert result.final_positions.get("GOOG", 0) == wanted["final"]["pos"]
