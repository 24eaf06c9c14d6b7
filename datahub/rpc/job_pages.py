"""Jobs, schedules and subscribed series, for people."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from datahub.collection.subscriptions import schedule_of
from datahub.live.symbols import LiveName
from datahub.providers.entry import ProviderEntry
from datahub.rpc.listing import Listing
from datahub.rpc.run_messages import instant_or_none, job_message, job_name
from datahub.rpc.run_pages import RunPages
from datahub.rpc.schedule_preview import Planned, draft_of, preview
from datahub.rpc.series_messages import series_key
from datahub.series.series import SeriesName
from datahub.store import series_table
from datahub.store.statements import SQL
from quasar import paging
from quasar.calendars import Calendar
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import NotFound, Resource
from quasar.filters import Field, condition
from quasar.model.intervals import Interval
from quasar.ordering import OrderField
from quasar.rpc.wellknown import timestamp
from quasar_proto.datahub.v1 import collection_pb2, feed_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb

_FIRES = 5
_SERIES_LOOKED_AT = 1_000
_LISTING = Listing(
    method="ListJobs",
    statement="job_rows",
    fields={
        "kind": Field("j.kind", "enum", ("BARS", "INDEX_SYNC", "REPAIR", "MAINTENANCE")),
        "state": Field("j.state", "enum", ("SCHEDULED", "PAUSED", "BLOCKED")),
        "provider": Field("j.provider"),
        "interval": Field("j.interval"),
        "index": Field("j.index_name"),
        "next_fire_time": Field("j.next_fire_at", "time"),
    },
    orders={
        "next_fire_time": OrderField("coalesce(j.next_fire_at, 'infinity'::timestamptz)", "timestamptz"),
        "last_fire_time": OrderField("coalesce(j.last_fire_at, '-infinity'::timestamptz)", "timestamptz"),
        "provider": OrderField("j.provider"),
        "interval": OrderField("j.interval"),
    },
    default_order="next_fire_time",
    tie=(OrderField("j.job_id", "bigint"),),
)
_BEHIND = dt.timedelta(minutes=5)


SymbolFeeds: TypeAlias = Callable[[Collection[LiveName]], Awaitable[Mapping[LiveName, feed_pb2.SymbolFeed]]]
"""Tells how live symbols are; those that are not live are left out."""


class JobPages:
    """Answers what is asked about jobs and subscribed series."""

    def __init__(self, database: Database, clock: Clock, runs: RunPages, feeds: SymbolFeeds) -> None:
        """Read from `database`; ask `feeds` how live symbols are."""
        self._database = database
        self._clock = clock
        self._runs = runs
        self._feeds = feeds

    async def page(self, request: pb.ListJobsRequest, providers: Mapping[str, ProviderEntry]) -> pb.ListJobsResponse:
        """Return a page of jobs."""
        rows, token = await _LISTING.rows(self._database, request, list(providers))
        where = condition(request.filter, _LISTING.fields, first_parameter=2)
        text = SQL["job_total"].format(filter=where.sql)
        total = await self._database.fetchval(text, list(providers), *where.parameters)
        return pb.ListJobsResponse(jobs=[job_message(row) for row in rows], next_page_token=token, total_size=total)

    async def row(self, name: str, providers: Mapping[str, ProviderEntry]) -> Any:
        """Return the row of a job by its name.

        Raises:
            NotFound: There is none.
        """
        text = SQL["job_rows"].format(key="'{}'::text[]", filter="j.name = $3", order="j.job_id")
        rows = await self._database.fetch(text, 1, list(providers), name)
        if not rows:
            raise NotFound(f"There is no job {name!r}.", resource=Resource("job", name))
        return rows[0]

    async def get(self, request: pb.GetJobRequest, providers: Mapping[str, ProviderEntry]) -> pb.GetJobResponse:
        """Return one job with a page of its series."""
        size = paging.page_size(request.page_size)
        asked = ("GetJob", request.job_id)
        key = paging.page_key(asked, request.page_token)
        job = await self.row(request.job_id, providers)
        repaired = job["provider"] if job["kind"] == "REPAIR" else ""
        after = (str(key[0]), int(key[1])) if key else ("", 0)
        rows = await self._database.fetch(SQL["series_of_job"], job["job_id"], repaired, *after, size + 1)
        states = await self.states([row["series_id"] for row in rows[:size]], providers)
        response = pb.GetJobResponse(job=job_message(job), series=states)
        if len(rows) > size:
            response.next_page_token = paging.page_token(asked, [states[-1].key.symbol, states[-1].series_id])
        return response

    async def states(
        self, series_ids: Sequence[int], providers: Mapping[str, ProviderEntry]
    ) -> list[collection_pb2.SubscriptionState]:
        """Return what is known of series, in the order of their ids."""
        rows = {row["series_id"]: row for row in await self._database.fetch(SQL["series_states"], list(series_ids))}
        runs = [row["run_id"] for row in rows.values() if row["run_id"] is not None]
        last = {each.series.series_id: each for each in await self._runs.some(runs)} if runs else {}
        feeds = await self._feeds({_live_name(row) for row in rows.values() if row["live"]})
        prices = await self._tick_prices(rows.values())
        now = self._clock.now()
        found = []
        for row in (rows[one] for one in series_ids if one in rows):
            feed = feeds.get(_live_name(row)) if row["live"] else None
            state = _state(row, providers, last.get(row["series_id"]), feed, now)
            _set_last_row(state, row, feed, prices)
            found.append(state)
        return found

    async def _tick_prices(self, rows: Iterable[Any]) -> dict[int, float]:
        """Return the last stored price of series of ticks."""
        ticks = [row for row in rows if not row["interval"] and row["watermark"] is not None]
        if not ticks:
            return {}
        ids, times = [row["series_id"] for row in ticks], [row["watermark"] for row in ticks]
        return {row["series_id"]: row["price"] for row in await self._database.fetch(SQL["tick_prices"], ids, times)}

    async def states_of(
        self, names: Sequence[SeriesName], providers: Mapping[str, ProviderEntry]
    ) -> list[collection_pb2.SubscriptionState]:
        """Return what is known of series by name; unknown ones have no health."""
        async with self._database.acquire() as connection:
            found = await series_table.by_names(connection, set(names))
        states = await self.states([one.series_id for one in found.values()], providers)
        by_id = {state.series_id: state for state in states}
        unknown = collection_pb2.SubscriptionState
        return [by_id[found[name].series_id] if name in found else unknown(key=series_key(name)) for name in names]

    async def preview(
        self, request: pb.GetSchedulePreviewRequest, providers: Mapping[str, ProviderEntry]
    ) -> pb.GetSchedulePreviewResponse:
        """Compute when a schedule fires and what it fetches."""
        after = instant_or_none(request.after) or self._clock.now()
        count = request.count or _FIRES
        if not request.job_id:
            # A market's first use loads a library, and a fire of years ago may have to be looked for.
            return await asyncio.to_thread(lambda: preview(draft_of(request.draft), after, count))
        job = await self.row(request.job_id, providers)
        if not job["cron"]:
            due = job["next_fire_at"]
            words = "when the next gap is due" if job["kind"] == "REPAIR" else "only when somebody asks"
            fires = [collection_pb2.ScheduledFire(fire_time=timestamp(due))] if due is not None else []
            return pb.GetSchedulePreviewResponse(description=words, fires=fires)
        planned = Planned(
            schedule=schedule_of(job["cron"], job["time_zone"], job["offset_s"]),
            interval=Interval.parse(job["interval"]) if job["interval"] else None,
            calendars=await self._calendars(job["job_id"]),
        )
        return await asyncio.to_thread(preview, planned, after, count)

    async def _calendars(self, job_id: int) -> list[Calendar]:
        """Return the markets of the series of a job."""
        rows = await self._database.fetch(SQL["series_of_job"], job_id, "", "", 0, _SERIES_LOOKED_AT)
        async with self._database.acquire() as connection:
            series = await series_table.by_ids(connection, [row["series_id"] for row in rows])
        return list({one.calendar.name: one.calendar for one in series.values()}.values())


def _state(
    row: Any,
    providers: Mapping[str, ProviderEntry],
    run: collection_pb2.Run | None,
    feed: feed_pb2.SymbolFeed | None,
    now: dt.datetime,
) -> collection_pb2.SubscriptionState:
    health, detail = _health(row, providers, feed, now)
    message = collection_pb2.SubscriptionState(
        key=series_key(SeriesName(row["provider"], row["symbol"], row["interval"])),
        series_id=row["series_id"],
        health=collection_pb2.SubscriptionHealth.Value(f"SUBSCRIPTION_HEALTH_{health}"),
        detail=detail,
        rows=row["rows"] or 0,
        next_due_time=timestamp(row["next_fire_at"] if health not in ("PAUSED", "UNSERVED") else None),
        last_success_time=timestamp(row["succeeded_at"]),
        open_gaps=row["open_gaps"],
        missing_slots=row["missing"],
    )
    if feed is not None:
        message.feed_state = feed.state
        if feed.HasField("last_receive_time"):
            message.last_receive_time.CopyFrom(feed.last_receive_time)
    if row["job_kind"] is not None:
        parts = (row[f"job_{name}"] for name in ("kind", "provider", "interval", "index", "cron", "time_zone"))
        message.job_id = job_name(*parts)
    if run is not None:
        message.last_run.CopyFrom(run)
    if row["complete_ratio"] is not None:
        message.complete_ratio = row["complete_ratio"]
    return message


def _set_last_row(
    message: collection_pb2.SubscriptionState, row: Any, feed: feed_pb2.SymbolFeed | None, prices: Mapping[int, float]
) -> None:
    """Set the last closed bar, or the last tick: of the feed where that is newer than what is stored."""
    if row["interval"]:
        last, value = timestamp(row["last_open"]), row["last_close"]
    else:
        last, value = timestamp(row["watermark"]), prices.get(row["series_id"])
        if feed is not None and feed.HasField("last_event_time"):
            streamed = feed.last_event_time
            last = streamed if last is None or streamed.ToNanoseconds() > last.ToNanoseconds() else last
    if last is not None:
        message.last_row_time.CopyFrom(last)
    if value is not None:
        message.last_value = value


def _live_name(row: Any) -> LiveName:
    return LiveName(row["provider"], row["symbol"])


def _health(
    row: Any, providers: Mapping[str, ProviderEntry], feed: feed_pb2.SymbolFeed | None, now: dt.datetime
) -> tuple[str, str]:
    """Return how a series is doing, and what is wrong."""
    if row["active"] is None:
        return "UNSPECIFIED", ""
    entry = providers.get(row["provider"])
    if entry is None:
        return "UNSERVED", f"provider {row['provider']} is not active"
    if not row["active"] or row["paused"]:
        return "PAUSED", "the provider is paused" if row["paused"] else "its subscriptions are paused"
    if row["historical"] and row["interval"] and not entry.serves(row["interval"]):
        return "UNSERVED", f"provider {entry.name} has no history at {row['interval']}"
    if row["run_state"] in ("FAILED", "BACKING_OFF"):
        return "FAILING", (row["error"] or {}).get("message", "")
    if feed is not None and feed.state == feed_pb2.FEED_STATE_DOWN:
        return "FAILING", feed.detail or "its live feed is down"
    if not row["historical"]:
        return "CURRENT", ""
    if row["classified_until"] is None or (row["run_trigger"] == "INITIAL" and row["finished_at"] is None):
        return "BACKFILLING", ""
    due = row["next_fire_at"]
    behind = row["finished_at"] is None or (due is not None and due < now - _BEHIND)
    return ("BEHIND", "") if behind else ("CURRENT", "")
