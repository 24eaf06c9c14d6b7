"""Adjusted prices."""

from __future__ import annotations

import datetime as dt

import numpy as np

from datahub.reads.adjustment import adjusted
from datahub.reads.query import Adjustment, BarQuery
from quasar.model.bars import BarColumns

KNOWN = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
SPLITS = (np.array([20, 40]), np.array([2.0, 5.0]))


def bars() -> BarColumns:
    prices = np.array([100.0, 50.0, 10.0])
    volumes = np.array([1.0, 2.0, 10.0])
    adjusted_close = np.array([9.0, np.nan, 10.0])
    return BarColumns(np.array([10, 20, 40]), prices, prices, prices, prices, volumes, adjusted_close=adjusted_close)


def query(adjustment: Adjustment) -> BarQuery:
    return BarQuery(known_at=KNOWN, adjustment=adjustment)


def test_raw_prices_are_as_traded() -> None:
    assert adjusted(bars(), query(Adjustment.RAW), SPLITS).close.tolist() == [100.0, 50.0, 10.0]


def test_a_split_divides_what_was_before_it_and_not_its_own_bar() -> None:
    found = adjusted(bars(), query(Adjustment.SPLIT), SPLITS)
    assert found.close.tolist() == [10.0, 10.0, 10.0]
    assert found.volume.tolist() == [10.0, 10.0, 10.0]


def test_total_returns_follow_the_vendors_adjusted_close_and_splits_where_it_has_none() -> None:
    assert adjusted(bars(), query(Adjustment.TOTAL), SPLITS).close.tolist() == [9.0, 10.0, 10.0]
