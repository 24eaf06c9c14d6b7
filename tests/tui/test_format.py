from __future__ import annotations

import math

import pytest

from tui import format as show


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0123, "+1.23 %"), (-0.0123, "-1.23 %"), (-0.00001, "0.00 %"), (0.0, "0.00 %"), (None, show.MISSING)],
)
def test_a_change_has_a_sign_unless_it_is_nothing(value: float | None, shown: str) -> None:
    assert show.ratio(value) == shown


def test_a_change_that_is_no_number_is_missing() -> None:
    assert show.ratio(math.nan) == show.MISSING
