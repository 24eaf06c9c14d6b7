"""Trading sessions as messages."""

from __future__ import annotations

import asyncio
import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np

from datahub.rpc.series_messages import SeriesFinder, time_range
from quasar import paging
from quasar.calendars import Calendar, Sessions, calendar_for
from quasar.calendars.names import FOREX
from quasar.clock import Clock
from quasar.model.instants import MISSING_NS, NS_PER_DAY, TimeRange, ns_date, to_ns
from quasar.rpc.wellknown import timestamp_ns
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb


async def list_sessions(request: pb.ListSessionsRequest, finder: SeriesFinder, clock: Clock) -> pb.ListSessionsResponse:
    """Return a page of the sessions of a market."""
    size = paging.page_size(request.page_size)
    calendar = calendar_for(request.exchange) if request.exchange else (await finder.find(request.series)).calendar
    now = to_ns(clock.now())
    span = time_range(request.range, default=TimeRange(now - 7 * NS_PER_DAY, now + 7 * NS_PER_DAY))
    asked = ("ListSessions", calendar.name, request.range.SerializeToString(deterministic=True).hex())
    key = paging.page_key(asked, request.page_token)
    start = int(key[0]) if key else span.start_ns
    # A library is loaded at the first question, which takes seconds.
    sessions = await asyncio.to_thread(calendar.sessions, start, max(start, span.end_ns))
    zone = await asyncio.to_thread(time_zone, calendar)
    response = pb.ListSessionsResponse(
        calendar=calendar.name,
        known=calendar.known,
        time_zone=zone,
        open_now=await asyncio.to_thread(calendar.is_open, now),
    )
    usual = _usual_length(sessions)
    for row in range(min(size, len(sessions))):
        response.sessions.append(_session(sessions, row, usual))
    if len(sessions) > size:
        response.next_page_token = paging.page_token(asked, [int(sessions.open_ns[size])])
    return response


def time_zone(calendar: Calendar) -> str:
    """Return the time zone of a market."""
    if calendar.always_open:
        return "UTC"
    if calendar.name == FOREX:
        return "America/New_York"
    from exchange_calendars import get_calendar  # takes a second to load, and is loaded by then

    zone: ZoneInfo = get_calendar(calendar.name).tz
    return str(zone)


def _usual_length(sessions: Sessions) -> int:
    return int(np.median(sessions.close_ns - sessions.open_ns)) if len(sessions) else 0


def _session(sessions: Sessions, row: int, usual_ns: int) -> pb.Session:
    open_ns, close_ns = int(sessions.open_ns[row]), int(sessions.close_ns[row])
    message = pb.Session(
        date=_date(int(sessions.date_ns[row])).isoformat(),
        open_time=timestamp_ns(open_ns),
        close_time=timestamp_ns(close_ns),
        shortened=close_ns - open_ns < usual_ns,
    )
    if sessions.break_start_ns[row] != MISSING_NS:
        message.break_start_time.CopyFrom(timestamp_ns(int(sessions.break_start_ns[row])))
        message.break_end_time.CopyFrom(timestamp_ns(int(sessions.break_end_ns[row])))
    return message


def _date(day_ns: int) -> dt.date:
    return ns_date(day_ns)
