"""Which calendars of policies are open; a calendar is built beside the event loop, for the first one takes seconds."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable

from quasar.calendars import ALWAYS, Calendar, calendar_for
from quasar.model.asset_classes import parse_asset_class
from strategy_engine.backtests.records import SeriesFacts
from strategy_engine.policy.limits import Policy
from strategy_engine.policy.sessions import INSTRUMENT, Hours


async def hours_of(policies: Iterable[Policy], facts: SeriesFacts | None, now: dt.datetime) -> Hours:
    """Return the time with what policies ask of it.

    Args:
        policies: Those in force.
        facts: What is known of the order's instrument; None: nothing.
        now: The time.
    """
    names = {each.calendar for policy in policies for each in policy.limits.sessions if each.calendar}
    found = {}
    for name in sorted(names):
        calendar = _own(facts) if name == INSTRUMENT else calendar_for(name)
        found[name] = calendar.known and await asyncio.to_thread(calendar.is_open, now)
    return Hours(now, found)


def _own(facts: SeriesFacts | None) -> Calendar:
    if facts is None:
        return calendar_for(None)
    # A series of an unknown market follows the calendar that never closes: that is no knowledge of its hours.
    named = facts.exchange or ("" if facts.calendar == ALWAYS else facts.calendar)
    return calendar_for(named, parse_asset_class(facts.asset_class) if facts.asset_class else None)
