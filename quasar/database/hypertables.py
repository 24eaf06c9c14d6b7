"""Moving time-partitioned tables from native partitions to TimescaleDB, in place, when TimescaleDB has appeared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quasar.database.capabilities import TIMESCALEDB, detect_capabilities
from quasar.database.statements import load_statements

_SQL = load_statements("quasar.database.store")

# A month has no fixed length for TimescaleDB; it fits later chunks around the odd-sized first ones by itself.
_CHUNK_INTERVALS = {"hour": "1 hour", "day": "1 day", "week": "7 days", "month": "30 days", "year": "365 days"}


async def upgrade_storage(connection: Any, on_progress: Callable[[str], None] | None = None) -> tuple[str, ...]:
    """Turn every native time-partitioned table into a hypertable where TimescaleDB can be used.

    Each table moves in a transaction of its own: its partitions become chunks where they are, without copying a row,
    and views over it are made again. A table is locked for that moment. The continuous aggregates that are lacking are
    made afterwards, empty; the database fills them in the background.

    Args:
        connection: A connection as the owner of the tables.
        on_progress: Called with a few words before each table.

    Returns:
        The tables that were moved.
    """
    if TIMESCALEDB not in await detect_capabilities(connection) or not await _create_extension(connection):
        return ()
    moved = []
    for row in await connection.fetch(_SQL["storage_tables"]):
        if row["engine"] == "native":
            if on_progress is not None:
                on_progress(f"moving {row['table_name']} to TimescaleDB")
            async with connection.transaction():
                await _upgrade_table(connection, row)
            moved.append(row["table_name"])
    await connection.execute(_SQL["ensure_aggregates"])
    return tuple(moved)


async def _create_extension(connection: Any) -> bool:
    """Create the extension; take it back when its licence turns out to lack policies and compression."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(_SQL["create_timescaledb"])
        licensed = await connection.fetchval(_SQL["timescale_licence"]) == "timescale"
    except BaseException:
        await transaction.rollback()
        raise
    if not licensed:
        await transaction.rollback()
        return False
    await transaction.commit()
    return True


async def _upgrade_table(connection: Any, row: Any) -> None:
    """Move one table."""
    table: str = row["table_name"]
    schema, _, name = table.partition(".")
    names = {"table": table, "schema": schema, "aside": f"{name}_native", "time_column": row["time_column"]}
    await connection.execute(_SQL["upgrade_lock"], table)
    slices = await connection.fetch(_SQL["slices"], table)
    views = await connection.fetch(_SQL["dependent_views"], table)
    comment = await connection.fetchval(_SQL["table_comment"], table)
    for view in reversed(views):
        await connection.execute(f"drop view {view['name']}")
    await connection.execute(_SQL["begin_upgrade"].format(**names, step=_CHUNK_INTERVALS[row["step"]]))
    for part in slices:
        bounds = {
            "slice": part["slice_name"],
            "start": part["slice_start"].isoformat(),
            "end": part["slice_end"].isoformat(),
        }
        await connection.execute(_SQL["move_slice"].format(**names, **bounds))
    await connection.execute(_SQL["end_upgrade"].format(**names))
    await _describe(connection, "table", table, comment)
    for view in views:
        await connection.execute(f"create view {view['name']} as {view['definition']}")
        await _describe(connection, "view", view["name"], view["comment"])


async def _describe(connection: Any, kind: str, name: str, comment: str | None) -> None:
    """Put a comment on a table or a view."""
    if comment is not None:
        await connection.execute(await connection.fetchval(_SQL["comment_text"], kind, name, comment))
