"""Recordings through the whole DataHub: subscribed, collected, classified, broken from outside, and whole again.

As `test_recorded_collection`, but with nobody who turns the wheels: the service plans, fetches, checks and repairs by
itself, on a clock that shows the time of the recording. The test shortens waits in the database and asks as clients do.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
from functools import partial
from typing import Any

import pytest
from google.protobuf import json_format

from quasar.clock import SystemClock
from quasar.config import DATAHUB
from quasar.convert.manifest import manifest_to_proto
from quasar.database.pool import Database
from quasar.model.coverage import SlotState
from quasar.plugins.manifest import Kind, read_manifest
from quasar.rpc.ops.floor import lay
from quasar.secrets import Binding, SystemContext
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from quasar_proto.datahub.v1 import market_data_pb2 as market
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from tests.integration.datahub.registry_rows import add_provider, subscribe
from tests.integration.datahub.test_recorded_collection import CLASSES, RECORDINGS, Recording, places
from tests.integration.services.conftest import Bearers, as_

__all__ = ["places"]

PATIENCE_S = 60
LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_TIMES = itertools.count()
ROWS = "select open_time, open, high, low, close, volume from historical_data order by open_time"


class Past(SystemClock):
    """A clock that goes as fast as the real one, from another time on."""

    def __init__(self, now: dt.datetime) -> None:
        self._behind = dt.datetime.now(dt.UTC) - now

    def now(self) -> dt.datetime:
        return super().now() - self._behind

    def time_ns(self) -> int:
        return super().time_ns() - self._behind // dt.timedelta(microseconds=1) * 1_000


async def list_provider(database: Database, context: SystemContext, name: str, place: dict[str, Any]) -> int:
    """Store a built-in provider with its settings, as the registry does."""
    manifest = manifest_to_proto(read_manifest(Kind.PROVIDER, CLASSES[name]))
    told = json_format.MessageToDict(manifest, preserving_proto_field_name=True)
    code_id = await add_provider(database, name, manifest=told)
    await database.execute(
        "update registry.code_registry set built_in = true, preferences = $2, preferences_revision = 2 "
        "where code_id = $1",
        code_id,
        place["preferences"],
    )
    if secrets := place.get("secrets"):
        sealed = context.seal(json.dumps(secrets).encode(), Binding("provider", name, 1))
        await database.execute(
            "insert into registry.code_secrets (code_id, version, sealed, names) values ($1, 1, $2, $3)",
            code_id,
            sealed,
            list(secrets),
        )
    return code_id


async def hurry(database: Database) -> None:
    """Let checks that wait for their time be due, and repairs once the loss was told: what the recording lacks is asked
    for too, and bars beside it come with it. Gaps that are asked for too often are given up.
    """
    await database.execute("update quality_checks set due_at = $1, sweep_at = $1", LONG_AGO)
    # Each time another one: of a series and a slot there is one run, so that the same would be put off as done already.
    slot = LONG_AGO + dt.timedelta(milliseconds=next(_TIMES))
    await database.execute(
        "update gaps set next_attempt_at = $1 where state = 'OPEN' and attempts < 3 "
        "and exists (select from ops.events where kind = 'BarsLost')",
        slot,
    )
    await database.execute("select pg_notify('quasar_collection', 'work')")


async def until(database: Database, wanted: list[tuple[Any, ...]] | int, *, hurried: bool = False) -> list[Any]:
    """Wait for bars, so many or exactly these, and return them."""
    rows: list[Any] = []
    async with asyncio.timeout(PATIENCE_S):
        while (len(rows) if isinstance(wanted, int) else rows) != wanted:
            if hurried:
                await hurry(database)
            await asyncio.sleep(0.5)
            rows = [tuple(row) for row in await database.fetch(ROWS)]
    return rows


async def classified(hub: Any, bearers: Bearers, database: Database, recording: Recording) -> dict[int, int]:
    """Ask for the coverage of a recording when every run has ended; return its slots by state."""
    name = values_pb2.SeriesKey(provider=recording.provider, symbol=recording.symbol, interval=recording.interval)
    request = pb.GetCoverageRequest(series=[market.SeriesReference(key=name)])
    active = "select count(*) from collection_runs where finished_at is null"
    async with asyncio.timeout(PATIENCE_S):
        while await database.fetchval(active):  # noqa: ASYNC110  # the database tells nobody
            await asyncio.sleep(0.1)
    answer = await hub.stub(CollectionServiceStub).GetCoverage(request, **as_(bearers.viewer))
    (shown,) = answer.series
    assert shown.range.start.ToDatetime(dt.UTC) <= recording.start + dt.timedelta(days=1)
    assert shown.unknown_slots == 0
    return {count.state: count.count for count in shown.counts}


def assert_whole(counts: dict[int, int], recording: Recording) -> None:
    """Every bar of the recording is there, and every slot that it lacks is known to be missing."""
    assert counts[SlotState.OBSERVED] + counts.get(SlotState.REPAIRED, 0) == recording.bars
    assert counts.get(SlotState.GAP, 0) + counts.get(SlotState.UNREPAIRABLE, 0) == recording.missing


async def remove(database: Database, rows: list[Any]) -> None:
    """Take a tenth of the bars out of the beginning, the middle and the end, and the beginning out of the ledger."""
    tenth = max(1, len(rows) // 10)
    async with database.transaction() as connection:
        for first in (tenth // 2, len(rows) // 2, len(rows) - tenth):
            await connection.execute(
                "delete from historical_data where open_time between $1 and $2",
                rows[first][0],
                rows[first + tenth - 1][0],
            )
        await connection.execute("delete from coverage where start_time <= $1", rows[tenth // 4][0])


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
async def test_the_service_collects_a_recording_and_mends_what_is_taken_out_of_it(
    start: Any,
    bearers: Bearers,
    database: Database,
    system_context: SystemContext,
    places: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    recording: Recording,
) -> None:
    monkeypatch.setattr("datahub.app.lay", partial(lay, clock=Past(recording.now)))
    # Checks take a hundredth of a core and look for work every five seconds: nobody need sit through that.
    monkeypatch.setattr("datahub.quality.watch._SWEEP_REST", 0.0)
    monkeypatch.setattr("datahub.quality.watch.LOOK_S", 0.5)
    code_id = await list_provider(database, system_context, recording.provider, places[recording.provider])
    await subscribe(
        database,
        code_id,
        recording.symbol,
        interval=recording.interval,
        start=recording.start,
        exchange=recording.exchange,
        cron="0 0 1 1 *",
    )
    async with start(DATAHUB) as hub:
        collected = await until(database, recording.bars)
        assert_whole(await classified(hub, bearers, database, recording), recording)

        await remove(database, collected)
        assert await until(database, collected, hurried=True) == collected
        assert_whole(await classified(hub, bearers, database, recording), recording)
        lost = await database.fetchval("select sum((data->>'slots')::bigint) from ops.events where kind = 'BarsLost'")
        assert lost >= len(collected) // 5
        operated = "select count(*) from ops.operations"
        assert await database.fetchval(operated) == 0
