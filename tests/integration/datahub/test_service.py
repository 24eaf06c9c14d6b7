"""The DataHub from outside: subscriptions become bars that any client reads."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
from typing import Any

import grpc
import numpy as np
import pytest

from quasar.config import DATAHUB
from quasar.convert.columns import decode_bars
from quasar.database.pool import Database
from quasar.model.bars import BarColumns
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2 as market
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1 import provider_service_pb2 as providers
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from quasar_proto.datahub.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.integration.datahub.plugins import MANIFEST, STEADY
from tests.integration.datahub.registry_rows import add_provider, subscribe
from tests.integration.services.conftest import Bearers, as_

START = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0) - dt.timedelta(hours=20)


def key(symbol: str, interval: str = "1min") -> market.SeriesReference:
    return market.SeriesReference(key=values_pb2.SeriesKey(provider="steady", symbol=symbol, interval=interval))


async def read(stub: Any, bearer: str, **request: Any) -> tuple[BarColumns, list[pb.SeriesReadEnd]]:
    """Read bars as a client does."""
    parts, ended = [], []
    async for message in stub.ReadBars(pb.ReadBarsRequest(**request), **as_(bearer)):
        parts += [decode_bars(chunk.SerializeToString()).columns for chunk in message.bars]
        ended += message.ended
    return BarColumns.concatenate(parts), ended


async def stored(database: Database, rows: int, symbol: str = "A") -> None:
    """Wait until so many bars of a symbol are there."""
    statement = "select count(*) from historical_data join series using (series_id) where symbol = $1"
    count = 0
    async with asyncio.timeout(90):
        while count < rows:
            await asyncio.sleep(0.05)
            count = await database.fetchval(statement, symbol)


async def prepare(database: Database, *symbols: str) -> None:
    code_id = await add_provider(database, "steady", STEADY, MANIFEST)
    await subscribe(database, code_id, *symbols, start=START)


async def ended_run(database: Database) -> Any:
    """Wait until the first run of the test has ended, and return it."""
    run = None
    async with asyncio.timeout(60):
        while run is None or run["finished_at"] is None:
            await asyncio.sleep(0.05)
            run = await database.fetchrow("select * from collection_runs where trigger = 'INITIAL'")
    return run


async def running_process(stub: Any, bearer: str) -> int:
    """Wait until the provider works on a run, and return its process id."""
    async with asyncio.timeout(60):
        while True:
            shown = await stub.GetProvider(providers.GetProviderRequest(name="steady"), **as_(bearer))
            if shown.provider.active_runs and shown.provider.process.pid:
                return int(shown.provider.process.pid)
            await asyncio.sleep(0.05)


async def test_a_subscription_becomes_bars_that_clients_read(start: Any, bearers: Bearers, database: Database) -> None:
    await prepare(database, "A", "BAD")
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        await stored(database, 1200)
        bars, ended = await read(stub, bearers.viewer, series=[key("A"), key("NONE")], batch_rows=500)
        assert bars.is_sorted
        assert (len(bars), ended[0].rows) == (ended[0].rows, len(bars))
        assert int(bars.open_time_ns[0]) == int(START.timestamp()) * 10**9
        assert ended[1].error.code == grpc.StatusCode.NOT_FOUND.value[0]
        found = await stub.DescribeSeries(pb.DescribeSeriesRequest(series=key("A")), **as_(bearers.viewer))
        # A minute may have ended since the bars were read.
        assert found.description.rows - len(bars) in (0, 1)
        assert found.description.complete_ratio == 1.0


async def test_a_read_that_was_cut_goes_on_with_its_cursor(start: Any, bearers: Bearers, database: Database) -> None:
    await prepare(database, "A", "B")
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        await stored(database, 1200)
        await stored(database, 1200, "B")
        span = values_pb2.TimeRange()
        span.end.FromDatetime(START + dt.timedelta(minutes=1200))
        request: dict[str, Any] = {"series": [key("A"), key("B")], "batch_rows": 333, "range": span}
        whole, _ = await read(stub, bearers.viewer, **request)
        call = stub.ReadBars(pb.ReadBarsRequest(**request), **as_(bearers.viewer))
        first = [await call.read() for _ in range(5)]
        call.cancel()
        begun = [decode_bars(chunk.SerializeToString()).columns for part in first for chunk in part.bars]
        rest, ended = await read(stub, bearers.viewer, **request, cursor=first[-1].cursor)
        joined = BarColumns.concatenate([*begun, rest])
        assert np.array_equal(joined.open_time_ns, whole.open_time_ns)
        assert [each.rows for each in ended] == [1200]


async def test_coarser_bars_are_computed_on_reading(start: Any, bearers: Bearers, database: Database) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        await stored(database, 1200)
        hours, _ = await read(stub, bearers.viewer, series=[key("A")], resample_interval="1h", include_forming=True)
        minutes, _ = await read(stub, bearers.viewer, series=[key("A")])
        assert np.all(hours.open_time_ns % (3600 * 10**9) == 0)
        assert hours.volume.sum() == minutes.volume[: len(minutes)].sum()
        page = await stub.ListBars(
            pb.ListBarsRequest(series=key("A"), resample_interval="1h", include_forming=True, page_size=3),
            **as_(bearers.viewer),
        )
        assert [bar.open_time.ToNanoseconds() for bar in page.bars] == hours.open_time_ns[::-1][:3].tolist()


async def test_pages_of_bars_follow_each_other_without_a_hole(start: Any, bearers: Bearers, database: Database) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        await stored(database, 1200)
        times: list[int] = []
        token = ""
        for _ in range(3):
            request = pb.ListBarsRequest(series=key("A"), page_size=100, page_token=token)
            page = await stub.ListBars(request, **as_(bearers.viewer))
            times += [bar.open_time.ToNanoseconds() for bar in page.bars]
            token = page.next_page_token
        assert np.all(np.diff(times) == -60 * 10**9)
        assert len(times) == 300


async def test_a_provider_whose_process_is_killed_comes_back_and_the_run_goes_on(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        await stored(database, 1200)
        shown = await stub.GetProvider(providers.GetProviderRequest(name="steady"), **as_(bearers.viewer))
        os.kill(shown.provider.process.pid, signal.SIGKILL)
        code_id = await database.fetchval("select code_id from registry.code_registry where name = 'steady'")
        await subscribe(database, code_id, "C", start=START)
        await database.execute("select pg_notify('registry_changed', '')")
        await stored(database, 1200, "C")
        after = await stub.GetProvider(providers.GetProviderRequest(name="steady"), **as_(bearers.viewer))
        assert after.provider.process.pid != shown.provider.process.pid


async def test_a_run_whose_provider_is_killed_goes_on_where_it_stopped(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await prepare(database, "SLOW")
    async with start(DATAHUB) as hub:
        os.kill(await running_process(hub.stub(ProviderServiceStub), bearers.viewer), signal.SIGKILL)
        await stored(database, 1200, "SLOW")
        run = await ended_run(database)
        assert (run["state"], run["attempts"] > 1) == ("SUCCEEDED", True)
        assert run["inserted"] + run["unchanged"] == run["slots_total"] == run["fetched"]
        assert await database.fetchval("select count(*) from gaps where state <> 'REPAIRED'") == 0


async def test_a_read_as_of_a_time_gives_what_was_known_then(start: Any, bearers: Bearers, database: Database) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        await stored(database, 1200)
        before, _ = await read(stub, bearers.viewer, series=[key("A")])
        known = await database.fetchval("select clock_timestamp()")
        row = await database.fetchrow("select * from historical_data order by open_time limit 1")
        await database.execute("select ops.ensure_partitions('datahub.bar_revisions', $1, $2)", row["open_time"], known)
        await database.execute(
            """insert into bar_revisions (series_id, open_time, close_time, open, high, low, close, volume, known_from,
                                          known_until, revision, origin, live, cause)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp(), 0, 1, false, 'vendor correction')""",
            *(row[name] for name in ("series_id", "open_time", "close_time", "open", "high", "low", "close", "volume")),
            row["known_at"],
        )
        await database.execute(
            "update historical_data set high = 999, revision = 1, known_at = clock_timestamp() where open_time = $1",
            row["open_time"],
        )
        now, _ = await read(stub, bearers.viewer, series=[key("A")])
        request = pb.ReadBarsRequest(series=[key("A")])
        request.as_of.FromDatetime(known)
        then, _ = await read(stub, bearers.viewer, series=[key("A")], as_of=request.as_of)
        assert (now.high[0], then.high[0]) == (999, before.high[0])
        assert now.state is not None
        former = await stub.ListBarRevisions(pb.ListBarRevisionsRequest(series=key("A")), **as_(bearers.viewer))
        assert [each.bar.high for each in former.revisions] == [before.high[0]]


async def test_code_is_validated_before_it_is_stored(start: Any, bearers: Bearers) -> None:
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        good = providers.ValidateProviderRequest(file_name="steady.py", content=STEADY)
        bad = providers.ValidateProviderRequest(file_name="bad.py", content=b"class X(:\n")
        accepted = (await stub.ValidateProvider(good, **as_(bearers.admin))).report
        refused = (await stub.ValidateProvider(bad, **as_(bearers.admin))).report
        assert (accepted.passed, accepted.manifest.name) == (True, "steady")
        assert (refused.passed, refused.findings[0].line) == (False, 1)
        with pytest.raises(grpc.aio.AioRpcError) as denied:
            await stub.ValidateProvider(good, **as_(bearers.operator))
        assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_bars_can_be_looked_at_without_storing_them(start: Any, bearers: Bearers, database: Database) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        request = providers.FetchBarsRequest(name="STEADY", symbols=["X", "BAD"], interval="1m", limit=5)
        ends = {}
        async for message in stub.FetchBars(request, **as_(bearers.operator)):
            ends.update({end.symbol: end for end in message.ended})
        assert ends["X"].rows == 5
        assert "nobody lists BAD" in ends["BAD"].error.message
