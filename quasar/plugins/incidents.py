"""Plug-ins that had to be stopped, as events: one for each, which consoles show and watchers hear of."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from quasar import errors, logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.ops.events import Events, Severity
from quasar.plugins.containment import Containment

KIND: Final = "PluginContained"
_MOST_WAITING: Final = 1_000
_PATIENCE_S: Final = 5.0
_TROUBLE: Final = (errors.DatabaseUnavailable, errors.DeadlineExceeded, asyncpg.PostgresError, OSError)
_log = logs.get(__name__)


class Incidents:
    """Records containments; `note` fits as a pool's `on_containment`."""

    def __init__(self, database: Database, events: Events, clock: Clock) -> None:
        """Record through `events`; `run` does the work."""
        self._database = database
        self._events = events
        self._clock = clock
        self._waiting: asyncio.Queue[Containment] = asyncio.Queue(_MOST_WAITING)

    def note(self, notice: Containment) -> None:
        """Take a notice; never waits. The log of the service has it in any case."""
        try:
            self._waiting.put_nowait(notice)
        except asyncio.QueueFull:
            _log.warning("event left out, too many wait for the database", plugin=notice.name)

    async def run(self) -> None:
        """Record until cancelled; a database that is away is waited for."""
        while True:
            notice = await self._waiting.get()
            while not await self._recorded(notice):
                await self._clock.sleep(_PATIENCE_S)

    async def _recorded(self, notice: Containment) -> bool:
        try:
            async with self._database.transaction() as connection:
                await self._events.record(
                    connection,
                    KIND,
                    sentence(notice),
                    subject_type=notice.kind.value,
                    subject_name=notice.name,
                    severity=Severity.ERROR if notice.next_start_s is None else Severity.WARNING,
                    data={
                        "cause": notice.cause.value,
                        "detail": notice.detail,
                        "version": notice.version,
                        "pid": notice.pid,
                        "next_start_s": notice.next_start_s,
                    },
                )
        except _TROUBLE as error:
            _log.warning("event not recorded", plugin=notice.name, error=type(error).__name__)
            return False
        return True


def sentence(notice: Containment) -> str:
    """Say what happened and what follows."""
    if notice.next_start_s is None:
        follows = "it stays down until it is started again by hand"
    else:
        follows = f"it starts again in {notice.next_start_s:.1f} s"
    return f"{notice.kind.value.capitalize()} {notice.name} {notice.detail}; {follows}."
