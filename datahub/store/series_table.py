"""The tables of series: names in, values out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from datahub.series.series import Series, SeriesName
from datahub.store.statements import SQL


async def by_ids(connection: Any, series_ids: Collection[int]) -> dict[int, Series]:
    """Return the series that exist, by id."""
    rows = await connection.fetch(SQL["series_by_ids"], list(series_ids))
    return {row["series_id"]: series_of(row) for row in rows}


async def by_names(connection: Any, names: Collection[SeriesName]) -> dict[SeriesName, Series]:
    """Return the series that exist, by name."""
    if not names:
        return {}
    columns = _columns(names)
    rows = await connection.fetch(SQL["series_by_names"], *columns)
    found = (series_of(row) for row in rows)
    return {series.name: series for series in found}


async def ids_by_names(connection: Any, names: Sequence[SeriesName]) -> list[int]:
    """Return the id of each name, 0 where there is no such series, in order."""
    ids = [0] * len(names)
    if names:
        for row in await connection.fetch(SQL["series_ids_by_names"], *_columns(names)):
            ids[row["place"] - 1] = row["series_id"]
    return ids


async def ensure(
    connection: Any, names: Sequence[SeriesName], calendars: Mapping[str, str] | None = None
) -> dict[SeriesName, Series]:
    """Return series by name, creating those that are missing.

    Args:
        connection: Inside a transaction when the series is to be there exactly if something else is.
        names: Which ones.
        calendars: The default calendar of each provider, by name.
    """
    found = await by_names(connection, names)
    missing = [name for name in names if name not in found]
    if not missing:
        return found
    declared = calendars or {}
    await connection.execute(
        SQL["series_insert"], *_columns(missing), [declared.get(name.provider, "") for name in missing]
    )
    return found | await by_names(connection, missing)


async def of_common_symbol(connection: Any, symbol: str, interval: str, provider: str) -> Series | None:
    """Return the best series of a common symbol at an interval, of one provider or of any."""
    row = await connection.fetchrow(SQL["series_of_common_symbol"], symbol, interval, provider)
    return None if row is None else series_of(row)


async def of_same_instrument(connection: Any, series_id: int) -> list[Series]:
    """Return series of other providers that are mapped to the same common symbol, at the same interval."""
    return [series_of(row) for row in await connection.fetch(SQL["series_of_instrument"], series_id)]


def series_of(row: Any) -> Series:
    """Return the series that a row of `series_facts` holds."""
    return Series(
        series_id=row["series_id"],
        name=SeriesName(row["provider"], row["symbol"], row["interval"]),
        derived_from=row["derived_from"] or 0,
        common_symbol=row["common_symbol"],
        asset_name=row["name"],
        exchange=row["exchange"],
        asset_class=row["asset_class"],
        base_currency=row["base_currency"],
        quote_currency=row["quote_currency"],
        identity_id=row["identity_id"],
        external_id=row["external_id"],
        price_increment=row["price_increment"],
        size_increment=row["size_increment"],
        default_calendar=row["calendar"],
    )


def _columns(names: Collection[SeriesName]) -> tuple[list[str], list[str], list[str]]:
    return [n.provider for n in names], [n.symbol for n in names], [n.interval for n in names]
