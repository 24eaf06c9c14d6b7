from __future__ import annotations

from decimal import Decimal

import pytest

from quasar import errors
from quasar.engine.commission import (
    BoundedCommission,
    Commission,
    FixedCommission,
    MakerTakerCommission,
    MoneyScale,
    NoCommission,
    PercentCommission,
    PerShareCommission,
)
from quasar.engine.slippage import (
    NoSlippage,
    ProportionalSlippage,
    Slippage,
    TickSlippage,
    VolumeShareSlippage,
)


def charged(model: Commission, quantity: int, price: Decimal, *, maker: bool = False) -> Decimal:
    """Charge a fill of whole units, with money counted as finely as the model needs."""
    decimals = 4 + model.decimals
    notional = int(quantity * price * 10**decimals)
    charge = model.bind(MoneyScale(decimals, 0))
    return Decimal(charge(quantity, notional, maker)).scaleb(-decimals)


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (NoCommission(), "0"),
        (PercentCommission(Decimal("0.001")), "13.0865"),
        (PercentCommission(Decimal("-0.00025")), "-3.271625"),
        (PerShareCommission(Decimal("0.0035")), "0.35"),
        (FixedCommission(Decimal("1.25")), "1.25"),
        (MakerTakerCommission(Decimal("-0.0001"), Decimal("0.0004")), "5.2346"),
        (BoundedCommission(PerShareCommission(Decimal("0.0035")), minimum=Decimal("0.5")), "0.5"),
        (BoundedCommission(FixedCommission(Decimal(200)), maximum_rate=Decimal("0.01")), "130.865"),
        (BoundedCommission(PercentCommission(Decimal("0.001")), minimum=Decimal(1)), "13.0865"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Commission) else value,
)
def test_a_model_charges_exactly(model: Commission, wanted: str) -> None:
    assert charged(model, 100, Decimal("130.865")) == Decimal(wanted)


def test_an_order_that_rested_pays_the_rate_of_makers() -> None:
    model = MakerTakerCommission(Decimal("-0.0001"), Decimal("0.0004"))
    assert charged(model, 100, Decimal(100), maker=True) == -1


def test_a_rate_above_all_is_refused() -> None:
    with pytest.raises(errors.InvalidArgument, match="rate must be a ratio between -1 and 1, was 10"):
        PercentCommission(Decimal(10))


@pytest.mark.parametrize(
    ("model", "buy", "sell"),
    [
        (ProportionalSlippage(Decimal("0.0005")), "100.05", "99.95"),
        (TickSlippage(2), "100.02", "99.98"),
        (VolumeShareSlippage(Decimal("0.1")), "100.1", "99.9"),
    ],
    ids=["proportional", "ticks", "volume share"],
)
def test_slippage_is_against_the_order(model: Slippage, buy: str, sell: str) -> None:
    scale = 10 ** (2 + model.decimals)
    slip = model.bind(10**model.decimals)
    assert slip is not None
    assert [Decimal(slip(sign, 100 * scale, 100, 1000.0)) / scale for sign in (1, -1)] == [Decimal(buy), Decimal(sell)]


def test_without_slippage_nothing_is_called() -> None:
    assert NoSlippage().bind(1) is None


def test_a_fill_on_a_bar_without_volume_slips_as_if_it_were_all_of_it() -> None:
    slip = VolumeShareSlippage(Decimal("0.1")).bind(1)
    assert slip is not None
    assert slip(1, 1_000_000, 5, 0.0) == slip(1, 1_000_000, 5, float("nan")) == 1_100_000
