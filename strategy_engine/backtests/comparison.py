"""Back-tests side by side: figures, settings, curves on one time axis, and the correlation of their returns. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from quasar.engine.statistics import daily
from quasar.model.columns import FloatArray, Int64Array
from strategy_engine.backtests.records import EquityColumns

DAY_NS: Final = 86_400_000_000_000
_LEAST_PERIODS: Final = 3
_TIMES: Final = frozenset({"start_time", "end_time"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """One back-test that is compared."""

    figures: Mapping[str, Any]
    settings: Mapping[str, Any]
    """Everything but its results, as nested documents."""
    initial: float
    """What it began with."""
    equity: EquityColumns


def numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that are numbers; amounts as the nearest double, durations in seconds."""
    found: dict[str, float] = {}
    for name, value in figures.items():
        if name in _TIMES or isinstance(value, bool | list | dict) or value is None:
            continue
        try:
            found[name] = float(value)
        except ValueError:
            continue  # a word, such as the currency
    return found


def figure_names(compared: Sequence[Compared], wanted: Sequence[str]) -> list[str]:
    """Return the names of the figures to compare: those that are wanted, else all numbers in the order they stand."""
    if wanted:
        return list(dict.fromkeys(wanted))
    return list(dict.fromkeys(name for each in compared for name in numbers(each.figures)))


def differing(compared: Sequence[Compared]) -> dict[str, list[Any]]:
    """Return the settings that are not the same in all, by path; None where one is not set."""
    flat = [dict(_flat(each.settings, "")) for each in compared]
    paths = sorted({path for each in flat for path in each})
    rows = {path: [each.get(path) for each in flat] for path in paths}
    return {path: values for path, values in rows.items() if any(value != values[0] for value in values)}


def _flat(document: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in document.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{path}.")
        else:
            found.append((path, value))
    return found


def curves(compared: Sequence[Compared], most_rows: int) -> tuple[Int64Array, list[FloatArray]]:
    """Return the times at which any of them has a row, thinned out, and equity over start cash; NaN out of range."""
    own = [each.equity.time_ns for each in compared]
    times = np.unique(np.concatenate(own)) if own else np.empty(0, dtype=np.int64)
    if len(times) > most_rows:
        times = times[np.linspace(0, len(times) - 1, most_rows).astype(np.int64)]
    return times, [_at(each, times) for each in compared]


def _at(one: Compared, times: Int64Array) -> FloatArray:
    known = one.equity.time_ns
    if not len(known):
        return np.full(len(times), math.nan)
    rows = np.searchsorted(known, times, side="right") - 1
    values = one.equity.columns["equity"][np.maximum(rows, 0)] / (one.initial or math.nan)
    outside = (times < known[0]) | (times > known[-1])
    return np.where(outside, math.nan, values)


def correlations(compared: Sequence[Compared]) -> list[list[float]]:
    """Return the Pearson correlation of daily returns, each with each; NaN where fewer than 3 days are shared."""
    returns = [_returns(each) for each in compared]
    return [[_correlation(one, other) for other in returns] for one in returns]


def _returns(one: Compared) -> dict[int, float]:
    """Return the return of each day, by the number of the day."""
    times, values = daily(one.equity.time_ns, one.equity.columns["equity"])
    before = np.concatenate(([one.initial], values[:-1])) if len(values) else values
    found = np.divide(values, before, out=np.ones(len(values)), where=before > 0) - 1.0
    return dict(zip(((times - 1) // DAY_NS).tolist(), found.tolist(), strict=True))


def _correlation(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    days = sorted(one.keys() & other.keys())
    if len(days) < _LEAST_PERIODS:
        return math.nan
    first, second = np.array([one[day] for day in days]), np.array([other[day] for day in days])
    if not first.std() or not second.std():
        return math.nan
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))
