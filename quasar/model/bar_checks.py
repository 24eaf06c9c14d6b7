"""Which bars of a delivery may be stored, and why the others may not."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from quasar.errors import InvalidArgument
from quasar.model.bars import Bar, BarColumns, BarState
from quasar.model.columns import BoolArray
from quasar.model.instants import MAX_NS, MIN_NS, TimeRange, to_ns
from quasar.model.intervals import Interval
from quasar.model.sessions import SessionSource


class Flaw(IntFlag):
    """What is wrong with a bar; a bar may have several flaws."""

    NOT_FINITE = 1
    """A price is NaN or infinite, or the volume is infinite."""
    HIGH_BELOW_LOW = 2
    """The high is below the low."""
    OUTSIDE_HIGH_LOW = 4
    """The open or the close is above the high or below the low."""
    NEGATIVE_VOLUME = 8
    """The volume is negative."""
    OUTSIDE_REQUEST = 16
    """The open time is not in the range that was asked for, or outside the years 1678 to 2261."""
    REPEATED = 32
    """The same bar comes again later in the delivery, with the same values."""
    CONFLICTING = 64
    """A bar with the same open time and other values comes later in the delivery; the last one counts."""
    NOT_ALIGNED = 128
    """The open time is not where a bar of the interval begins."""


FLAW_TEXTS: dict[Flaw, str] = {
    Flaw.NOT_FINITE: "prices and volume must be finite numbers",
    Flaw.HIGH_BELOW_LOW: "high must not be below low",
    Flaw.OUTSIDE_HIGH_LOW: "open and close must lie between low and high",
    Flaw.NEGATIVE_VOLUME: "volume must not be negative",
    Flaw.OUTSIDE_REQUEST: "open time must lie in the range that was asked for",
    Flaw.REPEATED: "the same bar comes again later in the delivery",
    Flaw.CONFLICTING: "another bar with the same open time comes later in the delivery",
    Flaw.NOT_ALIGNED: "open time must be where a bar of the interval begins",
}
"""What a person reads about each flaw."""


@dataclass(frozen=True, slots=True, eq=False)
class BarCheck:
    """The verdict on each row of a delivery."""

    flaws: npt.NDArray[np.uint16]
    """uint16, the `Flaw` bits of each row; 0 for a good row."""

    @property
    def good(self) -> BoolArray:
        """Mask of the rows that may be stored."""
        return np.equal(self.flaws, 0)

    @property
    def all_good(self) -> bool:
        """Whether every row may be stored."""
        return not self.flaws.any()

    def rejected(self) -> list[tuple[int, str]]:
        """Return row number and reason of each bad row, in order."""
        return [(int(row), describe(Flaw(int(self.flaws[row])))) for row in np.flatnonzero(self.flaws)]


def describe(flaws: Flaw) -> str:
    """Return the sentence for a set of flaws."""
    return "; ".join(text for flaw, text in FLAW_TEXTS.items() if flaw in flaws)


def check_bars(
    columns: BarColumns,
    requested: TimeRange | None = None,
    *,
    interval: Interval | None = None,
    calendar: SessionSource | None = None,
    strict: bool = True,
) -> BarCheck:
    """Check every row of a delivery, vectorised; rows keep their order.

    A missing volume (NaN) is not a flaw. Of several rows with one open time the last is kept.

    Args:
        columns: The rows as the provider sent them.
        requested: The half-open range that was asked for; None skips that check.
        interval: The interval that was asked for; None skips the check of alignment.
        calendar: The market's sessions. With it, intraday bars may also begin at multiples of the interval from the
            open, as some vendors cut them.
        strict: Whether prices must be in order and the volume not negative. Values that are not finite, times outside
            the request, misplaced times and repetitions are flaws either way.
    """
    flaws = np.zeros(len(columns), dtype=np.uint16)
    if not len(columns):
        return BarCheck(flaws)
    with np.errstate(invalid="ignore"):  # comparisons with NaN are false, and NaN has a flaw of its own
        _check_values(columns, flaws, strict)
    times = columns.open_time_ns
    low, high = (MIN_NS, MAX_NS) if requested is None else (requested.start_ns, requested.end_ns)
    _mark(flaws, (times < low) | (times >= high) | (times < MIN_NS) | (times > MAX_NS), Flaw.OUTSIDE_REQUEST)
    _check_repetition(columns, flaws)
    if interval is not None and interval.is_time:
        _check_alignment(columns, flaws, interval, calendar)
    return BarCheck(flaws)


def _mark(flaws: npt.NDArray[np.uint16], rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp], flaw: Flaw) -> None:
    flaws[rows] |= np.uint16(flaw)


def _check_values(columns: BarColumns, flaws: npt.NDArray[np.uint16], strict: bool) -> None:
    prices = (columns.open, columns.high, columns.low, columns.close)
    _mark(flaws, ~np.all(np.isfinite(prices), axis=0) | np.isinf(columns.volume), Flaw.NOT_FINITE)
    if not strict:
        return
    open_, high, low, close = prices
    _mark(flaws, high < low, Flaw.HIGH_BELOW_LOW)
    outside = (open_ > high) | (open_ < low) | (close > high) | (close < low)
    _mark(flaws, outside & (high >= low), Flaw.OUTSIDE_HIGH_LOW)
    _mark(flaws, columns.volume < 0, Flaw.NEGATIVE_VOLUME)


def _check_repetition(columns: BarColumns, flaws: npt.NDArray[np.uint16]) -> None:
    """Mark all but the last good row of each open time: a bad repetition must not displace a good bar."""
    if columns.is_sorted:
        return
    rows = np.flatnonzero(flaws == 0)
    times = columns.open_time_ns[rows]
    order = np.argsort(times, kind="stable")
    again = times[order][1:] == times[order][:-1]
    earlier, later = rows[order[:-1][again]], rows[order[1:][again]]
    same = np.ones(len(earlier), dtype=np.bool_)
    for values in (columns.open, columns.high, columns.low, columns.close, columns.volume):
        first, second = values[earlier], values[later]
        same &= (first == second) | (np.isnan(first) & np.isnan(second))
    flaws[earlier] |= np.where(same, np.uint16(Flaw.REPEATED), np.uint16(Flaw.CONFLICTING))


def _check_alignment(
    columns: BarColumns, flaws: npt.NDArray[np.uint16], interval: Interval, calendar: SessionSource | None
) -> None:
    usable = (flaws & Flaw.OUTSIDE_REQUEST) == 0
    times = columns.open_time_ns[usable]
    misplaced = interval.floors(times) != times
    if calendar is not None and not calendar.always_open and not interval.is_dated and misplaced.any():
        sessions = calendar.sessions(int(times.min()), int(times.max()) + 1)
        rows = sessions.index_of(times)
        opens = np.append(sessions.open_ns, 0)[rows]
        misplaced &= (rows < 0) | ((times - opens) % interval.length_ns != 0)
    _mark(flaws, np.flatnonzero(usable)[misplaced], Flaw.NOT_ALIGNED)


_OPTIONAL_NUMBERS = ("volume", "vwap", "quote_volume", "adjusted_close", "dividend", "split_factor", "open_interest")


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """One row of a delivery that is not a bar."""

    row: int
    """Its number in the delivery, from 0."""
    reason: str
    """What is wrong with it."""
    raw: str
    """The row as it came, shortened, for the quarantine."""


def read_rows(rows: Iterable[object]) -> tuple[BarColumns, list[RejectedRow]]:
    """Read what a plug-in yielded, row by row: a bad row never costs the others.

    Each row is a `Bar` or a mapping with `open_time` (aware datetime) or `open_time_ns`, `open`, `high`, `low`, `close`
    and optionally the other fields of `Bar`, where None stands for a missing value.

    Returns:
        The rows that are bars, in order and not yet checked by `check_bars`, and the others with their reasons.
    """
    good: list[Bar] = []
    bad: list[RejectedRow] = []
    for number, row in enumerate(rows):
        try:
            good.append(_read_row(row))
        except InvalidArgument as error:
            bad.append(RejectedRow(number, error.message, repr(row)[:2_000]))
    return BarColumns.from_bars(good), bad


def _read_row(row: object) -> Bar:
    if isinstance(row, Bar):
        values: Mapping[str, Any] = {name: getattr(row, name) for name in Bar.__slots__}
    elif isinstance(row, Mapping):
        values = row
    else:
        raise InvalidArgument(f"row must be a Bar or a mapping, was {type(row).__name__}")
    time = values.get("open_time_ns", values.get("open_time"))
    if time is None or (isinstance(time, dt.date) and not isinstance(time, dt.datetime)):
        raise InvalidArgument(f"open_time must be an aware datetime, was {time!r}")
    numbers = {name: _optional_number(name, values.get(name)) for name in _OPTIONAL_NUMBERS}
    count, close_time = values.get("trade_count"), values.get("close_time_ns", values.get("close_time"))
    return Bar(
        open_time_ns=to_ns(time, "open_time"),
        open=_number("open", values.get("open")),
        high=_number("high", values.get("high")),
        low=_number("low", values.get("low")),
        close=_number("close", values.get("close")),
        close_time_ns=None if close_time is None else to_ns(close_time, "close_time"),
        trade_count=None if count is None else int(_number("trade_count", count)),
        volume=numbers["volume"],
        vwap=numbers["vwap"],
        quote_volume=numbers["quote_volume"],
        adjusted_close=numbers["adjusted_close"],
        dividend=numbers["dividend"],
        split_factor=numbers["split_factor"],
        open_interest=numbers["open_interest"],
        state=_state(values.get("state", BarState.CLOSED)),
    )


def _state(value: object) -> BarState:
    for state in BarState:
        if state == value:
            return state
    raise InvalidArgument(f"state must be one of {', '.join(state.name for state in BarState)}, was {value!r}")


def _optional_number(name: str, value: object) -> float | None:
    return None if value is None else _number(name, value)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise InvalidArgument(f"{name} must be a number, was {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidArgument(f"{name} must be a finite number, was {value!r}")
    return number
