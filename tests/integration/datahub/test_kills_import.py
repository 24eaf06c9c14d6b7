"""kill -9 of the DataHub in the middle of an import: the next one goes on, and every bar is there once."""

from __future__ import annotations

import asyncio
import io
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet
import pytest

from quasar.database.pool import Database
from quasar.model.instants import NS_PER_MINUTE
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from quasar_proto.ops.v1 import operation_pb2
from quasar_proto.ops.v1 import operation_service_pb2 as ops
from quasar_proto.ops.v1.operation_service_pb2_grpc import OperationServiceStub
from tests.integration.datahub.live.test_kills import DataHubProcess, hub
from tests.integration.datahub.plugins import MANIFEST, STEADY
from tests.integration.datahub.registry_rows import add_provider
from tests.integration.services.conftest import Bearers, as_

__all__ = ["hub"]

ROWS = 160_000
START_NS = 1_700_000_040_000_000_000
KEY = values_pb2.SeriesKey(provider="steady", symbol="A", interval="1min")
PART_BYTES = 2 << 20
PATIENCE_S = 60


def table() -> pa.Table:
    """Minutes without a hole."""
    times = START_NS // 1_000 + np.arange(ROWS, dtype=np.int64) * (NS_PER_MINUTE // 1_000)
    price = 100 + np.arange(ROWS) % 997 / 7
    columns = {"open": price, "high": price + 1, "low": price - 1, "close": price, "volume": np.arange(ROWS) % 31.0}
    return pa.table({"open_time": pa.array(times, pa.timestamp("us", "UTC")), **columns})


def csv_file() -> bytes:
    out = io.BytesIO()
    csv.write_csv(table(), out)
    return out.getvalue()


def parquet_file() -> bytes:
    out = io.BytesIO()
    parquet.write_table(table(), out)
    return out.getvalue()


class Importing:
    """A client that imports a file."""

    def __init__(self, hub: DataHubProcess, bearers: Bearers) -> None:
        self._hub = hub
        self._bearers = bearers

    async def begin(self, data: bytes) -> str:
        """Send a file, begin its import and return the id of the operation."""
        stub = self._hub.stub(MarketDataServiceStub)
        caller = as_(self._bearers.operator)
        made = await stub.CreateUpload(pb.CreateUploadRequest(file_name="bars", size_bytes=len(data)), **caller)
        for start in range(0, len(data), PART_BYTES):
            part = data[start : start + PART_BYTES]
            request = pb.AppendUploadRequest(upload_id=made.upload.upload_id, offset=start, data=part)
            await stub.AppendUpload(request, **caller)
        asked = pb.ImportSeriesRequest(upload_id=made.upload.upload_id, series=KEY)
        operation = (await stub.ImportSeries(asked, **caller)).operation
        return str(operation.operation_id)

    async def ended(self, operation_id: str) -> Any:
        """Return an operation when it has ended."""
        stub = self._hub.stub(OperationServiceStub)
        request = ops.GetOperationRequest(operation_id=operation_id)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = (await stub.GetOperation(request, **as_(self._bearers.viewer))).operation
                if found.state >= operation_pb2.OPERATION_STATE_SUCCEEDED:
                    return found
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("file", [csv_file, parquet_file])
async def test_an_import_goes_on_after_its_datahub_was_killed(
    hub: DataHubProcess,
    bearers: Bearers,
    database: Database,
    file: Callable[[], bytes],
) -> None:
    await add_provider(database, "steady", STEADY, MANIFEST)
    data = await asyncio.to_thread(file)
    client = Importing(hub, bearers)
    await hub.start()
    operation_id = await client.begin(data)
    stored = 0
    async with asyncio.timeout(PATIENCE_S):
        while not stored:
            await asyncio.sleep(0.01)
            stored = await database.fetchval("select count(*) from historical_data")
    await hub.end(signal.SIGKILL)
    at_death = await database.fetchval("select count(*) from historical_data")
    assert 0 < at_death < ROWS, "the kill must hit the middle of the import"
    await hub.start()
    operation = await client.ended(operation_id)
    assert operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED, operation.error
    result = pb.ImportSeriesResult()
    assert operation.result.Unpack(result)
    assert operation.attempts == 2
    assert (operation.progress.done, operation.progress.total) == (ROWS, ROWS)
    # A block that was stored and not noted before the kill is met again and changes nothing.
    assert result.rows == ROWS
    assert (result.inserted + result.unchanged, result.updated, result.quarantined) == (ROWS, 0, 0)
    found = await database.fetchrow(
        "select count(*) as rows, count(distinct open_time) as times, sum(close) as closes from historical_data"
    )
    price = 100 + np.arange(ROWS) % 997 / 7
    assert (found["rows"], found["times"]) == (ROWS, ROWS)
    assert found["closes"] == pytest.approx(price.sum(), rel=1e-12)
    assert await database.fetchval("select count(*) from bar_revisions") == 0
    assert [row["slots"] for row in await database.fetch("select slots from coverage")] == [ROWS]
    assert await database.fetchval("select rows from series_progress") == ROWS
    assert await database.fetchval("select count(*) from uploads") == 0
