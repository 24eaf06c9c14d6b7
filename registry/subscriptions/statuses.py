"""How subscriptions are doing: what the DataHub says of their series, with what the registry knows."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import DeadlineExceeded, Unavailable, Unimplemented
from registry.store import subscription_table as table
from registry.subscriptions.subscriptions import State, Subscription

MOST_SERIES = 20_000
"""The state of this many series is asked for at most for one answer."""

_FEED_STATES: Final = (0, 1, 2, 5, 4, 3, 6)
"""Numbers of `quasar.datahub.v1.FeedState` from good to bad: a closed market is better than a broken connection."""

SeriesName = tuple[str, str, str]
"""Provider, symbol, interval."""


class Health(enum.IntEnum):
    """From good to bad; the numbers are those of `quasar.registry.v1.SubscriptionHealth`."""

    CURRENT = 1
    PAUSED = 2
    PENDING = 3
    BACKFILLING = 4
    BEHIND = 5
    GAPS = 6
    UNRESOLVED = 7
    FAILING = 8
    PROVIDER_DOWN = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesState:
    """What the DataHub knows of one series."""

    health: Health
    detail: str = ""
    last_bar_time: dt.datetime | None = None
    next_run_time: dt.datetime | None = None
    last_run_time: dt.datetime | None = None
    last_error: str = ""
    bar_count: int = 0
    gap_count: int = 0
    missing_bars: int = 0
    """In the gaps."""
    feed_state: int = 0
    """A value of `quasar.datahub.v1.FeedState`; 0: it has no feed, or nothing is known of it."""
    last_tick_time: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a subscription is doing, over all of its series."""

    health: Health
    detail: str
    series_count: int
    healths: Mapping[Health, int]
    unresolved_count: int
    last_bar_time: dt.datetime | None
    oldest_last_bar_time: dt.datetime | None
    next_run_time: dt.datetime | None
    last_run_time: dt.datetime | None
    last_error: str
    bar_count: int
    gap_count: int
    missing_bars: int
    feed_state: int
    last_tick_time: dt.datetime | None
    read_time: dt.datetime


@dataclass(frozen=True, slots=True)
class Statuses:
    """The status of some subscriptions or series."""

    of: Mapping[uuid.UUID, Status] = field(default_factory=dict)
    error: str = ""
    """Why some are missing; empty: none is."""


class CollectionStates(Protocol):
    """What the registry asks of the DataHub."""

    async def states(self, names: Sequence[SeriesName]) -> list[SeriesState]:
        """Return the state of series, in their order.

        Raises:
            Unavailable: The DataHub does not answer.
        """
        ...


class StatusDesk:
    """Asks the DataHub how subscriptions are doing; without it there is no status, and everything else goes on."""

    def __init__(self, database: Database, states: CollectionStates, clock: Clock) -> None:
        """Ask `states`."""
        self._database = database
        self._states = states
        self._clock = clock

    async def of(self, subscriptions: Sequence[Subscription]) -> Statuses:
        """Return the status of stored subscriptions."""
        ids = [one.subscription_id for one in subscriptions if one.subscription_id is not None]
        async with self._database.acquire() as connection:
            rows = await table.series_keys(connection, ids, MOST_SERIES + 1)
        error, whole = "", set(ids)
        if len(rows) > MOST_SERIES:
            # Rows come by subscription: those before the one in which the limit lies are complete.
            last = rows[-1][0]
            rows = [row for row in rows if row[0] != last]
            whole = {row[0] for row in rows}
            error = f"more than {MOST_SERIES} series are selected; ask for fewer subscriptions at once"
        answer = await self.of_series([row[1:] for row in rows])
        if isinstance(answer, str):
            return Statuses(error=answer)
        states: dict[uuid.UUID, list[SeriesState]] = {one: [] for one in whole}
        for row, state in zip(rows, answer, strict=True):
            states[row[0]].append(state)
        now = self._clock.now()
        found = {
            one.subscription_id: combined(one, states[one.subscription_id], now)
            for one in subscriptions
            if one.subscription_id is not None and one.subscription_id in whole
        }
        return Statuses(found, error)

    async def of_series(self, names: Sequence[SeriesName]) -> list[SeriesState] | str:
        """Return the state of series in their order, or why there is none."""
        if not names:
            return []
        try:
            return await self._states.states(names)
        except (Unavailable, DeadlineExceeded, Unimplemented):
            return "the DataHub does not answer"


def combined(subscription: Subscription, states: Sequence[SeriesState], now: dt.datetime) -> Status:
    """Return the status of a subscription from the states of its series."""
    healths = Counter(_health(subscription, state) for state in states)
    worst = max(healths, default=Health.PENDING)
    if subscription.state is State.PAUSED:
        worst = Health.PAUSED
    elif not subscription.provider_active:
        worst = Health.PROVIDER_DOWN
    elif subscription.unresolved_count or not states:
        worst = max(worst, Health.UNRESOLVED)
    bars = [state.last_bar_time for state in states]
    known_bars = [bar for bar in bars if bar is not None]
    live = subscription.wish.live  # another subscription may hold a feed of the same symbols
    failed = max((s for s in states if s.last_error), key=lambda s: s.last_run_time or now, default=None)
    return Status(
        health=worst,
        detail=_detail(subscription, states, worst),
        series_count=subscription.series_count,
        healths=dict(sorted(healths.items())),
        unresolved_count=subscription.unresolved_count,
        last_bar_time=max(known_bars, default=None),
        oldest_last_bar_time=min(known_bars) if known_bars and len(known_bars) == len(bars) else None,
        next_run_time=_least(state.next_run_time for state in states),
        last_run_time=_greatest(state.last_run_time for state in states),
        last_error=failed.last_error if failed is not None else "",
        bar_count=sum(state.bar_count for state in states),
        gap_count=sum(state.gap_count for state in states),
        missing_bars=sum(state.missing_bars for state in states),
        feed_state=max((state.feed_state for state in states), key=_FEED_STATES.index, default=0) if live else 0,
        last_tick_time=_greatest(state.last_tick_time for state in states) if live else None,
        read_time=now,
    )


def _health(subscription: Subscription, state: SeriesState) -> Health:
    if subscription.state is State.PAUSED:
        return Health.PAUSED
    return state.health if subscription.provider_active else Health.PROVIDER_DOWN


def _detail(subscription: Subscription, states: Sequence[SeriesState], worst: Health) -> str:
    """Return one sentence where something is wrong."""
    if worst is Health.PROVIDER_DOWN and not subscription.provider_active:
        return f"No version of provider {subscription.wish.provider!r} is active; activate one to collect."
    if worst is Health.UNRESOLVED:
        if not subscription.unresolved_count:
            return "The selection is empty at present: nothing passes it."
        return f"{subscription.unresolved_count} of the selection cannot be collected; ListSubscribedSeries says why."
    return next((state.detail for state in states if state.health is worst and state.detail), "")


def _least(times: Iterable[dt.datetime | None]) -> dt.datetime | None:
    return min((time for time in times if time is not None), default=None)


def _greatest(times: Iterable[dt.datetime | None]) -> dt.datetime | None:
    return max((time for time in times if time is not None), default=None)
