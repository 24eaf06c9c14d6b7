"""Watching subscriptions: those that pass a filter at once, then each change of them or of their status."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from quasar.filters import condition
from registry.store import subscription_table as table
from registry.store.subscription_listing import FIELDS
from registry.subscriptions.ground import Ground
from registry.subscriptions.statuses import Status, StatusDesk, Statuses
from registry.subscriptions.subscriptions import Subscription

_ALWAYS = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
BATCH = 500
"""Subscriptions in one message at most."""
LEAST_S = 1.0
"""A subscription is sent at most once in this time."""
STATUS_S = 5.0
"""The DataHub is asked this often how the subscriptions are doing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a watcher is sent; nothing in it but `complete`: a heartbeat."""

    subscriptions: tuple[Subscription, ...] = ()
    statuses: Mapping[uuid.UUID, Status] = field(default_factory=dict)
    removed: tuple[uuid.UUID, ...] = ()
    complete: bool = False
    status_error: str = ""


class Watcher:
    """Follows the subscriptions that pass a filter."""

    def __init__(self, ground: Ground, desk: StatusDesk, filter_text: str) -> None:
        """Follow what passes `filter_text`.

        Raises:
            InvalidFilter: The filter cannot be understood.
        """
        self._ground = ground
        self._desk = desk
        self._where = condition(filter_text, FIELDS)
        self._marks: dict[uuid.UUID, tuple[object, ...]] = {}
        self._told: dict[uuid.UUID, Status | None] = {}
        self._error = ""

    async def watch(self, heartbeat_s: float) -> AsyncGenerator[Seen, None]:
        """Yield all subscriptions in the first messages, then those that changed; a heartbeat where nothing did."""
        clock = self._ground.clock
        complete = False
        asked = heard = clock.monotonic()
        while True:
            mark = self._ground.events.hint.mark()
            ask = not complete or clock.monotonic() - asked >= STATUS_S
            if ask:
                asked = clock.monotonic()
            for seen in await self._look(ask_all=ask, complete=complete):
                complete = complete or seen.complete
                heard = clock.monotonic()
                yield seen
            if clock.monotonic() - heard >= heartbeat_s:
                heard = clock.monotonic()
                yield Seen(complete=True, status_error=self._error)
            await clock.sleep(LEAST_S)
            due = min(heard + heartbeat_s, asked + STATUS_S) - clock.monotonic()
            await self._ground.events.hint.after(mark, max(0.0, due))

    async def _look(self, *, ask_all: bool, complete: bool) -> list[Seen]:
        """Return what is new since the last look; the whole first answer where it is not complete."""
        async with self._ground.database.acquire() as connection:
            marks = await table.marks(connection, self._where)
        changed = [one for one, mark in marks.items() if self._marks.get(one) != mark]
        removed = tuple(one for one in self._marks if one not in marks)
        self._marks = marks
        for one in removed:
            self._told.pop(one, None)
        messages = []
        for ids in _batches(sorted(marks if ask_all else changed, key=str)):
            seen = await self._told_of(ids, frozenset(changed))
            if seen.subscriptions:
                messages.append(seen)
        if removed or (not complete and not messages):
            messages.append(Seen(removed=removed))
        if complete:
            return [replace(seen, complete=True) for seen in messages]
        messages[-1] = replace(messages[-1], complete=True)
        return messages

    async def _told_of(self, ids: Sequence[uuid.UUID], changed: frozenset[uuid.UUID]) -> Seen:
        """Return those of some subscriptions that changed, or whose status did."""
        async with self._ground.database.acquire() as connection:
            found = await table.by_ids(connection, ids)
        statuses = await self._desk.of(found)
        self._error = statuses.error
        news = [one for one in found if one.subscription_id in changed or self._differs(one, statuses)]
        for one in news:
            if one.subscription_id is not None:
                self._told[one.subscription_id] = _lasting(statuses.of.get(one.subscription_id))
        return Seen(tuple(news), statuses.of, status_error=statuses.error)

    def _differs(self, one: Subscription, statuses: Statuses) -> bool:
        if one.subscription_id is None:
            return False
        return self._told.get(one.subscription_id) != _lasting(statuses.of.get(one.subscription_id))


def _lasting(status: Status | None) -> Status | None:
    """Return a status without the time at which it was read, which is another one at each look."""
    return None if status is None else replace(status, read_time=_ALWAYS)


def _batches(ids: Sequence[uuid.UUID]) -> list[Sequence[uuid.UUID]]:
    return [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
