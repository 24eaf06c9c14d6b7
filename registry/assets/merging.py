"""Merging what a source sends: batches go to the database while the next ones are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from quasar.errors import QuasarError
from registry.assets.rows import AssetRow, RowReader, SourceSymbol
from registry.ground import Ground
from registry.store import assets as table
from registry.store.assets import Merged

BATCH: Final = 20_000
"""Rows in one merge: large enough for the statement to pay, small enough to be gone quickly when it is cancelled."""
AT_ONCE: Final = 2
"""While one batch is merged the next one is sent; merges of a source themselves take turns."""


class Merging:
    """The merge of one answer of a source."""

    def __init__(self, ground: Ground, code_id: int) -> None:
        """Merge symbols of the source `code_id` on `ground`."""
        self.reader = RowReader()
        self.merged = Merged()
        self._ground = ground
        self._code_id = code_id
        self._rows: list[AssetRow] = []
        self._errors = 0
        self._places = asyncio.Semaphore(AT_ONCE)
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Merge while the context lasts; at its end everything that was taken is merged.

        Raises:
            QuasarError: What ended the context, or a merge. What was taken before stays.
        """
        broke: QuasarError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    yield
                except QuasarError as error:
                    broke = error
                await self._send()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        if broke is not None:
            raise broke

    async def take(self, symbols: Iterable[SourceSymbol]) -> None:
        """Read some symbols; when a batch is full it is sent."""
        self._rows += self.reader.read(symbols)
        if len(self._rows) >= BATCH:
            await self._send()
        else:
            await asyncio.sleep(0)

    def note_errors(self, messages: Sequence[str], count: int) -> None:
        """Note rows that could not even be read: some with what is wrong, and how many there were so far."""
        for message in messages:
            self.reader.received += 1
            self.reader.refuse("", message)
        self._errors += len(messages)
        more = max(0, count - self._errors)
        self._errors += more
        self.reader.received += more
        self.reader.rejected += more

    async def _send(self) -> None:
        assert self._group is not None
        rows, self._rows = self._rows, []
        await self._places.acquire()
        self._group.create_task(self._merge(rows))

    async def _merge(self, rows: Sequence[AssetRow]) -> None:
        try:
            async with self._ground.database.transaction() as connection:
                now = self._ground.clock.now()
                self.merged += await table.merge(connection, self._code_id, rows, now)
        finally:
            self._places.release()
