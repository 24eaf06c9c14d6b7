"""Whether the database answers and has the schema of this build, asked all the time on a connection of its own.

A probe through the pool would call the service unready when it is merely busy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg

from quasar.clock import Clock
from quasar.database.pool import connect
from quasar.errors import QuasarError
from quasar.ops.schema_report import SchemaReport

READY_LOOK_S = 1.0
"""Time between two looks while all is well."""
UNREADY_LOOK_S = 0.1
ANSWER_S = 3.0
"""Time that the database has to answer."""

_REFUSED = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
# A connection that is cut in the middle of an answer is in no state that its library knows.
_CUT = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_TROUBLE = (QuasarError, asyncpg.PostgresError, *_CUT)


class DatabaseReadiness:
    """Follows the database of a service."""

    def __init__(self, url: str, service: str, schema: SchemaReport, clock: Clock, tell: Callable[[str], None]) -> None:
        """Look at the database at `url`.

        Args:
            url: Its address.
            service: Who looks, for the server's list of connections.
            schema: Tells whether the schema is that of this build.
            clock: For the pauses.
            tell: Called after each look with what is wrong and what helps; "" when nothing is.
        """
        self._url = url
        self._name = f"quasar-{service}-readiness"
        self._schema = schema
        self._clock = clock
        self._tell = tell
        self._connection: Any = None
        self._schema_fits = False

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                problem = await self._look()
                self._tell(problem)
                await self._clock.sleep(UNREADY_LOOK_S if problem else READY_LOOK_S)
        finally:
            self._disconnect()

    async def _look(self) -> str:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._url, application_name=self._name, timeout=ANSWER_S)
            await self._connection.fetchval("select true", timeout=ANSWER_S)
            missing = "" if self._schema_fits else await self._schema.missing()
        except _TROUBLE as error:
            self._disconnect()
            return _explained(error)
        self._schema_fits = not missing
        return missing

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _explained(error: Exception) -> str:
    if isinstance(error.__cause__, _REFUSED):
        return (
            "the database refuses the role of this service; `quasar db migrate` with the same system context makes it "
            "or corrects its password"
        )
    why = error.message if isinstance(error, QuasarError) else f"the database does not answer ({type(error).__name__})"
    return f"{why}; it is asked again all the time"
