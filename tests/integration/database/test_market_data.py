"""The tables of market data on a real server: bulk rows through binary COPY, and the one read path over them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from quasar.database.copy import Column, Decoded, RowFormat
from quasar.database.pool import Database
from quasar.database.storage import open_storage

BARS = RowFormat(
    [
        Column("series_id", "int4"),
        Column("open_time", "timestamptz"),
        Column("close_time", "timestamptz"),
        *(Column(name, "float8") for name in ("open", "high", "low", "close", "volume")),
        Column("trade_count", "int8"),
    ]
)
VALUES = RowFormat(
    [
        Column("n", "int4"),
        Column("flag", "bool"),
        Column("small", "int2"),
        Column("large", "int8"),
        Column("single", "float4"),
        Column("double", "float8"),
        Column("day", "date"),
        Column("time", "timestamptz"),
    ]
)
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
MINUTE_US = 60_000_000


async def read(connection: Any, format_: RowFormat, query: str) -> Decoded:
    """Read a query through binary COPY."""
    parts: list[bytes] = []

    async def sink(data: bytes) -> None:
        parts.append(data)

    await connection.copy_from_query(query, output=sink, format="binary")
    return format_.decode(b"".join(parts))


@st.composite
def value_tables(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Draw columns of every kind, with missing values and the extremes that PostgreSQL has."""
    rows = draw(st.integers(0, 12))
    first, last = -210_866_803_200_000_000, 2**63 - 2
    kinds: dict[str, Any] = {
        "flag": (np.bool_, st.booleans()),
        "small": (np.int16, st.integers(-(2**15), 2**15 - 1)),
        "large": (np.int64, st.integers(-(2**63), 2**63 - 1)),
        "single": (np.float32, st.floats(width=32)),
        "double": (np.float64, st.floats()),
        "day": (np.int32, st.integers(-2_440_588, 2_145_042_905) | st.sampled_from([-(2**31), 2**31 - 1])),
        "time": (np.int64, st.integers(first, last) | st.sampled_from([-(2**63), 2**63 - 1, first, last])),
    }
    values = {name: draw(npst.arrays(dtype, rows, elements=items)) for name, (dtype, items) in kinds.items()}
    nulls = {name: draw(npst.arrays(np.bool_, rows)) for name in draw(st.sets(st.sampled_from(sorted(kinds))))}
    return {"n": np.arange(rows, dtype=np.int32), **values}, nulls, rows


async def test_every_value_survives_the_way_through_the_server(database: Database) -> None:
    async with database.acquire() as connection:
        await connection.execute(
            "create temp table t (n int4, flag bool, small int2, large int8, single float4, double float8, day date, "
            "time timestamptz)"
        )
        for table in _examples():
            await _round_trip(connection, *table)


def _examples() -> list[tuple[dict[str, Any], dict[str, Any], int]]:
    """Collect drawn tables first: hypothesis calls plain functions, and the server is asked asynchronously."""
    found: list[tuple[dict[str, Any], dict[str, Any], int]] = []

    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(value_tables())
    def collect(table: tuple[dict[str, Any], dict[str, Any], int]) -> None:
        found.append(table)

    collect()
    return found


async def _round_trip(connection: Any, values: dict[str, Any], nulls: dict[str, Any], rows: int) -> None:
    await connection.execute("truncate t")
    await connection.copy_to_table(
        "t", source=VALUES.encode(values, rows, nulls), columns=VALUES.names, format="binary"
    )
    decoded = await read(connection, VALUES, "select * from t order by n")
    assert decoded.rows == rows
    for name, given_values in values.items():
        missing = nulls.get(name, np.zeros(rows, np.bool_))
        np.testing.assert_array_equal(decoded.columns[name][~missing], given_values[~missing])
        np.testing.assert_array_equal(decoded.nulls.get(name, np.zeros(rows, np.bool_)), missing)


