"""Bars from CSV files: `<folder>/<symbol>.csv` with a header and the columns date, open, high, low, close, volume."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from quasar.provider import Bar, BarRequest, Preference, Provider, UnknownSymbol


class CsvFolder(Provider):
    """Daily bars from a folder of CSV files."""

    intervals = ("1d",)
    folder = Preference("", description="The folder of the files.", needs_restart=True)

    async def bars(self, request: BarRequest) -> AsyncIterator[Bar]:
        path = Path(self.folder, f"{request.symbol}.csv")
        if not path.is_file():  # noqa: ASYNC240 - a process of its own, and a local file
            raise UnknownSymbol(f"{self.folder} has no file {request.symbol}.csv")
        for line in path.read_text().splitlines()[1:]:  # noqa: ASYNC240
            date, *values = line.split(",")
            yield Bar.at(datetime.fromisoformat(date).replace(tzinfo=UTC), *map(float, values))
