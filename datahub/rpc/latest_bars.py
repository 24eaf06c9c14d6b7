"""`GetLatestBars`: the newest bar of many series, one row a series."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from datahub.reads.query import BarQuery, Source
from datahub.reads.readable import Readable
from datahub.reads.resampling import BarSource
from datahub.rpc.readable_series import ReadableFinder, readable_id, readable_info
from datahub.rpc.series_messages import SeriesFinder, described, series_key
from datahub.series.series import Series, SeriesName
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import QuasarError
from quasar.model.bars import BarColumns, BarOrigin, BarState
from quasar.model.instants import to_ns
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

_RECENT = dt.timedelta(days=400)
Symbols = Callable[[market_data_pb2.SymbolSelector], Awaitable[list[tuple[str, str]]]]


class LatestBars:
    """Answers `GetLatestBars`."""

    def __init__(
        self, database: Database, source: BarSource, finder: SeriesFinder, symbols: Symbols, clock: Clock
    ) -> None:
        """Read from `database`; `symbols` tells provider and symbol of what a selector means."""
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
        found = await self._finder.find_all(references)
        ids = [each.series_id for each in found if isinstance(each, Series)]
        rows = {row["series_id"]: row for row in await self._latest(ids, request.source)}
        computed = await self._computed(request, references, found, rows)
        for place, each in enumerate(found):
            row = rows.get(each.series_id) if isinstance(each, Series) else None
            if row is not None and isinstance(each, Series):
                _add_row(response.bars, each.series_id, row)
                if request.include_series_info:
                    response.series.append(readable_info(Readable(each)))
            elif place in computed:
                readable, bars = computed[place]
                _add_bar(response.bars, readable_id(readable, place), bars)
                # Their numbers hold within this answer only, so without this nobody could tell which is which.
                response.series.append(readable_info(readable, place))
            else:
                why = "no bar stored" if isinstance(each, Series) else "unknown series"
                requested = str(each.name) if isinstance(each, Series) else described(references[place])
                response.missing.add(requested=requested, message=why)
        return response

    async def _references(self, request: pb.GetLatestBarsRequest) -> list[market_data_pb2.SeriesReference]:
        references = list(request.series)
        if request.HasField("symbols"):
            for provider, symbol in await self._symbols(request.symbols):
                for interval in request.intervals:
                    key = series_key(SeriesName.of(provider, symbol, interval))
                    references.append(market_data_pb2.SeriesReference(key=key))
        return references

    async def _latest(self, ids: Sequence[int], source: int) -> list[Any]:
        if source in (0, Source.MERGED):
            return await self._database.fetch(SQL["latest_bars"], ids)
        origin = 0 if source == Source.HISTORICAL else source - 1
        since = self._clock.now() - _RECENT
        return await self._database.fetch(SQL["latest_bars_of_source"], ids, origin, since)

    async def _computed(
        self,
        request: pb.GetLatestBarsRequest,
        references: Sequence[market_data_pb2.SeriesReference],
        found: Sequence[Series | QuasarError],
        rows: Mapping[int, Any],
    ) -> dict[int, tuple[Readable, BarColumns]]:
        """Return the newest bar, by place, of series that hold none and that a finer one stands in for."""
        places = [
            place for place, each in enumerate(found) if not (isinstance(each, Series) and each.series_id in rows)
        ]
        if not places:
            return {}
        query = BarQuery(known_at=self._clock.now(), source=Source(request.source or Source.MERGED))
        computed: dict[int, tuple[Readable, BarColumns]] = {}
        readables = await self._readable.find_all([references[place] for place in places])
        for place, readable in zip(places, readables, strict=True):
            if isinstance(readable, Readable) and readable.target is not None:
                forming = request.include_forming
                bars = await self._source.newest(readable, query, 1, include_forming=forming)
                if len(bars):
                    computed[place] = (readable, bars)
        return computed


def _add_row(section: market_data_pb2.BarCrossSection, series_id: int, row: Any) -> None:
    section.series_id.append(series_id)
    section.open_time_ns.append(to_ns(row["open_time"]))
    section.close_time_ns.append(to_ns(row["close_time"]))
    for name in ("open", "high", "low", "close"):
        getattr(section, name).append(row[name])
    section.volume.append(float("nan") if row["volume"] is None else row["volume"])
    section.state.append(market_data_pb2.BAR_STATE_CLOSED)
    section.origin.append(row["origin"])


def _add_bar(section: market_data_pb2.BarCrossSection, series_id: int, bars: BarColumns) -> None:
    assert bars.close_time_ns is not None  # computed bars have them
    section.series_id.append(series_id)
    section.open_time_ns.append(int(bars.open_time_ns[0]))
    section.close_time_ns.append(int(bars.close_time_ns[0]))
    for name in ("open", "high", "low", "close", "volume"):
        getattr(section, name).append(float(getattr(bars, name)[0]))
    section.state.append(int(bars.state[0] if bars.state is not None else BarState.CLOSED))  # type: ignore[arg-type]
    section.origin.append(int(BarOrigin.RESAMPLED))  # type: ignore[arg-type]