async def test_the_server_reads_the_same_values_that_were_meant(database: Database) -> None:
    async with database.acquire() as connection:
        await connection.execute("create temp table t (n int4, time timestamptz, day date, double float8)")
        form = RowFormat(
            [Column("n", "int4"), Column("time", "timestamptz"), Column("day", "date"), Column("double", "float8")]
        )
        values = {
            "n": np.arange(4),
            "time": np.array([0, 1_767_571_200_000_001, -(2**63), 2**63 - 1]),
            "day": np.array([0, 20_458, -(2**31), 2**31 - 1], np.int32),
            "double": np.array([0.1, np.nan, np.inf, -0.0]),
        }
        await connection.copy_to_table("t", source=form.encode(values, 4), columns=form.names, format="binary")
        rows = await connection.fetch("select time::text, day::text, double::text from t order by n")
    assert [tuple(row) for row in rows] == [
        ("1970-01-01 00:00:00+00", "1970-01-01", "0.1"),
        ("2026-01-05 00:00:00.000001+00", "2026-01-05", "NaN"),
        ("-infinity", "-infinity", "Infinity"),
        ("infinity", "infinity", "-0"),
    ]


async def test_a_time_beyond_what_numbers_hold_is_read_as_the_last_one(database: Database) -> None:
    form = RowFormat([Column("time", "timestamptz")])
    async with database.acquire() as connection:
        decoded = await read(connection, form, "select '294276-12-31 23:59:59+00'::timestamptz")
    assert decoded.columns["time"].tolist() == [2**63 - 2]


async def _bars(database: Database, table: str, values: dict[str, Any], rows: int, **nulls: Any) -> None:
    """Store bars of one series at one-minute steps."""
    storage = await open_storage(database)
    await storage.ensure(f"datahub.{table}", START, START + dt.timedelta(days=1))
    opens = round(START.timestamp()) * 1_000_000 + np.arange(rows) * MINUTE_US
    columns = {"series_id": 1, "open_time": opens, "close_time": opens + MINUTE_US, "trade_count": 5, **values}
    async with database.acquire() as connection:
        source = BARS.encode(columns, rows, nulls)
        await connection.copy_to_table(table, schema_name="datahub", source=source, columns=BARS.names, format="binary")


async def test_bars_go_in_and_come_out_with_their_missing_volumes(database: Database) -> None:
    prices = 100 + np.arange(500) / 8
    missing = np.arange(500) % 78 == 77
    values = {"open": prices, "high": prices + 1, "low": prices - 1, "close": prices, "volume": prices * 10}
    await _bars(database, "historical_data", values, 500, volume=missing)
    async with database.acquire() as connection:
        decoded = await read(connection, BARS, f"select {', '.join(BARS.names)} from bars order by open_time")
    np.testing.assert_array_equal(decoded.columns["close"], prices)
    np.testing.assert_array_equal(decoded.nulls["volume"], missing)
    assert set(decoded.nulls) == {"volume"}
    assert decoded.columns["trade_count"].tolist() == [5] * 500


async def test_the_historical_bar_wins_and_no_time_comes_twice(database: Database) -> None:
    one = {"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}
    await _bars(database, "historical_data", one, 3)
    storage = await open_storage(database)
    await storage.ensure("datahub.live_data", START, START + dt.timedelta(days=1))
    live = (
        "insert into live_data (series_id, open_time, close_time, open, high, low, close, volume, origin) "
        "select 1, t, t + interval '1 minute', $1, $1, $1, $1, 1, $2 "
        "from generate_series($3::timestamptz, $4::timestamptz, interval '1 minute') t"
    )
    minute = dt.timedelta(minutes=1)
    await database.execute(live, 3.0, 3, START + 2 * minute, START + 5 * minute)
    await database.execute(live, 2.0, 2, START + 4 * minute, START + 4 * minute)
    rows = await database.fetch(
        "select open_time, close, live, origin from bars where series_id = 1 order by open_time"
    )
    assert [(r["close"], r["live"], r["origin"]) for r in rows] == [
        (1.0, False, 1),
        (1.0, False, 1),
        (1.0, False, 1),
        (3.0, True, 3),
        (2.0, True, 2),
        (3.0, True, 3),
    ]
    assert [r["open_time"] for r in rows] == [START + n * minute for n in range(6)]


async def test_a_range_of_one_series_is_read_by_index_in_both_tables(database: Database) -> None:
    one = {"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}
    await _bars(database, "historical_data", one, 1000)
    await _bars(database, "live_data", one, 1000)
    plan = await database.fetch(
        "explain select * from bars where series_id = 1 and open_time >= '2026-01-01' "
        "and open_time < '2026-01-01 00:05'"
    )
    assert "Seq Scan" not in "\n".join(row[0] for row in plan)


async def test_a_series_is_known_once(database: Database) -> None:
    insert = "insert into series (provider, symbol, interval) values ('kraken', 'BTC/USD', '1min') returning series_id"
    assert await database.fetchval(insert) > 0
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.fetchval(insert)
