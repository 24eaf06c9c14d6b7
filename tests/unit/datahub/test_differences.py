"""What of a delivery is new and what differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from datahub.ingest.differences import differences, told
from quasar.model.bars import BarColumns


def bars(*times: int, **columns: list[float]) -> BarColumns:
    prices = np.full(len(times), 10.0)
    base = BarColumns(np.array(times), prices, prices, prices, prices, np.full(len(times), np.nan))
    return replace(base, **{name: np.array(values) for name, values in columns.items()})


def test_rows_are_new_changed_or_as_they_were() -> None:
    found = differences(bars(1, 2, 3, close=[10.0, 11.0, 10.0]), bars(2, 3, 4))
    assert (found.new.tolist(), found.changed.tolist()) == ([True, False, False], [False, True, False])
    assert found.unchanged == 1


def test_a_missing_value_equals_a_missing_value_and_differs_from_a_number() -> None:
    assert differences(bars(1), bars(1)).unchanged == 1
    assert differences(bars(1, volume=[0.0]), bars(1)).changed.tolist() == [True]


def test_a_figure_that_a_source_does_not_tell_is_not_taken_back() -> None:
    stored = bars(1, vwap=[10.5])
    assert differences(bars(1), stored).unchanged == 1
    assert differences(bars(1, vwap=[10.6]), stored).changed.tolist() == [True]


def test_a_figure_that_is_told_for_the_first_time_is_a_change() -> None:
    delivered = bars(1, trade_count=[4])
    assert told(delivered) == ("trade_count",)
    assert differences(delivered, bars(1)).changed.tolist() == [True]


def test_a_late_row_before_everything_is_new() -> None:
    assert differences(bars(0), bars(1, 2)).new.tolist() == [True]
    assert differences(bars(9), bars(1, 2)).new.tolist() == [True]
