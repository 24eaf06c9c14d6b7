"""Back-tests side by side: what differs, curves on one axis, correlation of daily returns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from strategy_engine.backtests.comparison import (
    DAY_NS,
    Compared,
    correlations,
    curves,
    differing,
    figure_names,
    numbers,
)
from strategy_engine.backtests.records import EquityColumns


def compared(equity: list[float], first_day: int = 1, **more: Any) -> Compared:
    times = (np.arange(len(equity)) + first_day) * DAY_NS
    columns = EquityColumns(times.astype(np.int64), {"equity": np.array(equity)})
    return Compared(**{"figures": {}, "settings": {}, "initial": 100.0, "equity": columns, **more})


def test_numbers_are_what_can_be_compared() -> None:
    figures = {"net_profit": "12.5", "trades": 3, "currency": "USD", "start_time": 5, "duration": 60.0, "monthly": []}
    assert numbers(figures) == {"net_profit": 12.5, "trades": 3.0, "duration": 60.0}
    assert figure_names([compared([], figures=figures)], []) == ["net_profit", "trades", "duration"]
    assert figure_names([compared([], figures=figures)], ["trades", "trades"]) == ["trades"]


def test_settings_that_differ_are_named_by_their_path() -> None:
    first = {"parameters": {"fast": 10, "slow": 30}, "code_sha256": "a", "terms": {"cash": {"amount": "5"}}}
    second = {"parameters": {"fast": 12, "slow": 30, "stop": 1}, "code_sha256": "a", "terms": {"cash": {"amount": "6"}}}
    found = differing([compared([], settings=first), compared([], settings=second)])
    assert found == {"parameters.fast": [10, 12], "parameters.stop": [None, 1], "terms.cash.amount": ["5", "6"]}


def test_curves_stand_on_one_axis_and_are_not_a_number_out_of_their_range() -> None:
    times, (first, second) = curves([compared([100.0, 110.0, 120.0]), compared([50.0, 60.0], 2, initial=50.0)], 100)
    assert (times // DAY_NS).tolist() == [1, 2, 3]
    assert first.tolist() == [1.0, 1.1, 1.2]
    assert math.isnan(second[0])
    assert second[1:].tolist() == [1.0, 1.2]
    thinned, _ = curves([compared([100.0] * 50)], 5)
    assert len(thinned) == 5
    assert thinned[[0, -1]].tolist() == [DAY_NS, 50 * DAY_NS]


def test_returns_that_move_together_correlate_and_too_few_days_tell_nothing() -> None:
    up, opposite = [101.0, 100.0, 103.0, 102.0], [99.0, 99.99, 96.99, 97.96]
    ((_, same), (against, _)) = correlations([compared(up), compared(opposite)])
    assert same == pytest.approx(against)
    assert -1 <= same < -0.98
    assert correlations([compared(up)]) == [[pytest.approx(1.0)]]
    apart = correlations([compared(up), compared(up, 3)])
    assert math.isnan(apart[0][1])
