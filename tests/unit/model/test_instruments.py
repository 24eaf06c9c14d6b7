from __future__ import annotations

from decimal import Decimal

import pytest

from quasar.errors import InvalidArgument
from quasar.model.asset_classes import AssetClass, AssetGroup
from quasar.model.instruments import Instrument


def test_what_a_vendor_writes_is_normalised_and_blanks_become_missing() -> None:
    instrument = Instrument.of(
        "kraken", "BTC/USD", name=" ", asset_class="Coin", exchange="", base_currency="btc", quote_currency=" "
    )
    assert instrument == Instrument(
        provider="kraken", symbol="BTC/USD", asset_class=AssetClass.CRYPTO, base_currency="BTC"
    )
    assert instrument.group is AssetGroup.CRYPTO


def test_prices_and_sizes_are_rounded_to_what_the_market_takes() -> None:
    instrument = Instrument(provider="p", symbol="S", price_step=Decimal("0.05"), size_step=Decimal("0.1"))
    assert instrument.round_price(Decimal("10.03")) == Decimal("10.05")
    assert instrument.round_size(Decimal("1.99")) == Decimal("1.9")
    assert Instrument(provider="p", symbol="S").round_size(Decimal("1.99")) == Decimal("1.99")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"symbol": " "}, "symbol must be 1 to 200 characters"),
        ({"provider": ""}, "provider must be the name"),
        ({"price_step": Decimal(0)}, "price_step must be greater than zero, was '0'"),
    ],
)
def test_an_instrument_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Instrument(**({"provider": "p", "symbol": "S"} | fields))  # type: ignore[arg-type]
