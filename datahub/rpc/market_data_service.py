"""`quasar.datahub.v1.MarketDataService`: the historical half; the live half is a collaborator."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from datahub.live_api import LiveApi
from datahub.reads.bars import BarReader
from datahub.reads.forming import FormingOf, nothing_forms
from datahub.reads.resampling import BarSource
from datahub.rpc.describe_series import SeriesPages
from datahub.rpc.exports import Exports
from datahub.rpc.imports import UploadCalls
from datahub.rpc.latest_bars import LatestBars
from datahub.rpc.list_bars import BarPages
from datahub.rpc.quality_pages import QualityPages
from datahub.rpc.read_bars import ReadBars
from datahub.rpc.readable_series import ReadableFinder
from datahub.rpc.series_messages import SeriesFinder
from datahub.rpc.sessions import list_sessions
from datahub.rpc.ticks import TickCalls
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import Unimplemented
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1 import market_data_service_pb2_grpc


class MarketDataService(market_data_service_pb2_grpc.MarketDataServiceServicer):
    """Reads what is stored, and passes on what is live."""

    def __init__(
        self, database: Database, clock: Clock, live: LiveApi | None = None, uploads: UploadCalls | None = None
    ) -> None:
        """Read from `database`; without `live` and `uploads` their methods answer UNIMPLEMENTED."""
        self._clock = clock
        self._maybe_live = live
        self._finder = SeriesFinder(database)
        self._readable = ReadableFinder(database, self._finder)
        self._source = BarSource(database, BarReader(database))
        self._ticks = TickCalls(database, self._finder)
        self._forming: FormingOf = nothing_forms if live is None else live.forming_bars
        self._pages = BarPages(database, self._source, self._finder, clock, self._forming)
        self._series = SeriesPages(database, self._source, self._finder, clock)
        self._newest = LatestBars(database, self._source, self._finder, self._series.symbols, clock, self._forming)
        self._exports = Exports(database, self._source, self._finder, clock)
        self._quality = QualityPages(database, self._finder, self._series.symbols, clock)
        self._maybe_uploads = uploads

    async def ReadBars(self, request: pb.ReadBarsRequest, context: Any) -> AsyncGenerator[Any, None]:
        """Stream bars in columns."""
        call = ReadBars(self._source, self._readable, self._clock, request, self._forming)
        async with aclosing(call.messages()) as messages:
            async for message in messages:
                yield message

    async def ListBars(self, request: pb.ListBarsRequest, context: Any) -> pb.ListBarsResponse:
        """Return a page of bars."""
        return await self._pages.bars(request)

    async def ListBarRevisions(self, request: pb.ListBarRevisionsRequest, context: Any) -> pb.ListBarRevisionsResponse:
        """Return a page of former versions."""
        return await self._pages.revisions(request)

    async def ReadTicks(self, request: pb.ReadTicksRequest, context: Any) -> AsyncGenerator[Any, None]:
        """Stream stored ticks in columns."""
        async with aclosing(self._ticks.read(request)) as messages:
            async for message in messages:
                yield message

    async def ListTicks(self, request: pb.ListTicksRequest, context: Any) -> pb.ListTicksResponse:
        """Return a page of stored ticks."""
        return await self._ticks.page(request)

    async def SearchSeries(self, request: pb.SearchSeriesRequest, context: Any) -> pb.SearchSeriesResponse:
        """Return symbols that match a text."""
        return await self._series.search(request)

    async def DescribeSeries(self, request: pb.DescribeSeriesRequest, context: Any) -> pb.DescribeSeriesResponse:
        """Return what is known about a series."""
        response = await self._series.describe(request)
        if self._maybe_live is not None:
            key = response.description.series.key
            asked = pb.GetLatestPricesRequest()
            asked.symbols.provider_symbols.provider = key.provider
            asked.symbols.provider_symbols.symbols.append(key.symbol)
            found: pb.GetLatestPricesResponse = await self._maybe_live.get_latest_prices(asked)
            if found.prices:
                response.description.price.CopyFrom(found.prices[0])
        return response

    async def GetLatestBars(self, request: pb.GetLatestBarsRequest, context: Any) -> pb.GetLatestBarsResponse:
        """Return the newest bar of many series."""
        return await self._newest.answer(request)

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:
        """Return trading sessions."""
        return await list_sessions(request, self._finder, self._clock)

    async def ExportSeries(self, request: pb.ExportSeriesRequest, context: Any) -> AsyncGenerator[Any, None]:
        """Stream a file."""
        async with aclosing(self._exports.messages(request)) as messages:
            async for message in messages:
                yield message

    async def GetQualityReport(self, request: pb.GetQualityReportRequest, context: Any) -> pb.GetQualityReportResponse:
        """Report the quality of series."""
        return await self._quality.report(request)

    async def ListQualityFindings(
        self, request: pb.ListQualityFindingsRequest, context: Any
    ) -> pb.ListQualityFindingsResponse:
        """Return a page of findings."""
        return await self._quality.findings(request)

    async def CreateUpload(self, request: pb.CreateUploadRequest, context: Any) -> pb.CreateUploadResponse:
        """Open an upload."""
        return await self._uploads.create(request)

    async def AppendUpload(self, request: pb.AppendUploadRequest, context: Any) -> pb.AppendUploadResponse:
        """Append bytes to an upload."""
        return await self._uploads.append(request)

    async def ImportSeries(self, request: pb.ImportSeriesRequest, context: Any) -> pb.ImportSeriesResponse:
        """Begin to import an upload."""
        return await self._uploads.begin(request)

    async def StreamMarketData(self, request: pb.StreamMarketDataRequest, context: Any) -> AsyncGenerator[Any, None]:
        """Stream live data."""
        # Closed here and now when the client leaves, not when the garbage is collected.
        async with aclosing(self._live.stream_market_data(request)) as messages:
            async for message in messages:
                yield message

    async def UpdateSubscriptions(
        self, request: pb.UpdateSubscriptionsRequest, context: Any
    ) -> pb.UpdateSubscriptionsResponse:
        """Change a running stream."""
        response: pb.UpdateSubscriptionsResponse = await self._live.update_subscriptions(request)
        return response

    async def GetReplayWindow(self, request: pb.GetReplayWindowRequest, context: Any) -> pb.GetReplayWindowResponse:
        """Say how far back a stream can start."""
        response: pb.GetReplayWindowResponse = await self._live.get_replay_window(request)
        return response

    async def WatchPrices(self, request: pb.WatchPricesRequest, context: Any) -> AsyncGenerator[Any, None]:
        """Stream a watchlist."""
        async with aclosing(self._live.watch_prices(request)) as messages:
            async for message in messages:
                yield message

    async def GetLatestPrices(self, request: pb.GetLatestPricesRequest, context: Any) -> pb.GetLatestPricesResponse:
        """Return the latest prices."""
        response: pb.GetLatestPricesResponse = await self._live.get_latest_prices(request)
        return response

    async def ListTopMovers(self, request: pb.ListTopMoversRequest, context: Any) -> pb.ListTopMoversResponse:
        """Rank live symbols."""
        response: pb.ListTopMoversResponse = await self._live.list_top_movers(request)
        return response

    @property
    def _uploads(self) -> UploadCalls:
        if self._maybe_uploads is None:
            raise Unimplemented
        return self._maybe_uploads

    @property
    def _live(self) -> LiveApi:
        if self._maybe_live is None:
            raise Unimplemented
        return self._maybe_live
