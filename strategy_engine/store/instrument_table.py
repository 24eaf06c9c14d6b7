"""Which stored series prices a symbol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from quasar.database.pool import Database
from strategy_engine.backtests.records import SeriesFacts, WantedSeries
from strategy_engine.store.statements import SQL

_RULES: Final = ("price_tick", "quantity_step", "min_quantity", "min_notional", "multiplier")


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

    async def described(self, facts: Sequence[SeriesFacts]) -> list[SeriesFacts]:
        """Return what is known of series with what the registry has of their instruments: steps and multipliers."""
        names = [each.provider for each in facts], [each.symbol for each in facts]
        found = {
            (row["provider"], row["symbol"]): row for row in await self._database.fetch(SQL["instrument_rules"], *names)
        }
        return [
            each
            if (row := found.get((each.provider, each.symbol))) is None
            else replace(each, **{name: row[name] for name in _RULES})
            for each in facts
        ]
