"""Prices adjusted for splits and dividends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from datahub.reads.query import Adjustment, BarQuery
from quasar.model.bars import BarColumns
from quasar.model.columns import FloatArray, Int64Array


def needs_total(query: BarQuery) -> BarQuery:
    """Return the query with the columns that its adjustment is computed from."""
    if query.adjustment is not Adjustment.TOTAL or "adjusted_close" in query.columns:
        return query
    return replace(query, columns=(*query.columns, "adjusted_close"))


def adjusted(columns: BarColumns, query: BarQuery, splits: tuple[Int64Array, FloatArray]) -> BarColumns:
    """Return bars with adjusted prices and volumes.

    SPLIT divides prices by the product of all later split factors and multiplies volumes by it. TOTAL scales prices so
    that the close is the vendor's adjusted close; bars without one are adjusted for splits.

    Args:
        columns: Bars as traded.
        query: What is wanted.
        splits: Open times and factors of the splits that are known, ascending.
    """
    if query.adjustment is Adjustment.RAW:
        return columns
    by_split = _later_splits(columns.open_time_ns, *splits)
    scale = 1.0 / by_split
    if query.adjustment is Adjustment.TOTAL and columns.adjusted_close is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            total = columns.adjusted_close / columns.close
        scale = np.where(np.isfinite(total), total, scale)
    changed: dict[str, Any] = {
        "open": columns.open * scale,
        "high": columns.high * scale,
        "low": columns.low * scale,
        "close": columns.close * scale,
        "volume": columns.volume * by_split,
    }
    if columns.vwap is not None:
        changed["vwap"] = columns.vwap * scale
    if "adjusted_close" not in query.columns:
        changed["adjusted_close"] = None
    return replace(columns, **changed)


def _later_splits(times: Int64Array, split_times: Int64Array, factors: FloatArray) -> FloatArray:
    """Return for each bar the product of the factors that become effective after it."""
    if not len(split_times):
        return np.ones(len(times))
    products = np.append(np.cumprod(factors[::-1])[::-1], 1.0)
    return np.asarray(products[np.searchsorted(split_times, times, side="right")])
