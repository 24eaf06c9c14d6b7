"""A throw-away PostgreSQL with the platform's tables, and bars to fill it with, for measurements of the DataHub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from datahub.series.series import Series, SeriesName
from datahub.store import series_table
from quasar.database.embedded import EmbeddedPostgres
from quasar.database.pool import Database, connect
from quasar.database.schema import prepare_schema
from quasar.model.bars import BarColumns
from quasar.model.instants import NS_PER_MINUTE
from quasar.secrets import SystemContext

START_NS = 1_700_000_040_000_000_000 // NS_PER_MINUTE * NS_PER_MINUTE
TIMESCALE_URL = "QUASAR_TEST_TIMESCALE_URL"
SEARCH_PATH = {"search_path": "datahub, registry, ops, public"}


@asynccontextmanager
async def market_server() -> AsyncIterator[str]:
    """Yield the address of an empty migrated database on a durable server of its own."""
    with tempfile.TemporaryDirectory(prefix="quasar-bench-") as folder:
        async with EmbeddedPostgres(Path(folder) / "postgres") as server:
            await prepare_schema(server.url, SystemContext.generate())
            yield server.url


async def opened(url: str) -> Database:
    """Open such a database."""
    return await Database.open(url, application_name="quasar-bench", settings=SEARCH_PATH)


@asynccontextmanager
async def market_database() -> AsyncIterator[Database]:
    """Yield an empty migrated database on a durable server of its own."""
    async with market_server() as url, await opened(url) as database:
        yield database


@asynccontextmanager
async def timescale_database() -> AsyncIterator[Database]:
    """Yield an empty migrated database on the server with TimescaleDB that `QUASAR_TEST_TIMESCALE_URL` names."""
    server = os.environ[TIMESCALE_URL]
    name = f"quasar_bench_{os.getpid()}"
    url = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    await _on(server, f"create database {name}")
    try:
        await prepare_schema(url, SystemContext.generate())
        async with await Database.open(url, application_name="quasar-bench", settings=SEARCH_PATH) as database:
            yield database
    finally:
        await _on(server, f"drop database {name} with (force)")


async def _on(url: str, statement: str) -> None:
    connection = await connect(url, application_name="quasar-bench")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def series(database: Database, symbol: str) -> Series:
    """Return a new one-minute series of a market that never closes."""
    name = SeriesName("bench", symbol, "1min")
    async with database.transaction() as connection:
        return (await series_table.ensure(connection, [name], {"bench": "24/7"}))[name]


def bars(count: int, seed: int = 1) -> BarColumns:
    """Return minutes of an invented market; the same in every run."""
    chance = np.random.default_rng(seed)
    closes = np.round(100 * np.exp(np.cumsum(chance.normal(0, 0.0004, count))), 2)
    opens = np.append(closes[0], closes[:-1])
    highs, lows = np.maximum(opens, closes) + 0.05, np.minimum(opens, closes) - 0.05
    times = START_NS + np.arange(count, dtype=np.int64) * NS_PER_MINUTE
    return BarColumns(times, opens, highs, lows, closes, chance.integers(1, 1_000, count).astype(np.float64))


def row(issue: str, name: str, value: float, unit: str, against: str, other: float, bar: float) -> dict[str, Any]:
    """Return one figure beside what it is measured against."""
    ratio = value / other if other else None
    return {
        "issue": issue,
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "against": against,
        "against_value": round(other, 2),
        "ratio": None if ratio is None else round(ratio, 2),
        "bar": bar,
        "holds": None if ratio is None else ratio >= bar,
    }
