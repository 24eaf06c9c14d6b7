"""Exact decimals and amounts of money. Nothing here rounds unless it is told how."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

from quasar.errors import InvalidArgument
from quasar.model.violations import violation

_EXACT = Context(prec=400, traps=[InvalidOperation, Overflow, DivisionByZero, Inexact])
"""Wide enough for the product of any two numbers of the contract; an inexact result is an error, not a rounding."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_CURRENCY = re.compile(r"[A-Z0-9][A-Z0-9._-]{0,15}")
_MAX_TEXT = 64


def parse_decimal(value: str | int | Decimal, field: str = "value") -> Decimal:
    """Read an exact decimal in plain notation or with an exponent ("1e-8").

    Args:
        value: Text, an integer or a decimal. A float is refused: it is seldom the number that was meant.
        field: The name used in the error.

    Raises:
        InvalidArgument: The value is not a finite decimal number of at most 64 characters.
    """
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise violation(field, "a finite decimal number", str(value))
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not _NUMBER.fullmatch(value.strip()):
        raise violation(field, 'a decimal number as text, such as "12.50"', value)
    return Decimal(value.strip())


def format_decimal(value: Decimal) -> str:
    """Return plain notation without an exponent; trailing zeros are kept as they are."""
    return format(value, "f")


def quantise(value: Decimal, step: Decimal, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """Return the multiple of `step` nearest to a value, with the step's number of decimals.

    Args:
        value: Any finite decimal.
        step: The grid, for example a tick size of 0.05; greater than zero.
        rounding: One of the `decimal.ROUND_*` names; ROUND_DOWN goes toward zero.

    Raises:
        InvalidArgument: The step is not greater than zero.
    """
    if step <= 0:
        raise violation("step", "greater than zero", str(step))
    steps = Context(prec=400).divide(value, step).to_integral_value(rounding=rounding)
    return _EXACT.multiply(steps, step)


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Tell whether a value lies on the grid of a step."""
    return _EXACT.remainder(value, step) == 0


def currency_code(text: str, field: str = "currency") -> str:
    """Return a currency or crypto asset code in upper case, without surrounding space.

    Raises:
        InvalidArgument: The text is not a code of 1 to 16 letters, digits, dots, hyphens or underscores.
    """
    code = text.strip().upper() if isinstance(text, str) else ""
    if not _CURRENCY.fullmatch(code):
        raise violation(field, "a currency code of 1 to 16 characters such as USD or BTC", text)
    return code


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount of one currency. Arithmetic between currencies is refused."""

    amount: Decimal
    """In units of the currency."""
    currency: str
    """ISO 4217 or crypto asset code, upper case."""

    @classmethod
    def of(cls, amount: str | int | Decimal, currency: str) -> Money:
        """Read an amount and a currency.

        Raises:
            InvalidArgument: One of them is malformed.
        """
        return cls(parse_decimal(amount, "amount"), currency_code(currency))

    def __str__(self) -> str:
        """Return for example "12.50 USD"."""
        return f"{format_decimal(self.amount)} {self.currency}"

    def __add__(self, other: Money) -> Money:
        """Add an amount of the same currency."""
        return Money(_EXACT.add(self.amount, self._same(other)), self.currency)

    def __sub__(self, other: Money) -> Money:
        """Subtract an amount of the same currency."""
        return Money(_EXACT.subtract(self.amount, self._same(other)), self.currency)

    def __mul__(self, factor: Decimal | int) -> Money:
        """Multiply by a plain number, exactly."""
        return Money(_EXACT.multiply(self.amount, parse_decimal(factor, "factor")), self.currency)

    __rmul__ = __mul__

    def __neg__(self) -> Money:
        """Return the opposite amount."""
        return Money(self.amount.copy_negate(), self.currency)

    def __abs__(self) -> Money:
        """Return the amount without its sign."""
        return Money(self.amount.copy_abs(), self.currency)

    def __bool__(self) -> bool:
        """Tell whether the amount is other than zero."""
        return bool(self.amount)

    def __lt__(self, other: Money) -> bool:
        """Compare with an amount of the same currency."""
        return self.amount < self._same(other)

    def __le__(self, other: Money) -> bool:
        """Compare with an amount of the same currency."""
        return self.amount <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        """Compare with an amount of the same currency."""
        return self.amount > self._same(other)

    def __ge__(self, other: Money) -> bool:
        """Compare with an amount of the same currency."""
        return self.amount >= self._same(other)

    def round_to(self, step: Decimal, rounding: str = ROUND_HALF_EVEN) -> Money:
        """Return the amount on a grid, for example of cents."""
        return Money(quantise(self.amount, step, rounding), self.currency)

    def _same(self, other: Money) -> Decimal:
        if not isinstance(other, Money):
            raise InvalidArgument(f"an amount of {self.currency} must be combined with money, was {other!r}")
        if other.currency != self.currency:
            raise InvalidArgument(
                f"an amount must be in {self.currency} to be combined with {self}, was {other}; convert it first"
            )
        return other.amount
