"""Finds what requests for bars are answered from: stored series, or finer ones that bars are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datahub.reads.readable import Readable, Stored, readable
from datahub.rpc.series_messages import SeriesFinder, series_info, series_name
from datahub.series.series import Series, SeriesName
from datahub.store.series_table import series_of
from datahub.store.statements import SQL
from quasar.database.pool import Database
from quasar.errors import InvalidArgument, NotFound, QuasarError
from quasar.model.instants import to_ns
from quasar.model.intervals import Interval
from quasar_proto.datahub.v1 import market_data_pb2 as pb

FIRST_COMPUTED_ID = 1 << 31
"""Series that are computed have numbers of their own within an answer, beyond those of stored ones."""


class ReadableFinder:
    """Finds the series that requests for bars name, computed ones included."""

    def __init__(self, database: Database, finder: SeriesFinder) -> None:
        """Look in `database`; stored series are found by `finder`."""
        self._database = database
        self._finder = finder

    async def find(self, reference: pb.SeriesReference, target: Interval | None = None) -> Readable:
        """Return what one request is answered from; see `find_all`.

        Raises:
            NotFound: There is neither the series nor a finer one.
            InvalidArgument: Its interval is none, or it is a series of ticks.
        """
        found = (await self.find_all([reference], target))[0]
        if isinstance(found, QuasarError):
            raise found
        return found

    async def find_all(
        self, references: Sequence[pb.SeriesReference], target: Interval | None = None
    ) -> list[Readable | QuasarError]:
        """Return for each reference what it is answered from, or why there is nothing, in order.

        A series without history is computed from a finer one of the same symbol that has some.

        Args:
            references: What is asked for.
            target: The coarser interval that is asked for beside; None: that of each reference.
        """
        found = await self._finder.find_all(references)
        doubtful = await self._doubtful(references, found)
        stored = await self._stored(list(doubtful.values()))
        answers: list[Readable | QuasarError] = []
        for place, one in enumerate(found):
            name = doubtful.get(place)
            chosen = None
            if name is not None:
                own = one if isinstance(one, Series) else None
                chosen = readable(_at(name, target), own, stored.get((name.provider, name.symbol), ()))
            if chosen is not None:
                answers.append(chosen)
            else:
                answers.append(_as_stored(one, target) if isinstance(one, Series) else one)
        return answers

    async def _doubtful(
        self, references: Sequence[pb.SeriesReference], found: Sequence[Series | QuasarError]
    ) -> dict[int, SeriesName]:
        """Return the names, by place, of the series of bars that do not exist or may have no history."""
        series = {one.series_id for one in found if isinstance(one, Series)}
        rows = await self._database.fetch(SQL["recorded_series"], list(series)) if series else []
        recorded = {row["series_id"] for row in rows}
        doubtful: dict[int, SeriesName] = {}
        for place, (reference, one) in enumerate(zip(references, found, strict=True)):
            name: SeriesName | None = None
            if isinstance(one, Series):
                name = one.name if one.series_id not in recorded else None
            elif isinstance(one, NotFound):
                name = await self._name(reference)
            if name is not None and name.interval and Interval.parse(name.interval).is_time:
                doubtful[place] = name
        return doubtful

    async def _name(self, reference: pb.SeriesReference) -> SeriesName | None:
        """Return the name of what a reference asks for, where that is not stored."""
        kind = reference.WhichOneof("reference")
        if kind == "key":
            return series_name(reference.key)
        if kind == "common":
            common = reference.common
            row = await self._database.fetchrow(SQL["symbol_of_common_symbol"], common.common_symbol, common.provider)
            return None if row is None else SeriesName.of(row["provider"], row["symbol"], common.interval)
        return None

    async def _stored(self, names: Sequence[SeriesName]) -> Mapping[tuple[str, str], list[Stored]]:
        """Return what holds bars of some symbols."""
        found: dict[tuple[str, str], list[Stored]] = {}
        if not names:
            return found
        providers, symbols = [name.provider for name in names], [name.symbol for name in names]
        for row in await self._database.fetch(SQL["stored_of_symbols"], providers, symbols):
            first = None if row["first_bar"] is None else to_ns(row["first_bar"])
            one = Stored(series_of(row), first, to_ns(row["last_bar"]))
            if one.series.interval.is_time:
                found.setdefault((row["provider"], row["symbol"]), []).append(one)
        return found


def readable_info(found: Readable, index: int = 0) -> pb.SeriesInfo:
    """Return what is read as a message; a computed series names the stored one that it is computed from.

    Args:
        found: What is read.
        index: Its position in the request, which its number in the answer follows from when it is computed.
    """
    if found.target is None:
        return series_info(found.series)
    return series_info(found.series, series_id=readable_id(found, index), interval=found.target.code)


def readable_id(found: Readable, index: int = 0) -> int:
    """Return the number of what is read within an answer."""
    return found.series.series_id if found.target is None else FIRST_COMPUTED_ID + index


def _at(name: SeriesName, target: Interval | None) -> SeriesName:
    return name if target is None else SeriesName(name.provider, name.symbol, target.code)


def _as_stored(series: Series, target: Interval | None) -> Readable | QuasarError:
    try:
        return Readable.at(series, target)
    except InvalidArgument as error:
        return error
