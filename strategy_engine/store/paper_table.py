"""What the paper broker trades, as the registry's tables tell it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from quasar.database.pool import Database
from strategy_engine.store.statements import SQL


class PaperTable:
    """Reads common symbols that are mapped."""

    def __init__(self, database: Database) -> None:
        """Read `database`."""
        self._database = database

    async def instruments(self, size: int) -> AsyncGenerator[Sequence[Mapping[str, Any]], None]:
        """Yield the instruments by symbol, `size` of them at a time."""
        after = ""
        while rows := await self._database.fetch(SQL["paper_instruments"], after, size):
            yield rows
            after = rows[-1]["symbol"]
