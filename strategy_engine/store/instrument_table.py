"""Which stored series prices a symbol."""

from __future__ import annotations

from quasar.database.pool import Database
from strategy_engine.backtests.records import WantedSeries
from strategy_engine.store.statements import SQL


class InstrumentTable:
    """Finds series by common symbol, or by a provider's symbol."""

    def __init__(self, database: Database) -> None:
        """Use `database`."""
        self._database = database

    async def find(self, symbol: str) -> WantedSeries | None:
        """Return the series with the shortest bars of a symbol; None: nothing is stored of it."""
        row = await self._database.fetchrow(SQL["instrument"], symbol)
        if row is None:
            return None
        return WantedSeries(symbol=row["symbol"], interval=row["interval"], provider=row["provider"])
