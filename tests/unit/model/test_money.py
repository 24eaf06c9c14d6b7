from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.errors import InvalidArgument
from quasar.model.money import Money, currency_code, format_decimal, is_multiple, parse_decimal, quantise

_DECIMALS = st.decimals(-(10**20), 10**20, allow_nan=False, allow_infinity=False, places=18)


@given(_DECIMALS)
def test_a_decimal_survives_its_plain_notation(value: Decimal) -> None:
    text = format_decimal(value)
    assert "e" not in text.lower()
    assert parse_decimal(text) == value


def test_exponents_are_read_and_never_written() -> None:
    assert format_decimal(parse_decimal("1e-8")) == "0.00000001"


@pytest.mark.parametrize(
    "value", ["", "12,5", "NaN", "Infinity", "1_000", "0x1", 1.5, True, None, Decimal("NaN"), "1" * 65]
)
def test_what_is_no_exact_number_is_refused_with_the_remedy(value: object) -> None:
    with pytest.raises(InvalidArgument, match=r"limit_price must be a (finite )?decimal number"):
        parse_decimal(value, "limit_price")  # type: ignore[arg-type]


@given(_DECIMALS, st.sampled_from(["0.05", "0.00000001", "0.25", "3"]))
def test_a_rounded_value_is_a_multiple_of_the_step_and_never_farther_than_the_step(value: Decimal, step: str) -> None:
    rounded = quantise(value, Decimal(step), ROUND_DOWN)
    assert is_multiple(rounded, Decimal(step))
    assert 0 <= abs(Fraction(value)) - abs(Fraction(rounded)) < Fraction(step)


def test_a_step_must_be_positive() -> None:
    with pytest.raises(InvalidArgument, match="step must be greater than zero"):
        quantise(Decimal(1), Decimal(0))


@given(_DECIMALS, _DECIMALS)
def test_money_adds_and_multiplies_exactly_beyond_the_usual_precision(first: Decimal, second: Decimal) -> None:
    a, b = Money(first, "USD"), Money(second, "USD")
    assert (a + b) - b == a
    assert (a * second).amount.as_integer_ratio() == ratio_product(first, second)
    assert a + (-a) == Money(Decimal(0), "USD")


def ratio_product(first: Decimal, second: Decimal) -> tuple[int, int]:
    product = Fraction(first) * Fraction(second)
    return product.numerator, product.denominator


def test_money_of_different_currencies_does_not_mix() -> None:
    with pytest.raises(InvalidArgument, match="must be in USD to be combined with 1 USD, was 1 EUR"):
        Money.of("1", "USD") + Money.of("1", "EUR")
    with pytest.raises(InvalidArgument, match="must be in BTC"):
        _ = Money.of("1", "BTC") < Money.of("1", "EUR")
    with pytest.raises(InvalidArgument, match="must be combined with money, was 1"):
        Money.of("1", "BTC") + 1  # type: ignore[operator]


def test_money_reads_and_shows_amount_and_currency() -> None:
    assert str(Money.of("12.50", " usd ")) == "12.50 USD"
    assert Money.of("12.345", "USD").round_to(Decimal("0.01")) == Money.of("12.34", "USD")
    assert not Money.of(0, "USD")
    assert max(Money.of(1, "USD"), Money.of(2, "USD")) == Money.of(2, "USD")


@pytest.mark.parametrize("text", ["", "  ", "U$D", "A" * 17, None])
def test_what_is_no_currency_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="currency must be a currency code"):
        currency_code(text)
