"""What a subscription would collect, without storing it."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quasar.calendars import calendar_for
from quasar.model.instants import NS_PER_DAY, to_ns
from quasar.model.intervals import Interval
from registry.store import subscription_table as table
from registry.store.listing import Query
from registry.store.statements import SQL
from registry.store.subscription_listing import SERIES
from registry.subscriptions.creation import planned, store_new
from registry.subscriptions.ground import Ground, read
from registry.subscriptions.plans import Plan, Wish
from registry.subscriptions.series import Series, series_of
from registry.subscriptions.subscriptions import Subscription

MOST_SERIES = 100
MOST_UNRESOLVED = 1000
FIRES = 5
_MONTH_NS = 30 * NS_PER_DAY
BARS_A_CALL = 1000
"""Bars that a vendor is taken to answer one call with."""


class _Undone(Exception):  # no error: it only takes back what was tried
    """Takes back what was stored to see what it comes down to."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """How much history would be fetched; None: it cannot be told."""

    bars: int | None = None
    calls: int | None = None
    duration: dt.timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a subscription would collect."""

    subscription: Subscription
    series_count: int
    new_series_count: int
    series: tuple[Series, ...]
    unresolved: tuple[Series, ...]
    next_run_times: tuple[dt.datetime, ...]
    backfill: Backfill
    warnings: tuple[str, ...]
    existing: uuid.UUID | None


async def preview(ground: Ground, wish: Wish) -> Preview:
    """Return what a subscription would collect.

    It is stored in a transaction that is taken back, so that what is told is what would be.

    Raises:
        QuasarError: As `registry.subscriptions.creation.create`, but for what exists already and for the quota.
    """
    result: Preview | None = None
    try:
        async with ground.database.transaction() as connection:
            (plan,) = await planned(ground, connection, [wish], "subscription.")
            result = await _tried(ground, connection, plan)
            raise _Undone
    except _Undone:
        assert result is not None
        return result


async def _tried(ground: Ground, connection: Any, plan: Plan) -> Preview:
    now = ground.clock.now()
    before = await table.series_total(connection)
    new, others = await store_new(connection, {plan.key: plan}, None, now)
    existing = others.get(plan.key)
    subscription_id = existing or new[plan.key]
    await ground.upkeep.resolve(connection, [subscription_id], now)
    found = await read(connection, subscription_id)
    total, own = await table.series_of(connection, [subscription_id])
    listed = await _listed(connection, subscription_id)
    series = tuple(one for one in listed if one.symbol)[:MOST_SERIES]
    unresolved = tuple(one for one in listed if one.unresolved)[:MOST_UNRESOLVED]
    schedule = plan.schedule
    warnings = _warnings(plan, found, now)
    if existing is None and before + own > ground.max_series:
        warnings.append(f"The limit is {ground.max_series} subscribed series; with it there would be {before + own}.")
    return Preview(
        subscription=replace(found, subscription_id=None, wish=plan.wish),
        series_count=total,
        new_series_count=0 if existing is not None else own,
        series=series,
        unresolved=unresolved,
        next_run_times=tuple(schedule.fire_times(now, FIRES)) if schedule is not None else (),
        backfill=_backfill(plan, total, series, now),
        warnings=tuple(warnings),
        existing=existing,
    )


async def _listed(connection: Any, subscription_id: uuid.UUID) -> list[Series]:
    """Return what cannot be resolved and the first series: enough of both for a preview."""
    found: list[Series] = []
    query = Query(page_size=MOST_UNRESOLVED)
    for _ in range(2):
        page = await SERIES.page(connection, SQL["series_page"], query, subscription_id)
        found += map(series_of, page.rows)
        if not page.next_page_token or sum(bool(one.symbol) for one in found) >= MOST_SERIES:
            break
        query = replace(query, page_token=page.next_page_token)
    return found


def backfill_start(plan: Plan, now: dt.datetime) -> dt.datetime | None:
    """Return where the history would begin: as asked for or preferred, and no earlier than the vendor has it."""
    if not plan.wish.historical:
        return None
    days = plan.provider.preferences.get("data.lookback_days") or 8000
    start = plan.wish.backfill_start or now - dt.timedelta(days=days)
    depth = plan.provider.declaration.history_depths.get(plan.wish.interval)
    return start if depth is None else max(start, now - depth)


def _backfill(plan: Plan, series_count: int, shown: Sequence[Series], now: dt.datetime) -> Backfill:
    """Estimate the backfill from calendars, depths and rate limits; of many series the first ones stand for all."""
    start = backfill_start(plan, now)
    interval = Interval.parse(plan.wish.interval) if plan.wish.interval else None
    if start is None or interval is None or not interval.is_time or not shown:
        return Backfill()
    declared = plan.provider.declaration
    span = (to_ns(start), to_ns(now - plan.provider.delay))
    slots = [_slots(one.exchange or declared.default_calendar, one, interval, span) for one in shown]
    bars = round(sum(slots) / len(slots) * series_count)
    calls = round(sum(math.ceil(count / BARS_A_CALL) for count in slots) / len(slots) * series_count)
    if not declared.rate_limits:
        return Backfill(bars, calls)
    seconds = max(calls / limit.calls * limit.window_s for limit in declared.rate_limits)
    return Backfill(bars, calls, dt.timedelta(seconds=seconds))


def _slots(exchange: str, one: Series, interval: Interval, span: tuple[int, int]) -> int:
    """Return about how many bars a series has in a span of nanoseconds: counted by sessions, not slot by slot."""
    start, end = span
    if end <= start:
        return 0
    length = interval.length_ns or _MONTH_NS
    calendar = calendar_for(exchange, one.asset_class)
    if calendar.always_open or length > NS_PER_DAY:
        return (end - start) // length
    sessions = calendar.sessions(start, end)
    if length == NS_PER_DAY:
        return len(sessions)
    return int(np.sum(-(-(sessions.close_ns - sessions.open_ns) // length)))


def _warnings(plan: Plan, found: Subscription, now: dt.datetime) -> list[str]:
    name, interval = plan.provider.name, plan.wish.interval
    warnings = []
    if not plan.provider.active:
        warnings.append(f"No version of {name} is active: nothing is collected before one is.")
    wanted = plan.wish.backfill_start
    start = backfill_start(plan, now)
    if start is not None and wanted is not None and wanted < start:
        warnings.append(f"{name} has no older bars at {interval}: the backfill begins at {start:%Y-%m-%d %H:%M} UTC.")
    if not found.series_count:
        warnings.append("Nothing of the selection can be collected at present.")
    return warnings
