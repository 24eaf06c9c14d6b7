"""When a schedule fires and what it fetches, looked at in advance."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from datahub.collection.schedule_words import in_words
from datahub.rpc.series_messages import range_message
from quasar.calendars import Calendar, calendar_for
from quasar.model.instants import TimeRange, to_ns
from quasar.model.intervals import Interval
from quasar.rpc.wellknown import seconds, timestamp
from quasar.schedule import Schedule
from quasar_proto.datahub.v1 import collection_service_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A schedule and what it is for."""

    schedule: Schedule
    interval: Interval | None
    """The interval of the bars; None: it fetches none."""
    calendars: Sequence[Calendar]
    """The markets that it fetches from."""
    listening: tuple[float, float] | None = None
    """Live: seconds before and after the close."""


def draft_of(draft: pb.ScheduleDraft) -> Planned:
    """Return the schedule of settings that are not stored.

    Raises:
        InvalidArgument: The interval, the expression or the zone is none.
    """
    interval = Interval.parse(draft.interval)
    offset = dt.timedelta(seconds=seconds(draft.offset)) if draft.HasField("offset") else dt.timedelta(0)
    cron = draft.cron or interval.cron or "0 0 * * *"
    listening = (seconds(draft.pre_close), seconds(draft.post_close)) if draft.HasField("pre_close") else None
    return Planned(
        schedule=Schedule(cron, draft.time_zone or "UTC", offset),
        interval=interval,
        calendars=[calendar_for(draft.exchange or None)],
        listening=listening,
    )


def preview(planned: Planned, after: dt.datetime, count: int) -> pb.GetSchedulePreviewResponse:
    """Return the next firings after a time."""
    schedule, interval = planned.schedule, planned.interval
    response = pb.GetSchedulePreviewResponse(description=in_words(schedule))
    before = schedule.last_fire(after)
    for fire in schedule.fire_times(after, count):
        nominal = fire - schedule.offset
        message = response.fires.add(fire_time=timestamp(fire), nominal_time=timestamp(nominal))
        if interval is None or not interval.is_time:
            continue
        span = _slots(interval, nominal, None if before is None else before - schedule.offset)
        before = fire
        message.range.CopyFrom(range_message(span.start, span.end))
        message.session_closed = not any(
            len(calendar.expected_slots(interval, span.start_ns, span.end_ns)) for calendar in planned.calendars
        )
        if planned.listening is not None:
            message.listen_start_time.FromDatetime(nominal - dt.timedelta(seconds=planned.listening[0]))
            message.listen_end_time.FromDatetime(nominal + dt.timedelta(seconds=planned.listening[1]))
    return response


def _slots(interval: Interval, nominal: dt.datetime, before: dt.datetime | None) -> TimeRange:
    """Return the slots that end after the firing before and up to this one; the last one where there are none."""
    end = interval.floor_ns(to_ns(nominal))
    start = interval.floor_ns(end - 1)
    if before is not None:
        start = min(start, interval.floor_ns(to_ns(before)))
    return TimeRange(start, end)
