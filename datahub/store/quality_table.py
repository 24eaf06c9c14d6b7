"""The tables of quality: bars in, findings out, and what is to be checked next."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np

from datahub.ingest.ledger import LedgerRow
from datahub.quality.findings import Check, Finding
from datahub.quality.sample import Sample, session_dates
from datahub.series.series import Series
from datahub.store import bar_table, ledger_table
from datahub.store.statements import SQL
from quasar.database.copy import Column, Kind, RowFormat
from quasar.model.instants import TimeRange, from_ns, ns_date, to_ns

SWEEP_AGAIN = dt.timedelta(minutes=10)
"""The history of a series is looked through again after so long at the earliest."""
LEASE = dt.timedelta(minutes=10)
"""A check that nobody finished is begun again after it."""
_IN_THREAD = 2_000
"""So many rows are looked at beside the event loop."""
_PORTION = 5_000
"""So many findings are stored by one statement: its arguments are encoded on the event loop."""
_P = ParamSpec("_P")
_T = TypeVar("_T")

_PRICES: Sequence[tuple[str, Kind]] = tuple(
    (name, "float8") for name in ("open", "high", "low", "close", "volume", "split_factor", "dividend")
)
_TIMES: Sequence[tuple[str, Kind]] = (("open_time", "timestamptz"), ("close_time", "timestamptz"))
_BARS = RowFormat([Column(name, kind) for name, kind in (*_TIMES, *_PRICES)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A series that is to be checked."""

    series_id: int
    wanted: TimeRange | None
    """What runs brought; None: nothing."""
    sweep: bool
    """Whether the next stretch of its whole history is to be looked at."""
    swept_until: dt.datetime | None
    """How far that has come; None: it begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What there is of a series."""

    classified: TimeRange | None
    """What its ledger covers."""
    bars: TimeRange | None
    """From the first open time to the last, inclusive of it."""
    retention: dt.timedelta | None
    """Older bars are dropped."""
    subscribed: bool
    """Whether somebody wants its history collected."""


async def beside(rows: int, work: Callable[_P, _T], *given: _P.args, **named: _P.kwargs) -> _T:
    """Return what `work` does with so many rows; many are left to a thread, since the loop has streams to serve."""
    if rows <= _IN_THREAD:
        return work(*given, **named)
    return await asyncio.to_thread(work, *given, **named)


async def want(connection: Any, series_id: int, span: TimeRange, due: dt.datetime) -> None:
    """Have a range of a series checked from a time on."""
    await connection.execute(SQL["quality_want"], series_id, span.start, span.end, due, due + SWEEP_AGAIN)


async def claim(connection: Any, now: dt.datetime) -> Claim | None:
    """Take the series that waits longest, or None when none is due."""
    row = await connection.fetchrow(SQL["quality_claim"], now, now + LEASE)
    if row is None:
        return None
    wanted = TimeRange.of(row["since"], row["until"]) if row["since"] is not None else None
    return Claim(
        series_id=row["series_id"], wanted=wanted, sweep=row["sweep_at"] <= now, swept_until=row["swept_until"]
    )


async def done(
    connection: Any,
    claimed: Claim,
    now: dt.datetime,
    *,
    sweep_at: dt.datetime | None,
    swept_until: dt.datetime | None,
    swept: bool,
    checked_from: dt.datetime | None,
) -> None:
    """Write that a series was checked.

    Args:
        connection: Inside a transaction.
        claimed: What was claimed.
        now: The present time.
        sweep_at: When the look through its history goes on; None: as before.
        swept_until: How far that has come; None: it begins anew.
        swept: Whether it has come to the end.
        checked_from: Begin of what was checked, if that reached the newest bar.
    """
    wanted = claimed.wanted
    await connection.execute(
        SQL["quality_done"],
        claimed.series_id,
        wanted.start if wanted else None,
        wanted.end if wanted else None,
        sweep_at,
        now,
        swept_until,
        now if swept else None,
        checked_from,
    )


async def extent(connection: Any, series_id: int) -> Extent | None:
    """Return what there is of a series; None where nothing was ever stored or classified."""
    row = await connection.fetchrow(SQL["quality_extent"], series_id)
    if row is None:
        return None
    known = row["classified_from"] is not None and row["classified_until"] is not None
    bars = None
    if row["first_bar"] is not None:
        bars = TimeRange(to_ns(row["first_bar"]), to_ns(row["last_bar"]) + 1_000)
    return Extent(
        classified=TimeRange.of(row["classified_from"], row["classified_until"]) if known else None,
        bars=bars,
        retention=row["retention"],
        subscribed=row["subscribed"],
    )


