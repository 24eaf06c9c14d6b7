"""Equity curves: the rows of a range, and fewer rows that still show every fall. Pure."""

from __future__ import annotations

import numpy as np

from quasar.model.columns import FloatArray, Int64Array

_KEPT = 4
"""Rows that are kept of each stretch: the first, lowest, highest and last."""


def within(times: Int64Array, start_ns: int | None, end_ns: int | None) -> Int64Array:
    """Return the numbers of the rows of a half-open range, in their order; None: no bound."""
    first = 0 if start_ns is None else int(np.searchsorted(times, start_ns, side="left"))
    stop = len(times) if end_ns is None else int(np.searchsorted(times, end_ns, side="left"))
    return np.arange(first, max(first, stop), dtype=np.int64)


def spaced(times: Int64Array, step_ns: int) -> Int64Array:
    """Return the numbers of the last row of each stretch of `step_ns` nanoseconds that has one."""
    if not len(times):
        return np.empty(0, dtype=np.int64)
    slots = times // step_ns
    return np.flatnonzero(np.append(slots[1:] != slots[:-1], True)).astype(np.int64)


def thinned(times: Int64Array, equity: FloatArray, most_rows: int) -> Int64Array:
    """Return the numbers of about so many rows.

    Of each of equal stretches of time the first, lowest, highest and last equity are kept, so that a thinned curve
    falls as deep and rises as high as the whole one.

    Args:
        times: int64 nanoseconds UTC, ascending.
        equity: float64 of the same length.
        most_rows: How many rows are wanted; a curve of no more comes back whole.
    """
    if len(times) <= most_rows:
        return np.arange(len(times), dtype=np.int64)
    stretches = max(1, most_rows // _KEPT)
    edges = np.linspace(int(times[0]), int(times[-1]) + 1, stretches + 1)
    starts = np.unique(np.searchsorted(times, edges[:-1], side="left"))
    stops = np.append(starts[1:], len(times))
    kept: set[int] = set()
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        part = equity[start:stop]
        kept |= {start, start + int(part.argmin()), start + int(part.argmax()), stop - 1}
    return np.array(sorted(kept), dtype=np.int64)
