"""Wake-up hints from the database: LISTEN on a connection of its own, reconnecting for as long as it runs.

A notification is a hint to look, never the news itself: PostgreSQL drops it when nobody listens, so whoever uses this
also looks by itself from time to time, and every callback is called once after each (re)connection.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg

from quasar.clock import Clock, SystemClock
from quasar.database.pool import connect
from quasar.errors import DatabaseUnavailable

HINT_AFTER_CONNECT = ""
"""The payload that stands for “notifications may have been missed, look now”."""

_LONGEST_PAUSE_S = 15.0
_PROBE_S = 30.0
# The last one is a connection that was cut in the middle of an answer: it is in no state that its library knows.
_TROUBLE = (DatabaseUnavailable, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Listener:
    """Listens on channels and calls back, until its task is cancelled."""

    def __init__(
        self,
        url: str,
        channels: Mapping[str, Callable[[str], None]],
        *,
        application_name: str = "quasar-listener",
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Describe what to listen to.

        Args:
            url: A direct address: LISTEN does nothing through a transaction-pooling proxy.
            channels: A callback for each channel, called with the payload in the event loop; it must not block and not
                raise.
            application_name: What the server calls the connection.
            clock: For the pauses between attempts.
            jitter: Returns a number in [0, 1) that spreads the attempts of several processes.
        """
        self._url = url
        self._channels = dict(channels)
        self._name = application_name
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self.connected = asyncio.Event()
        """Set while the connection stands."""

    async def run(self) -> None:
        """Listen for ever; run it in a TaskGroup and cancel it to stop."""
        failures = 0
        while True:
            try:
                await self._listen()
                failures = 0
            except _TROUBLE:
                failures += 1
            finally:
                self.connected.clear()
            longest = min(_LONGEST_PAUSE_S, 0.25 * 2.0 ** min(failures, 10))
            await self._clock.sleep(self._jitter() * longest)

    async def _listen(self) -> None:
        """Serve one connection until it ends."""
        connection = await connect(self._url, application_name=self._name)
        ended = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _connection: ended.set())
            for channel in self._channels:
                await connection.add_listener(channel, self._notified)
            self.connected.set()
            for callback in self._channels.values():
                callback(HINT_AFTER_CONNECT)
            while not ended.is_set():
                await self._probe(connection, ended)
        finally:
            connection.terminate()

    async def _probe(self, connection: Any, ended: asyncio.Event) -> None:
        """Wait for the end of the connection; ask now and then, since a cut cable says nothing."""
        try:
            async with asyncio.timeout(_PROBE_S):
                await ended.wait()
        except TimeoutError:
            await connection.fetchval("select true", timeout=10.0)

    def _notified(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        """Pass a notification on."""
        self._channels[channel](payload)