async def sample(connection: Any, series: Series, span: TimeRange, before: int) -> Sample:
    """Return the bars of a range with so many before it, and the one after it."""
    around = await connection.fetchrow(SQL["quality_context"], series.series_id, span.start, span.end, before)
    first = around["first"] or span.start
    end = span.end if around["following"] is None else from_ns(to_ns(around["following"]) + 1_000)
    raw = await bar_table.copy_out(connection, SQL["quality_bars"], series.series_id, first, end)
    return _sample(series, raw, span)


async def live_sample(connection: Any, series: Series, span: TimeRange, origin: int) -> Sample:
    """Return the live bars of one origin."""
    raw = await bar_table.copy_out(connection, SQL["quality_live_bars"], series.series_id, span.start, span.end, origin)
    return _sample(series, raw, span)


def _sample(series: Series, raw: bytes, span: TimeRange) -> Sample:
    columns = _BARS.decode(raw).columns
    times = columns["open_time"] * 1_000
    order = np.argsort(times, kind="stable")
    prices = {name: columns[name][order] for name, _ in _PRICES}
    times = times[order]
    return Sample(
        open_time_ns=times,
        close_time_ns=columns["close_time"][order] * 1_000,
        date_ns=session_dates(series.calendar, series.interval, times),
        checked=(times >= span.start_ns) & (times < span.end_ns),
        **prices,
    )


async def ledger(connection: Any, series_id: int, span: TimeRange) -> list[LedgerRow]:
    """Return the rows of the ledger that touch a range."""
    rows = await connection.fetch(SQL["quality_ledger"], series_id, span.start, span.end)
    return await beside(len(rows), _ledger_rows, rows)


async def held(connection: Any, series: Series, span: TimeRange) -> list[Finding]:
    """Return the rows that are held in quarantine, as findings."""
    name = series.name
    rows = await connection.fetch(SQL["quality_held"], name.provider, name.symbol, name.interval, span.start, span.end)
    return await beside(len(rows), _held_back, series, rows)


def _ledger_rows(rows: Sequence[Any]) -> list[LedgerRow]:
    return [ledger_table.ledger_row(row) for row in rows]


def _held_back(series: Series, rows: Sequence[Any]) -> list[Finding]:
    times = np.array([to_ns(row["row_time"]) for row in rows], dtype=np.int64)
    dates = session_dates(series.calendar, series.interval, times)
    return [
        Finding(
            check=Check.QUARANTINED,
            date_ns=int(date),
            start_ns=int(time),
            end_ns=int(time) + 1_000,
            bars=row["rows"],
            message=f"{row['rows']} held back ({row['reason']}): {row['detail']}"[:1_000],
        )
        for row, time, date in zip(rows, times, dates, strict=True)
    ]


async def replace_findings(
    connection: Any, series_id: int, span: TimeRange, findings: Sequence[Finding], now: dt.datetime
) -> dict[str, int]:
    """Put findings in the place of those that began in a range, and return how many bars the new ones concern."""
    columns = await beside(len(findings), _finding_columns, findings)
    kinds, _, starts, *_ = columns
    await connection.execute(SQL["quality_forget"], series_id, span.start, span.end, kinds, starts)
    new: dict[str, int] = {}
    for start in range(0, len(findings), _PORTION):
        portion = (column[start : start + _PORTION] for column in columns)
        for row in await connection.fetch(SQL["quality_put"], series_id, *portion, now):
            new[row["kind"]] = new.get(row["kind"], 0) + row["bars"]
    return new


def _finding_columns(findings: Sequence[Finding]) -> tuple[list[Any], ...]:
    """Return findings in the columns of `quality_put`."""
    return (
        [each.check.value for each in findings],
        [ns_date(each.date_ns) for each in findings],
        [from_ns(each.start_ns) for each in findings],
        [from_ns(each.end_ns) for each in findings],
        [each.bars for each in findings],
        [each.observed for each in findings],
        [each.expected for each in findings],
        [each.limit for each in findings],
        [each.other_series_id for each in findings],
        [each.message for each in findings],
    )
