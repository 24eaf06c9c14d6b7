"""Series as messages, and messages that name series."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal

from datahub.reads.query import EVERYTHING
from datahub.series.series import Series, SeriesName
from datahub.store import series_table
from quasar.convert.manifest import asset_class_to_proto
from quasar.database.pool import Database
from quasar.errors import NotFound, QuasarError, Resource
from quasar.model.asset_classes import AssetClass
from quasar.model.instants import TimeRange, to_ns
from quasar.rpc.wellknown import instant
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2 as pb

_LAST_ID = (1 << 31) - 1
"""Numbers beyond are those of computed series, which hold within one answer only."""


class SeriesFinder:
    """Finds the series that requests name."""

    def __init__(self, database: Database) -> None:
        """Look in `database`."""
        self._database = database

    async def find(self, reference: pb.SeriesReference) -> Series:
        """Return one series.

        Raises:
            NotFound: There is none.
            InvalidArgument: Its interval is none.
        """
        found = (await self.find_all([reference]))[0]
        if isinstance(found, QuasarError):
            raise found
        return found

    async def find_all(self, references: Sequence[pb.SeriesReference]) -> list[Series | QuasarError]:
        """Return the series of each reference, or why it has none, in order."""
        found: list[Series | QuasarError | None] = [None] * len(references)
        names: dict[int, SeriesName] = {}
        ids: dict[int, int] = {}
        async with self._database.acquire() as connection:
            for place, reference in enumerate(references):
                try:
                    kind = reference.WhichOneof("reference")
                    if kind == "series_id" and reference.series_id <= _LAST_ID:
                        ids[place] = reference.series_id
                    elif kind == "series_id":
                        found[place] = missing(described(reference))
                    elif kind == "key":
                        names[place] = series_name(reference.key)
                    else:
                        found[place] = await self._common(connection, reference.common)
                except QuasarError as error:
                    found[place] = error
            by_name = await series_table.by_names(connection, set(names.values()))
            by_id = await series_table.by_ids(connection, set(ids.values())) if ids else {}
        for place, name in names.items():
            found[place] = by_name.get(name) or missing(str(name))
        for place, series_id in ids.items():
            found[place] = by_id.get(series_id) or missing(f"number {series_id}")
        return [each if each is not None else missing(described(r)) for each, r in zip(found, references, strict=True)]

    async def _common(self, connection: object, common: pb.CommonSeries) -> Series | QuasarError:
        name = SeriesName.of("-", common.common_symbol, common.interval)
        found = await series_table.of_common_symbol(connection, name.symbol, name.interval, common.provider)
        return found or missing(f"{common.common_symbol}@{common.interval}")


def missing(name: str) -> NotFound:
    """Return the error for a series that does not exist."""
    return NotFound(f"There is no series {name}.", resource=Resource("series", name))


def described(reference: pb.SeriesReference) -> str:
    """Return a reference as its sender wrote it."""
    kind = reference.WhichOneof("reference")
    if kind == "series_id":
        return str(reference.series_id)
    if kind == "common":
        return f"{reference.common.common_symbol}@{reference.common.interval}"
    key = reference.key
    return f"{key.provider}:{key.symbol}" + (f"@{key.interval}" if key.interval else "")


def series_name(key: values_pb2.SeriesKey) -> SeriesName:
    """Return the name that a key stands for.

    Raises:
        InvalidArgument: Its interval is none.
    """
    return SeriesName.of(key.provider, key.symbol, key.interval)


def series_key(name: SeriesName) -> values_pb2.SeriesKey:
    """Return a name as a message."""
    return values_pb2.SeriesKey(provider=name.provider, symbol=name.symbol, interval=name.interval)


def series_info(series: Series, *, series_id: int | None = None, interval: str | None = None) -> pb.SeriesInfo:
    """Return a series as a message.

    Args:
        series: Which one.
        series_id: Its id in this answer, where that is not its own.
        interval: The interval that it is read at, where that is not its own.
    """
    calendar = series.calendar
    key = series_key(series.name)
    if interval is not None:
        key.interval = interval
    info = pb.SeriesInfo(
        series_id=series.series_id if series_id is None else series_id,
        key=key,
        common_symbol=series.common_symbol,
        name=series.asset_name,
        exchange=series.exchange,
        asset_class=asset_class_to_proto(AssetClass(series.asset_class) if series.asset_class else None),
        base_currency=series.base_currency,
        quote_currency=series.quote_currency,
        primary_id=series.identity_id,
        calendar=calendar.name,
        calendar_known=calendar.known,
        derived_from_series_id=series.derived_from if interval is None else series.series_id,
    )
    if series.price_increment is not None:
        info.price_decimals = decimals(series.price_increment)
    if series.size_increment is not None:
        info.size_decimals = decimals(series.size_increment)
    return info


def decimals(step: Decimal) -> int:
    """Return the digits after the point that multiples of a step have."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def time_range(message: values_pb2.TimeRange, *, default: TimeRange = EVERYTHING) -> TimeRange:
    """Return the range of a message; absent ends are those of `default`."""
    start = to_ns(instant(message.start), "range.start") if message.HasField("start") else default.start_ns
    end = to_ns(instant(message.end), "range.end") if message.HasField("end") else default.end_ns
    return TimeRange(min(start, end), end)


def range_message(start: dt.datetime | None, end: dt.datetime | None) -> values_pb2.TimeRange:
    """Return a range as a message; None stays absent."""
    message = values_pb2.TimeRange()
    if start is not None:
        message.start.FromDatetime(start)
    if end is not None:
        message.end.FromDatetime(end)
    return message


def found_series(found: Iterable[Series | QuasarError]) -> list[Series]:
    """Return the series among what was found.

    Raises:
        QuasarError: One was not found: its error.
    """
    series: list[Series] = []
    for each in found:
        if isinstance(each, QuasarError):
            raise each
        series.append(each)
    return series
