"""Signals as authors tell them: what cannot stand in the contract is refused, with what would do."""

from __future__ import annotations

import math
from typing import Any

import pytest

from quasar.errors import InvalidArgument
from quasar.model.signals import Signal, SignalDirection, SignalTerms


def test_a_signal_holds_what_was_told() -> None:
    found = Signal.told(7, "AAPL", "long", SignalTerms(strength=1, price=9.5, values={"fast": 3}))
    assert (found.time_ns, found.direction) == (7, SignalDirection.LONG)
    assert (found.strength, found.price, found.values) == (1.0, 9.5, {"fast": 3.0})
    assert Signal.told(7, "AAPL", "", {}).strength is None


@pytest.mark.parametrize(
    ("terms", "must"),
    [
        ({"strength": math.nan}, "strength must be finite, was nan; leave it out"),
        ({"price": math.inf}, "price must be finite, was inf"),
        ({"price": 10**400}, "price must be a number that a double holds"),
        ({"strength": "much"}, "strength must be a number that a double holds, was 'much'"),
        ({"values": {"fast": None}}, "values['fast'] must be a number that a double holds, was None"),
    ],
)
def test_what_is_no_number_is_refused_by_name(terms: Any, must: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Signal.told(7, "AAPL", "long", terms)
    assert must in caught.value.message
