"""A filter means the same in PostgreSQL and on rows in memory."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from typing import Any

import asyncpg

from quasar.filters import Field, condition, predicate

DAY = dt.datetime(2026, 1, 31, tzinfo=dt.UTC)
FIELDS = {
    "name": Field("t.name"),
    "rows": Field("t.rows", "integer"),
    "weight": Field("t.weight", "number"),
    "time": Field("t.time", "time"),
    "severity": Field("t.severity", "enum", ("INFO", "WARNING", "ERROR")),
    "tags": Field("t.tags", "list"),
}
NAMES = [None, "", "BTC/USD", "btc%usd", "b_c", "a*", 'quo"ted', "back\\slash"]
TABLE = """
    create temporary table t (
        id int, name text, rows int, weight numeric, time timestamptz, severity text, tags text[]
    )
"""
COMPARISONS = [
    *(f"name{op}{value}" for op in ("=", "!=", ":") for value in ('"BTC/USD"', '""', '"btc*"', '"*c"', '"%"', '"_"')),
    *(f"name{op}{value}" for op in ("=", ":") for value in (r'"quo\"ted"', r'"back\\slash"', "b_", '"*"')),
    *(f"rows{op}{value}" for op in ("=", "!=", "<", "<=", ">", ">=") for value in (-1, 0, 3, 9_000_000_000)),
    *(f"weight{op}{value}" for op in ("=", "!=", "<", ">=") for value in (0.5, -2, 1e300)),
    *(
        f'time{op}"{value}"'
        for op in ("=", "!=", "<", ">=")
        for value in ("2026-01-31T01:00:00+01:00", "1970-01-01T00:00:00Z")
    ),
    *(
        f"severity{op}{value}"
        for op in ("=", "!=", "<", "<=", ">", ">=", ":")
        for value in ("INFO", "WARNING", "ERROR")
    ),
    *(f"tags{op}{value}" for op in ("=", "!=", ":") for value in ("red", "Re", "%")),
]


def rows() -> list[dict[str, Any]]:
    """Return rows with every kind of value, the unknown ones too."""
    cycle = zip(
        NAMES * 3,
        itertools.cycle([None, -1, 0, 3, 4]),
        itertools.cycle([0.5, None, 7.25]),
        itertools.cycle([DAY, DAY - dt.timedelta(days=1), None]),
        itertools.cycle(["INFO", "WARNING", "ERROR", None]),
        itertools.cycle([["red", "green"], [], ["Green"], None]),
        strict=False,
    )
    names = ("name", "rows", "weight", "time", "severity", "tags")
    return [{"id": i, **dict(zip(names, values, strict=True))} for i, values in enumerate(cycle)]


def filters() -> list[str]:
    """Return every comparison, and many ways to put them together."""
    draw = random.Random(7)

    def tree(depth: int) -> str:
        if depth == 0:
            return draw.choice(COMPARISONS)
        parts = [tree(depth - 1) for _ in range(draw.randint(1, 3))]
        joined = f"({draw.choice([' AND ', ' OR ']).join(parts)})"
        return draw.choice(["", "NOT ", "-"]) + joined

    return [*COMPARISONS, *(f"NOT {one}" for one in COMPARISONS), *(tree(2) for _ in range(200))]


async def test_every_filter_passes_the_same_rows_in_the_database_and_in_memory(empty_database_url: str) -> None:
    given = rows()
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute(TABLE)
        await connection.executemany(
            "insert into t values ($1, $2, $3, $4, $5, $6, $7)", [tuple(row.values()) for row in given]
        )
        for text in filters():
            where = condition(text, FIELDS, first_parameter=2)
            sql = f"select id from t where id >= $1 and {where.sql} order by id"
            stored = [row["id"] for row in await connection.fetch(sql, 0, *where.parameters)]
            passes = predicate(text, FIELDS)

            assert stored == [row["id"] for row in given if passes(row)], text
    finally:
        await connection.close()
