"""The collecting part of the DataHub in one piece: reads subscriptions, plans, works, for as long as it runs."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping

import asyncpg

from datahub.collection.planner import Planner
from datahub.collection.subscriptions import Refreshed, Subscriptions
from datahub.collection.worker import RunWorker
from datahub.providers.entry import ProviderEntry
from quasar import logs
from quasar.clock import Clock
from quasar.errors import DatabaseUnavailable, DeadlineExceeded
from quasar.ops.hints import Hint

REFRESH_S = 30.0
"""Subscriptions are read this often, beside when somebody says that they changed."""
LONGEST_LOOK_S = 5.0
"""The planner looks this often at least: gaps and new series have no alarm."""
_TROUBLE = (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError)
_AFTER_FAILURE_S = 1.0

_log = logs.get(__name__)


class Collection:
    """Runs collection in this process, beside other replicas."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        planner: Planner,
        worker: RunWorker,
        providers: Callable[[], Awaitable[Mapping[str, ProviderEntry]]],
        clock: Clock,
    ) -> None:
        """Plan and work.

        Args:
            subscriptions: What is wanted.
            planner: Makes runs.
            worker: Does them.
            providers: Reads the active providers anew.
            clock: For waits.
        """
        self._subscriptions = subscriptions
        self._planner = planner
        self._worker = worker
        self._providers = providers
        self._clock = clock
        self._known: Mapping[str, ProviderEntry] = {}
        self.changed = Hint(clock)
        """Give it when the registry changed."""
        self.due = Hint(clock)
        """Give it when something may be due."""

    @property
    def runs_in_flight(self) -> int:
        """How many runs are at work in this process."""
        return self._worker.in_flight

    @property
    def providers(self) -> Mapping[str, ProviderEntry]:
        """The active providers as they were read last."""
        return self._known

    def slots(self) -> Mapping[str, int]:
        """Return how many runs of each provider may be done at once."""
        return {name: entry.concurrency for name, entry in self._known.items()}

    def notified(self, _payload: str = "") -> None:
        """Wake planner and worker; fits as a callback of a `Listener`."""
        self._worker.hint.give()
        self.due.give()

    async def refresh(self, provider: str = "") -> Refreshed:
        """Read providers and subscriptions now."""
        self._known = await self._providers()
        refreshed = await self._subscriptions.refresh(self._known, provider)
        self.due.give()
        return refreshed

    async def run(self) -> None:
        """Collect until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_fresh(), name="subscriptions")
            group.create_task(self._keep_planning(), name="planner")
            group.create_task(self._worker.run(), name="runs")

    async def _keep_fresh(self) -> None:
        while True:
            mark = self.changed.mark()
            try:
                await self.refresh()
            except _TROUBLE as error:
                _log.warning("subscriptions not read", error=type(error).__name__)
                await self._clock.sleep(_AFTER_FAILURE_S)
            await self.changed.after(mark, REFRESH_S)

    async def _keep_planning(self) -> None:
        while True:
            mark = self.due.mark()
            pause = LONGEST_LOOK_S
            try:
                if self._known:
                    pause = _until((await self._planner.plan(self._known)).next_look, self._clock.now())
            except _TROUBLE as error:
                _log.warning("nothing planned", error=type(error).__name__)
                pause = _AFTER_FAILURE_S
            await self.due.after(mark, pause)


def _until(next_look: dt.datetime | None, now: dt.datetime) -> float:
    if next_look is None:
        return LONGEST_LOOK_S
    return min(max((next_look - now).total_seconds(), 0.05), LONGEST_LOOK_S)
