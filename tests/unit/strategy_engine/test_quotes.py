"""What is known of instruments: the grid of their orders, from the registry, the DataHub, or what is usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from quasar.testing.clock import FakeClock
from strategy_engine.backtests.records import LoadedSeries, SeriesFacts, WantedSeries
from strategy_engine.policy.instrument_rules import InstrumentRules
from strategy_engine.trading.quotes import Quotes, grid_of, instrument_rules_of

D = Decimal


def facts(provider: str = "kraken", **more: Any) -> SeriesFacts:
    return SeriesFacts(provider=provider, symbol="BTC/USD", interval="1min", **more)


@pytest.mark.parametrize(
    ("known", "tick", "step"),
    [
        (facts(), "0.00000001", "1"),
        (facts(asset_class="crypto"), "0.00000001", "0.00000001"),
        (facts(price_decimals=2, size_decimals=3), "0.01", "0.001"),
        (facts(price_decimals=2, size_decimals=0, price_tick=D("0.25"), quantity_step=D(100)), "0.25", "100"),
        (facts(price_tick=D(10), quantity_step=D("0.5")), "10", "0.5"),
    ],
)
def test_orders_are_held_to_what_is_said_of_the_instrument(known: SeriesFacts, tick: str, step: str) -> None:
    rules = instrument_rules_of(known)
    assert (rules.price_tick, rules.quantity_step) == (D(tick), D(step))
    grid = grid_of(known)
    assert grid.exact_price(grid.price(D(tick) * 7)) == D(tick) * 7
    assert grid.exact_size(grid.lots(D(step) * 3)) == D(step) * 3
    assert InstrumentRules(quantity_step=D(step)).floor(D(step) * 3) == D(step) * 3


async def test_of_several_series_of_a_symbol_the_first_says_the_tick_and_every_one_the_price() -> None:
    async def nothing(_symbol: str) -> WantedSeries | None:
        return None

    async def newest(_wanted: WantedSeries) -> LoadedSeries:
        raise AssertionError("nothing is read")

    async def described(found: Sequence[SeriesFacts]) -> Sequence[SeriesFacts]:
        return [replace(each, price_tick=D("0.5") if each.provider == "kraken" else D("0.1")) for each in found]

    quotes = Quotes(nothing, newest, described, FakeClock())
    await quotes.learn([facts()])
    await quotes.learn([facts("other"), facts("other", common_symbol="BTC")])
    quotes.tell("BTC/USD", 7.5, 1)
    quote = quotes.known("BTC/USD")
    assert quote is not None
    assert (quote.facts.provider, quote.facts.price_tick, quote.price) == ("kraken", D("0.5"), D("7.5"))
    other = quotes.known("BTC")
    assert other is not None
    assert other.facts.price_tick == D("0.1")
