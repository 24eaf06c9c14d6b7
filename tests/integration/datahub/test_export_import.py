"""Files out and in: the real DataHub on a real database and a real socket."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import io
import json
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet
import pytest

from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.reads import import_files
from datahub.reads.imports import Imports
from datahub.reads.uploads import Uploads
from quasar.clock import SystemClock
from quasar.config import DATAHUB
from quasar.convert.columns import decode_bars
from quasar.database.pool import Database
from quasar.model.bars import BarColumns
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2 as market
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from quasar_proto.ops.v1 import operation_pb2
from quasar_proto.ops.v1 import operation_service_pb2 as ops
from quasar_proto.ops.v1.operation_service_pb2_grpc import OperationServiceStub
from tests.integration.datahub.plugins import MANIFEST, STEADY
from tests.integration.datahub.registry_rows import add_provider, entry
from tests.integration.services.conftest import Bearers, as_

ROWS = 120
HEADER = "open_time,open,high,low,close,volume"


def key(symbol: str) -> values_pb2.SeriesKey:
    return values_pb2.SeriesKey(provider="steady", symbol=symbol, interval="1min")


def minutes(count: int = ROWS) -> str:
    """A file of minutes; the volume of every tenth is missing."""
    lines = [HEADER]
    for row in range(count):
        price = 100 + row / 7
        volume = "" if row % 10 == 0 else str(row)
        time = f"2026-01-05T{10 + row // 60:02}:{row % 60:02}:00Z"
        lines.append(f"{time},{price!r},{price + 1!r},{price - 1!r},{price!r},{volume}")
    return "\n".join(lines) + "\n"


class Files:
    """A client that sends and fetches files."""

    def __init__(self, hub: Any, bearers: Bearers) -> None:
        self.stub = hub.stub(MarketDataServiceStub)
        self._operations = hub.stub(OperationServiceStub)
        self._bearers = bearers

    async def upload(self, data: bytes, **more: Any) -> str:
        request = pb.CreateUploadRequest(file_name="bars", size_bytes=len(data), **more)
        made = await self.stub.CreateUpload(request, **as_(self._bearers.operator))
        upload_id: str = made.upload.upload_id
        for offset in range(0, len(data), 1000):
            await self.append(upload_id, offset, data[offset : offset + 1000])
        return upload_id

    async def append(self, upload_id: str, offset: int, data: bytes) -> pb.Upload:
        request = pb.AppendUploadRequest(upload_id=upload_id, offset=offset, data=data)
        upload: pb.Upload = (await self.stub.AppendUpload(request, **as_(self._bearers.operator))).upload
        return upload

    async def begin(self, upload_id: str, **more: Any) -> Any:
        request = pb.ImportSeriesRequest(upload_id=upload_id, **more)
        return (await self.stub.ImportSeries(request, **as_(self._bearers.operator))).operation

    async def ended(self, data: bytes, **more: Any) -> Any:
        """Import a file and return the operation when it has ended."""
        operation = await self.begin(await self.upload(data), **more)
        async with asyncio.timeout(90):
            while operation.state < operation_pb2.OPERATION_STATE_SUCCEEDED:
                await asyncio.sleep(0.05)
                request = ops.GetOperationRequest(operation_id=operation.operation_id)
                operation = (await self._operations.GetOperation(request, **as_(self._bearers.viewer))).operation
        return operation

    async def imported(self, data: bytes, **more: Any) -> pb.ImportSeriesResult:
        operation = await self.ended(data, **more)
        assert operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED, operation.error
        result = pb.ImportSeriesResult()
        assert operation.result.Unpack(result)
        return result

    async def exported(self, format: Any, *symbols: str, **more: Any) -> tuple[pb.ExportHeader, bytes]:  # noqa: A002
        return await self.exported_series(format, [key(symbol) for symbol in symbols], **more)

    async def exported_series(
        self,
        format: Any,  # noqa: A002
        keys: list[values_pb2.SeriesKey],
        **more: Any,
    ) -> tuple[pb.ExportHeader, bytes]:
        series = [market.SeriesReference(key=one) for one in keys]
        request = pb.ExportSeriesRequest(series=series, format=format, **more)
        messages = [each async for each in self.stub.ExportSeries(request, **as_(self._bearers.viewer))]
        data = b"".join(each.data for each in messages)
        summary = messages[-1].summary
        assert (summary.size_bytes, summary.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert max(len(each.data) for each in messages) <= 1 << 20
        return messages[0].header, data

    async def bars(self, symbol: str) -> BarColumns:
        request = pb.ReadBarsRequest(series=[market.SeriesReference(key=key(symbol))])
        parts = [
            decode_bars(chunk.SerializeToString()).columns
            async for message in self.stub.ReadBars(request, **as_(self._bearers.viewer))
            for chunk in message.bars
        ]
        return BarColumns.concatenate(parts)


@pytest.fixture
async def provider(database: Database) -> None:
    await add_provider(database, "steady", STEADY, MANIFEST)


pytestmark = pytest.mark.usefixtures("provider")


async def test_bars_that_were_imported_are_observed_by_the_ledger(
    start: Any, bearers: Bearers, database: Database
) -> None:
    lines = minutes().splitlines()
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)
        await files.imported("\n".join([*lines[:50], *lines[60:]]).encode(), series=key("A"))
        rows = await database.fetch("select state, slots from coverage order by start_time")
        assert [(row["state"], row["slots"]) for row in rows] == [(1, 49), (1, ROWS - 59)]
        assert await database.fetchval("select count(*) from gaps") == 0
        await files.imported("\n".join([lines[0], *lines[50:60]]).encode(), series=key("A"))
        rows = await database.fetch("select state, slots from coverage")
        assert [(row["state"], row["slots"]) for row in rows] == [(1, ROWS)]


class _Killed(BaseException):
    """The process ends here."""


class _Context:
    """The operation of an import as its worker has it, in which the process is killed at a certain save."""

    def __init__(self, request: dict[str, Any], checkpoint: dict[str, Any], *, killed_at: int = 0) -> None:
        self.request = request
        self.checkpoint = checkpoint
        self.operation = SimpleNamespace(operation_id=None)
        self._left = killed_at
        self.told: dict[str, Any] = {}

    async def save(self, checkpoint: dict[str, Any]) -> None:
        self._left -= 1
        if self._left == 0:
            raise _Killed
        self.checkpoint = json.loads(json.dumps(checkpoint))

    def progress(self, *arguments: Any, **options: Any) -> None:
        """Remember what was told last."""
        self.told = options


@pytest.mark.parametrize("killed_at", [1, 2, 3, 4])
async def test_an_import_that_is_killed_goes_on_and_stores_each_bar_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    monkeypatch.setattr(import_files, "BLOCK_ROWS", 50)
    clock = SystemClock()
    uploads = Uploads(database, clock)
    data = minutes().encode()
    upload = await uploads.create("bars.csv", len(data), "", "")
    await uploads.append(str(upload.upload_id), 0, data)

    async def providers() -> dict[str, Any]:
        return {"steady": entry("steady")}

    imports = Imports(database, uploads, BarWriter(database, Room(database), clock), providers, clock)
    request = {
        "upload_id": str(upload.upload_id),
        "format": 0,
        "series": ["steady", "A", "1min"],
        "column_names": {},
        "time_zone": "",
        "times_are_closes": False,
        "only_new": False,
        "validate_only": False,
    }
    killed: Any = _Context(request, {}, killed_at=killed_at)
    with pytest.raises(_Killed):
        await imports.run(killed)
    again: Any = _Context(request, killed.checkpoint)
    done, _ = await imports.run(again)
    assert (done.rows, done.inserted + done.unchanged, done.updated) == (ROWS, ROWS, 0)
    told = again.told or killed.told
    assert (told["done"], told["total"], told["counters"]["bytes"]) == (ROWS, ROWS, len(data))
    assert await database.fetchval("select count(*) from historical_data") == ROWS
    assert await database.fetchval("select count(*) from bar_revisions") == 0
    assert [row["slots"] for row in await database.fetch("select slots from coverage")] == [ROWS]
    assert await database.fetchval("select count(*) from uploads") == 0


@pytest.mark.parametrize("format", [pb.DATA_FORMAT_PARQUET, pb.DATA_FORMAT_ARROW, pb.DATA_FORMAT_CSV])
async def test_a_series_that_is_exported_and_imported_as_another_has_the_same_bars(
    start: Any,
    bearers: Bearers,
    format: Any,  # noqa: A002
) -> None:
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)
        first = await files.imported(minutes().encode(), series=key("A"))
        assert (first.rows, first.inserted, list(first.errors)) == (ROWS, ROWS, [])
        header, data = await files.exported(format, "A")
        assert header.columns[:5] == ["provider", "symbol", "interval", "open_time", "close_time"]
        assert header.estimated_rows == ROWS
        assert header.file_name.startswith("steady_A_1min.")
        second = await files.imported(data, series=key("B"))
        assert (second.inserted, second.series[0].key.symbol) == (ROWS, "B")
        source, copy = await files.bars("A"), await files.bars("B")
        assert len(copy) == ROWS
        assert copy.equals(source)
        again = await files.imported(data)
        assert (again.inserted, again.unchanged, again.series[0].key.symbol) == (0, ROWS, "A")


async def test_other_readers_understand_the_file(start: Any, bearers: Bearers) -> None:
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)
        await files.imported(minutes().encode(), series=key("A"))
        await files.imported(minutes(7).encode(), series=key("B"))
        columns = [market.BAR_COLUMN_VWAP, market.BAR_COLUMN_ORIGIN, market.BAR_COLUMN_KNOWN_TIME]
        _, data = await files.exported(pb.DATA_FORMAT_PARQUET, "A", "B", columns=columns)
        table = parquet.read_table(io.BytesIO(data))
        assert table.column_names[-3:] == ["vwap", "origin", "known_time"]
        assert table.schema.field("open_time").type == pa.timestamp("us", "UTC")
        assert table["symbol"].to_pylist() == ["A"] * ROWS + ["B"] * 7
        assert table["volume"].null_count == 12 + 1
        assert set(table["origin"].to_pylist()) == {5}
        _, text = await files.exported(pb.DATA_FORMAT_CSV, "B")
        line = text.decode().splitlines()[1].replace('"', "")
        assert line == "steady,B,1min,2026-01-05T10:00:00Z,2026-01-05T10:01:00Z,100,101,99,100,"
        hours, _ = await files.exported(pb.DATA_FORMAT_CSV, "A", resample_interval="1h")
        assert hours.file_name == "steady_A_1h.csv"


async def test_bad_rows_are_told_by_line_and_the_others_are_stored(
    start: Any, bearers: Bearers, database: Database
) -> None:
    lines = minutes(10).splitlines()
    lines[3] = lines[3].replace("2026-01-05T10:02:00Z", "2026-01-05T10:02:00")
    lines[5] = "2026-01-05T10:04:00Z,100,99,101,100,5"
    lines[6] = "2026-01-05T10:05:00Z,many,101,99,100,5"
    lines[8] += ",more"
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)
        data = "\n".join(lines).encode()
        tried = await files.imported(data, series=key("A"), validate_only=True)
        assert (tried.rows, tried.inserted, tried.quarantined, tried.validated_only) == (10, 6, 3, True)
        assert await database.fetchval("select count(*) from historical_data") == 0
        done = await files.imported(data, series=key("A"))
        assert (done.rows, done.inserted, done.quarantined) == (10, 6, 3)
        assert list(done.errors) == list(tried.errors)
        assert [each.split(":")[0] for each in done.errors] == ["line 4", "line 6", "line 7", "line 9"]
        assert "must have a zone" in done.errors[0]
        assert "open must be a number, was 'many'" in done.errors[2]
        reasons = await database.fetch("select reason from quarantine order by reason")
        assert [row["reason"] for row in reasons] == ["MALFORMED", "NAIVE_TIME", "PRICE_ORDER"]


async def test_filling_leaves_what_is_there_and_merging_revises_it(
    start: Any, bearers: Bearers, database: Database
) -> None:
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)
        await files.imported(minutes(10).encode(), series=key("A"))
        changed = minutes(12).replace("\n2026-01-05T10:00:00Z,100.0,101.0", "\n2026-01-05T10:00:00Z,100.0,107.0")
        filled = await files.imported(changed.encode(), series=key("A"), mode=pb.IMPORT_MODE_FILL)
        assert (filled.inserted, filled.updated, filled.unchanged) == (2, 0, 10)
        assert (await files.bars("A")).high[0] == 101
        merged = await files.imported(changed.encode(), series=key("A"))
        assert (merged.inserted, merged.updated, merged.unchanged) == (0, 1, 11)
        assert (await files.bars("A")).high[0] == 107
        assert await database.fetchval("select high from bar_revisions") == 101


async def test_local_times_that_end_bars_under_other_names_are_understood(start: Any, bearers: Bearers) -> None:
    text = "when,o,h,l,c\n2026-01-05 09:31,1,2,1,2\n2026-01-05 09:32,2,3,2,3\n"
    names = {"open_time": "when", "open": "o", "high": "h", "low": "l", "close": "c"}
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)
        options = {"column_names": names, "time_zone": "America/New_York", "times_are_closes": True}
        done = await files.imported(text.encode(), series=key("A"), **options)
        assert (done.inserted, list(done.errors)) == (2, [])
        bars = await files.bars("A")
        assert bars.open_time_ns.astype("datetime64[ns]").astype(str)[0].startswith("2026-01-05T14:30:00")
        assert np.isnan(bars.volume).all()


async def test_an_upload_can_be_repeated_but_not_contradicted(start: Any, bearers: Bearers) -> None:
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)
        request = pb.CreateUploadRequest(file_name="x.csv", size_bytes=6, request_id="once", sha256="0" * 64)
        one = (await files.stub.CreateUpload(request, **as_(bearers.operator))).upload
        two = (await files.stub.CreateUpload(request, **as_(bearers.operator))).upload
        assert one.upload_id == two.upload_id
        for offset, data, received in ((0, b"abc", 3), (0, b"abc", 3), (1, b"bcd", 4)):
            assert (await files.append(one.upload_id, offset, data)).received_bytes == received
        precondition, exhausted = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED
        for offset, data, code in ((5, b"f", precondition), (2, b"xx", precondition), (4, b"efg", exhausted)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await files.append(one.upload_id, offset, data)
            assert refused.value.code() is code
        with pytest.raises(grpc.aio.AioRpcError, match="go on from offset 4"):
            await files.begin(one.upload_id, series=key("A"))
        await files.append(one.upload_id, 4, b"ef")
        with pytest.raises(grpc.aio.AioRpcError, match="sha256"):
            await files.begin(one.upload_id, series=key("A"))


async def test_what_does_not_exist_or_is_no_file_of_bars_is_refused(start: Any, bearers: Bearers) -> None:
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)
        with pytest.raises(grpc.aio.AioRpcError) as absent:
            await files.exported(pb.DATA_FORMAT_CSV, "NONE")
        assert absent.value.code() is grpc.StatusCode.NOT_FOUND
        nobody = values_pb2.SeriesKey(provider="nobody", symbol="A", interval="1min")
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await files.begin(await files.upload(b"x"), series=nobody)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        wrong = await files.ended(b"PAR1 but nothing else", series=key("A"))
        assert wrong.state == operation_pb2.OPERATION_STATE_FAILED
        assert "must be PARQUET" in wrong.error.message
        strangers = await files.imported(f"provider,symbol,interval,{HEADER}\nnobody,A,1min,,,,,,\n".encode())
        assert list(strangers.errors) == ["line 2: there is no provider 'nobody'"]


TICK = dt.datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=dt.UTC)


async def put_ticks(database: Database, count: int) -> None:
    """Store ticks of the symbol T a second apart: trades, and one quote at the end."""
    await database.execute("insert into series (provider, symbol, interval) values ('steady', 'T', '')")
    await database.execute("select ops.ensure_partitions('datahub.ticks', $1, $2)", TICK, TICK + dt.timedelta(days=1))
    await database.execute(
        """insert into ticks (series_id, event_time, event_ns, receive_time, sequence, kind, side, flags, price, size,
                              bid_price, ask_price, trade_id)
           select series_id, $1::timestamptz + n * interval '1 second', 789, $1::timestamptz + n * interval '1 second',
                  n, case n when $2 then 2 else 1 end, n % 3, 6, nullif(100.0 + n, 100.0 + $2), 1.5,
                  case n when $2 then 99.0 end, case n when $2 then 101.0 end, nullif(7000 + n, 7000 + $2)
           from series, generate_series(1, $2::integer) n where symbol = 'T'""",
        TICK,
        count,
    )


@pytest.mark.parametrize("format", [pb.DATA_FORMAT_PARQUET, pb.DATA_FORMAT_ARROW, pb.DATA_FORMAT_CSV])
async def test_ticks_are_exported_to_the_nanosecond(
    start: Any,
    bearers: Bearers,
    database: Database,
    format: Any,  # noqa: A002
) -> None:
    count = 25_000  # more than one page
    await put_ticks(database, count)
    ticks = values_pb2.SeriesKey(provider="steady", symbol="T")
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)
        header, data = await files.exported_series(format, [ticks])
        assert header.file_name.startswith("steady_T_ticks.")
        if format == pb.DATA_FORMAT_CSV:
            table = csv.read_csv(io.BytesIO(data))
        elif format == pb.DATA_FORMAT_ARROW:
            table = pa.ipc.open_stream(data).read_all()
        else:
            table = parquet.read_table(io.BytesIO(data))
        assert (table.num_rows, table.column_names) == (count, list(header.columns))
        first = int((TICK + dt.timedelta(seconds=1)).timestamp()) * 10**9 + 123_456_789
        times = table["event_time"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy()
        assert times[:2].tolist() == [first, first + 10**9]
        assert table["price"][:2].to_pylist() == [101.0, 102.0]
        assert [table[name][-1].as_py() or None for name in ("kind", "price", "bid_price", "trade_id")] == [
            "QUOTE",
            None,
            99.0,
            None,
        ]
        assert [each or None for each in table["side"][:3].to_pylist()] == ["BUY", "SELL", None]
        assert table["flags"][0].as_py() == "REFILLED SNAPSHOT"
        assert table["trade_id"][0].as_py() == 7001


async def test_ticks_and_bars_are_not_mixed_in_a_file(start: Any, bearers: Bearers, database: Database) -> None:
    await put_ticks(database, 3)
    ticks = values_pb2.SeriesKey(provider="steady", symbol="T")
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)
        await files.imported(minutes(3).encode(), series=key("A"))
        with pytest.raises(grpc.aio.AioRpcError, match="all of bars or all of ticks"):
            await files.exported_series(pb.DATA_FORMAT_CSV, [ticks, key("A")])
        with pytest.raises(grpc.aio.AioRpcError, match="without resample_interval"):
            await files.exported_series(pb.DATA_FORMAT_CSV, [ticks], resample_interval="1h")


async def test_bars_of_an_interval_that_is_not_stored_are_exported(start: Any, bearers: Bearers) -> None:
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)
        await files.imported(minutes().encode(), series=key("A"))
        hour = values_pb2.SeriesKey(provider="steady", symbol="A", interval="1h")
        _, data = await files.exported_series(pb.DATA_FORMAT_PARQUET, [hour])
        table = parquet.read_table(io.BytesIO(data))
        assert (table["interval"].to_pylist(), table["open"].to_pylist()) == (["1h", "1h"], [100.0, 100 + 60 / 7])
