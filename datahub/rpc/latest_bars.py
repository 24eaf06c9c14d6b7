"""`GetLatestBars`: the newest bar of many series, one row a series."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from datahub.reads.forming import FormingOf, forming_row, nothing_forms
from datahub.reads.query import BarQuery, Source
from datahub.reads.readable import Readable
from datahub.reads.resampling import BarSource
from datahub.rpc.readable_series import FIRST_COMPUTED_ID, ReadableFinder, readable_id, readable_info
from datahub.rpc.series_messages import SeriesFinder, described, series_key, series_name
from datahub.series.series import Series, SeriesName
from datahub.store import bar_table, series_table
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import InvalidArgument
from quasar.model.bars import BarColumns, BarOrigin, BarState
from quasar.model.columns import Int64Array
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

_RECENT = dt.timedelta(days=400)
Symbols = Callable[[market_data_pb2.SymbolSelector], Awaitable[list[tuple[str, str]]]]


class LatestBars:
    """Answers `GetLatestBars`."""

    def __init__(
        self,
        database: Database,
        source: BarSource,
        finder: SeriesFinder,
        symbols: Symbols,
        clock: Clock,
        forming: FormingOf = nothing_forms,
    ) -> None:
        """Read from `database`.

        Args:
            database: Where the bars are.
            source: Computes coarser ones.
            finder: Finds series.
            symbols: Tells provider and symbol of what a selector means.
            clock: The time.
            forming: Tells the bars that are forming.
        """
        self._forming = forming
        self._database = database
        self._source = source
        self._finder = finder
        self._readable = ReadableFinder(database, finder)
        self._symbols = symbols
        self._clock = clock

    async def answer(self, request: pb.GetLatestBarsRequest) -> pb.GetLatestBarsResponse:
        """Return the newest bar of many series."""
        response = pb.GetLatestBarsResponse()
        references = await self._references(request)
        ids = await self._ids(references)
        async with self._database.acquire() as connection:
            rows = await self._latest(connection, [one for one in ids.tolist() if one], request.source)
        order = np.argsort(rows["series_id"], kind="stable")
        known = rows["series_id"][order]
        found = np.searchsorted(known, ids)
        stored = np.append(known, -1)[found] == ids
        await self._add_others(request, references, np.flatnonzero(~stored).tolist(), response)
        places = order[found[stored]]
        _add_rows(response.bars, {name: values[places] for name, values in rows.items()})
        if request.include_forming:
            self._put_forming(response.bars, request.source)
        if request.include_series_info:
            async with self._database.acquire() as connection:
                series = await series_table.by_ids(connection, known.tolist())
            response.series.extend(readable_info(Readable(series[one])) for one in rows["series_id"][places].tolist())
        return response

    async def _add_others(
        self,
        request: pb.GetLatestBarsRequest,
        references: Sequence[market_data_pb2.SeriesReference],
        places: Sequence[int],
        response: pb.GetLatestBarsResponse,
    ) -> None:
        """Add series that hold no bar: computed where a finer one holds some, and missing otherwise."""
        if not places:
            return
        query = BarQuery(known_at=self._clock.now(), source=Source(request.source or Source.MERGED))
        asked = [references[place] for place in places]
        found = await self._finder.find_all(asked)
        readables = await self._readable.find_all(asked)
        for place, series, readable in zip(places, found, readables, strict=True):
            bars = BarColumns.empty()
            if isinstance(readable, Readable) and readable.target is not None:
                forming = request.include_forming
                bars = await self._source.newest(readable, query, 1, include_forming=forming)
                if len(bars):
                    _add_bar(response.bars, readable_id(readable, place), bars)
                    # Their numbers hold within this answer only, so without this nobody could tell which is which.
                    response.series.append(readable_info(readable, place))
            if not len(bars):
                why = "no bar stored" if isinstance(series, Series) else "unknown series"
                requested = str(series.name) if isinstance(series, Series) else described(references[place])
                response.missing.add(requested=requested, message=why)

    def _put_forming(self, section: market_data_pb2.BarCrossSection, source: int) -> None:
        """Put bars that are forming in the place of older ones."""
        query = BarQuery(known_at=self._clock.now(), source=Source(source or Source.MERGED))
        forming = self._forming(list(section.series_id))
        for place, series_id in enumerate(section.series_id if forming else ()):
            row = forming_row(forming.get(series_id), query, section.open_time_ns[place])
            if not len(row):
                continue
            assert row.close_time_ns is not None
            section.open_time_ns[place] = int(row.open_time_ns[0])
            section.close_time_ns[place] = int(row.close_time_ns[0])
            for name in ("open", "high", "low", "close", "volume"):
                getattr(section, name)[place] = float(getattr(row, name)[0])
            section.state[place] = market_data_pb2.BAR_STATE_FORMING
            section.origin[place] = int(forming[series_id].origin)  # type: ignore[call-overload]  # numbered as in the contract

    async def _references(self, request: pb.GetLatestBarsRequest) -> list[market_data_pb2.SeriesReference]:
        references = list(request.series)
        if request.HasField("symbols"):
            for provider, symbol in await self._symbols(request.symbols):
                for interval in request.intervals:
                    key = series_key(SeriesName.of(provider, symbol, interval))
                    references.append(market_data_pb2.SeriesReference(key=key))
        return references

    async def _ids(self, references: Sequence[market_data_pb2.SeriesReference]) -> Int64Array:
        """Return the id of each series, 0 where there is none; what else is known of them is not read."""
        ids = np.zeros(len(references), np.int64)
        names: dict[int, SeriesName] = {}
        others: list[int] = []
        for place, reference in enumerate(references):
            if reference.series_id:
                stored = reference.series_id < FIRST_COMPUTED_ID
                ids[place] = reference.series_id if stored else 0
            elif reference.HasField("key"):
                with suppress(InvalidArgument):  # told with what is missing
                    names[place] = series_name(reference.key)
            else:
                others.append(place)
        if names:
            async with self._database.acquire() as connection:
                ids[list(names)] = await series_table.ids_by_names(connection, list(names.values()))
        if others:
            found = await self._finder.find_all([references[place] for place in others])
            ids[others] = [one.series_id if isinstance(one, Series) else 0 for one in found]
        return ids

    async def _latest(self, connection: Any, ids: Sequence[int], source: int) -> Mapping[str, npt.NDArray[Any]]:
        if source in (0, Source.MERGED):
            return await bar_table.newest(connection, SQL["latest_bars"], ids)
        origin = 0 if source == Source.HISTORICAL else source - 1
        since = self._clock.now() - _RECENT
        return await bar_table.newest(connection, SQL["latest_bars_of_source"], ids, origin, since)


def _add_rows(section: market_data_pb2.BarCrossSection, rows: Mapping[str, npt.NDArray[Any]]) -> None:
    section.series_id.extend(rows["series_id"].tolist())
    for name in ("open_time", "close_time"):
        getattr(section, f"{name}_ns").extend((rows[name] * 1_000).tolist())
    for name in ("open", "high", "low", "close", "volume"):
        getattr(section, name).extend(rows[name].tolist())
    section.state.extend([market_data_pb2.BAR_STATE_CLOSED] * len(rows["series_id"]))
    section.origin.extend(rows["origin"].tolist())


def _add_bar(section: market_data_pb2.BarCrossSection, series_id: int, bars: BarColumns) -> None:
    assert bars.close_time_ns is not None  # computed bars have them
    section.series_id.append(series_id)
    section.open_time_ns.append(int(bars.open_time_ns[0]))
    section.close_time_ns.append(int(bars.close_time_ns[0]))
    for name in ("open", "high", "low", "close", "volume"):
        getattr(section, name).append(float(getattr(bars, name)[0]))
    section.state.append(int(bars.state[0] if bars.state is not None else BarState.CLOSED))  # type: ignore[arg-type]
    section.origin.append(int(BarOrigin.RESAMPLED))  # type: ignore[arg-type]
