"""Signals: what a strategy saw, whether or not it acts on it."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from quasar import errors


class SignalDirection(enum.Enum):
    """Which way a signal points."""

    LONG = "LONG"
    SHORT = "SHORT"
    FLAT = "FLAT"
    """Out of the market."""


class SignalTerms(TypedDict, total=False):
    """Keyword arguments of `signal` beyond direction and symbol."""

    strength: float
    """In the strategy's own measure; 1 is full."""
    price: float
    """The price at which it is given."""
    label: str
    """A short name, such as "cross-up"."""
    reason: str
    """Why, in the strategy's words."""
    values: Mapping[str, float]
    """Further values by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One signal of a strategy."""

    time_ns: int
    """The event time of what the strategy was shown last, nanoseconds UTC."""
    symbol: str = ""
    """Empty: no single one."""
    direction: SignalDirection | None = None
    """None: it has no direction."""
    strength: float | None = None
    """In the strategy's own measure; 1 is full."""
    price: float | None = None
    label: str = ""
    """A short name, such as "cross-up"."""
    reason: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    """Further values by name."""

    @classmethod
    def told(cls, time_ns: int, symbol: str, direction: str, terms: SignalTerms) -> Signal:
        """Return a signal as an author tells it.

        Raises:
            InvalidArgument: The direction is none of long, short, flat and empty, strength or price is no finite
                number, or a value no number.
        """
        word = direction.upper()
        if word and word not in SignalDirection.__members__:
            raise errors.InvalidArgument(f"direction must be long, short or flat, was {direction!r}")
        return cls(
            time_ns=time_ns,
            symbol=symbol,
            direction=SignalDirection[word] if word else None,
            strength=_finite(terms.get("strength"), "strength"),
            price=_finite(terms.get("price"), "price"),
            label=terms.get("label", ""),
            reason=terms.get("reason", ""),
            values={name: _number(value, f"values[{name!r}]") for name, value in terms.get("values", {}).items()},
        )

    def __str__(self) -> str:
        """Say it in one line, for logs."""
        numbers = {"strength": self.strength, "price": self.price, **self.values}
        words = [
            "signal",
            self.direction.value.lower() if self.direction else "",
            self.symbol,
            self.label,
            *(f"{name}={value:g}" for name, value in numbers.items() if value is not None),
        ]
        text = " ".join(word for word in words if word)
        return f"{text}: {self.reason}" if self.reason else text


def _number(value: object, field: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what cannot be one is told to the author
    except (OverflowError, TypeError, ValueError):
        raise errors.InvalidArgument(f"{field} must be a number that a double holds, was {value!r}") from None


def _finite(value: object, field: str) -> float | None:
    """Return a number that is not NaN and not infinite; None stays absent."""
    if value is None:
        return None
    number = _number(value, field)
    if not math.isfinite(number):
        raise errors.InvalidArgument(f"{field} must be finite, was {value!r}; leave it out where it is not known")
    return number
