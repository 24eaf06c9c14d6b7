"""The other DataHubs of the database: how the feeds are that they run, and what they are asked to do with them.

Each replica says every other second that it runs, and, while it is not alone, how its feeds are. Who is asked to make
a connection anew that another one holds leaves a row for that one and wakes it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from datahub.store.statements import SQL
from quasar.database.pool import Database

TELL_S: Final = 2.0
"""How the feeds are is told so often."""
BELIEVED_S: Final = 10.0
"""A replica that has said nothing for so long has ended."""
CHANNEL: Final = "quasar_feeds"
"""Wakes the replica that is named in the payload."""


@dataclass(frozen=True, slots=True)
class ToldFeed:
    """A feed of another replica."""

    replica_id: str
    feed_id: str
    feed: bytes
    """The connection, encoded by who told it."""
    symbols: bytes
    """Its symbols, likewise; empty: not asked for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A connection of this replica that is to be made anew."""

    feed_id: str
    symbols: tuple[str, ...]
    """Only these are to be synchronised anew; empty: the whole connection."""


class Replicas:
    """What replicas tell each other, by rows of their database."""

    def __init__(self, database: Database, replica_id: str) -> None:
        """Speak for the replica `replica_id`."""
        self._database = database
        self.replica_id = replica_id
        self.alone = True
        """Whether no other replica ran at the last look."""

    async def seen(self) -> None:
        """Say that this replica runs, and look whether others do.

        Raises:
            DatabaseUnavailable: The database is away.
        """
        self.alone = not await self._database.fetchval(SQL["replica_seen"], self.replica_id, BELIEVED_S)

    async def leave(self) -> None:
        """Say that this replica ends."""
        await self._database.execute(SQL["replica_gone"], self.replica_id)

    async def tell(self, feeds: Mapping[str, tuple[bytes, bytes | None]]) -> None:
        """Tell how the feeds of this replica are.

        Args:
            feeds: The encoded connection and its encoded symbols, by id; without symbols, those that were told stay.
        """
        names = list(feeds)
        # A connection that carries nothing any more has an empty list, which is something when compressed.
        symbols = [b"" if listed is None else zlib.compress(listed, 1) for _, listed in feeds.values()]
        await self._database.execute(
            SQL["feed_states_put"], self.replica_id, names, [feed for feed, _ in feeds.values()], symbols
        )

    async def others(self, *, with_symbols: bool) -> Sequence[ToldFeed]:
        """Return the feeds of the other replicas, by id."""
        if self.alone:
            return ()
        rows = await self._database.fetch(SQL["feed_states_of_others"], self.replica_id, BELIEVED_S, with_symbols)
        return [
            ToldFeed(
                row["replica_id"],
                row["feed_id"],
                row["feed"],
                zlib.decompress(row["symbols"]) if row["symbols"] else b"",
            )
            for row in rows
        ]

    async def ask(self, told: ToldFeed, symbols: Sequence[str]) -> None:
        """Ask another replica to make a connection anew, or some of its symbols."""
        await self._database.execute(SQL["feed_request_put"], told.replica_id, told.feed_id, list(symbols))

    async def asked(self) -> Sequence[Asked]:
        """Return what this replica is asked to do, oldest first, once."""
        rows = await self._database.fetch(SQL["feed_requests_take"], self.replica_id)
        return [Asked(row["feed_id"], tuple(row["symbols"])) for row in rows]
