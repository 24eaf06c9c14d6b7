"""The series that subscriptions select: the union of what they want of each."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any

from quasar.filters import condition
from quasar.model.asset_classes import AssetClass
from quasar.model.ticks import TickKind
from registry.store import subscription_table as table
from registry.store.listing import Query, Segment
from registry.store.ordering import OrderField, Ordering
from registry.store.statements import SQL
from registry.store.subscription_listing import PROVIDER, SERIES
from registry.store.texts import filled
from registry.store.walks import canonical, conjuncts, written
from registry.subscriptions.ground import Ground, not_found, read
from registry.subscriptions.statuses import SeriesName, SeriesState, StatusDesk


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series, or something of a selection that cannot be resolved."""

    provider: str
    symbol: str
    """Empty where nothing could be resolved."""
    interval: str
    common_symbol: str
    exchange: str
    asset_class: AssetClass | None
    subscription_ids: tuple[uuid.UUID, ...]
    active: bool
    historical: bool
    live: bool
    store_ticks: bool
    tick_kinds: tuple[str, ...]
    """Words of `TickKind`."""
    crons: tuple[tuple[str, str], ...]
    """Cron expression and time zone; both may be empty."""
    backfill_start: dt.datetime | None
    unresolved: str
    """A word of `UnresolvedCause`; empty: it is collected."""
    unresolved_name: str

    @property
    def name(self) -> SeriesName:
        """What the DataHub calls it."""
        return self.provider, self.symbol, self.interval


@dataclass(frozen=True, slots=True)
class SeriesPage:
    """Some series."""

    series: tuple[Series, ...]
    next_page_token: str
    revision: int
    states: dict[SeriesName, SeriesState] = field(default_factory=dict)
    status_error: str = ""
    read_time: dt.datetime | None = None
    """When the DataHub was asked; None: it was not."""


async def page(
    ground: Ground, desk: StatusDesk, query: Query, subscription_id: str, *, with_status: bool
) -> SeriesPage:
    """Return a page of series, by provider, symbol and interval; what cannot be resolved comes first in its provider.

    Args:
        ground: What the work stands on.
        desk: Asks the DataHub.
        query: What is asked for.
        subscription_id: Only series of this subscription; empty: of all.
        with_status: Ask the DataHub for the state of each.

    Raises:
        NotFound: There is no such subscription.
        InvalidFilter: The filter cannot be understood.
        InvalidCursor: The page token belongs to another query.
    """
    only = _uuid(subscription_id)
    async with ground.database.transaction(isolation="repeatable_read", readonly=True) as connection:
        if only is not None:
            await read(connection, only)
        revision = await table.revision(connection)
        segments = await _segments(connection, query, only)
        found = await SERIES.page(
            connection, SQL["series_page"], query, only, scope=(subscription_id,), segments=segments
        )
    series = tuple(series_of(row) for row in found.rows)
    if not with_status:
        return SeriesPage(series, found.next_page_token, revision)
    asked = [one.name for one in series if one.symbol]
    answer = await desk.of_series(asked)
    if isinstance(answer, str):
        return SeriesPage(series, found.next_page_token, revision, status_error=answer)
    states = dict(zip(asked, answer, strict=True))
    return SeriesPage(series, found.next_page_token, revision, states, read_time=ground.clock.now())


async def _segments(connection: Any, query: Query, only: uuid.UUID | None) -> list[Segment]:
    """Return the list in parts that indexes give in order: provider by provider, first what cannot be resolved.

    Within a provider symbols rise in either direction: series are grouped along them, and groups go one way only.
    """
    SERIES.where(query.filter, first_parameter=1)
    parts = [written(part) for part in conjuncts(query.filter) if part.field in PROVIDER]
    where = condition(" AND ".join(parts), PROVIDER, first_parameter=2)
    falls = canonical(query.order_by, SERIES.default_order).endswith(" desc")
    statement = filled(SQL["series_providers"], filter=where.sql, order=f"c.name{' desc' if falls else ''}")
    rows = await connection.fetch(statement, only, *where.parameters)
    order = Ordering(((OrderField("s.name"), False), (OrderField("s.interval"), False)), parted=True)
    of = "" if only is None else f" and s.subscription_id = '{only}'"
    return [
        Segment(f"{row['code_id']} {place}", f"s.code_id = {row['code_id']} and s.place = {place}{of}", order)
        for row in rows
        for place in (0, 1)
    ]


def series_of(row: Any) -> Series:
    """Return the series that a row tells of."""
    symbol = row["symbol"]
    return Series(
        provider=row["provider"],
        symbol=symbol,
        interval=row["interval"],
        common_symbol=row["common_symbol"],
        exchange=row["exchange"],
        asset_class=AssetClass(row["asset_class"]) if row["asset_class"] else None,
        subscription_ids=tuple(row["subscription_ids"]),
        active=row["active"],
        historical=row["historical"],
        live=row["live"],
        store_ticks=row["store_ticks"],
        tick_kinds=TickKind.in_order(row["tick_kinds"] or ()),
        crons=tuple((cron, zone) for cron, zone in row["crons"] or ()),
        backfill_start=row["backfill_start"],
        unresolved=row["unresolved"],
        unresolved_name=row["name"] if row["unresolved"] else "",
    )


def _uuid(text: str) -> uuid.UUID | None:
    if not text:
        return None
    try:
        return uuid.UUID(text)
    except ValueError:
        raise not_found(text) from None
