"""A repair that may not borrow: what only another provider of the instrument has stays missing."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.model.instants import to_ns
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from quasar_proto.datahub.v1 import gap_pb2
from quasar_proto.datahub.v1 import market_data_pb2 as market
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.datahub.plugins import MANIFEST, STEADY
from tests.integration.datahub.registry_rows import add_provider, subscribe
from tests.integration.datahub.test_collection_service import ended
from tests.integration.datahub.test_service import read
from tests.integration.services.conftest import Bearers, as_

START = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0) - dt.timedelta(hours=4)
HOLE, MISSING = START + dt.timedelta(hours=1), 30
NEVER = "0 0 1 1 *"


def patchy() -> bytes:
    """The source of a provider that lacks half an hour for good."""
    first = to_ns(HOLE)
    lacking = f"if {first} <= time < {first + MISSING * 60_000_000_000}:\n                continue\n            price ="
    return STEADY.replace(b'"steady"', b'"patchy"').replace(b"price =", lacking.encode(), 1)


async def prepare(database: Database) -> None:
    """Two providers of one instrument, one of which lacks a part."""
    lacking = await add_provider(database, "patchy", patchy(), {**MANIFEST, "name": "patchy"})
    whole = await add_provider(database, "steady", STEADY, MANIFEST)
    await subscribe(database, lacking, "A", start=START, cron=NEVER)
    await subscribe(database, whole, "AA", start=START, cron=NEVER)
    common = await database.fetchval("insert into registry.common_symbols (symbol) values ('A') returning 1")
    await database.execute(
        "insert into registry.asset_mapping (asset_id, code_id, common_symbol_id, origin) "
        "select asset_id, code_id, $1, 'MANUAL' from registry.assets",
        common,
    )


async def asked_once_in_vain(database: Database) -> None:
    """Wait for the gap, and let it have been asked for once; nothing repairs it by itself in the course of a test."""
    gap = None
    async with asyncio.timeout(40):
        while gap is None:
            await asyncio.sleep(0.05)
            gap = await database.fetchval(
                "update gaps set attempts = 1, next_attempt_at = now() + interval '1 day' where state = 'OPEN' "
                "returning gap_id"
            )


async def repaired(hub: Any, bearers: Bearers, terms: pb.RepairGapsRequest) -> pb.RepairGapsResult:
    stub = hub.stub(CollectionServiceStub)
    begun = await stub.RepairGaps(terms, **as_(bearers.operator))
    operation = await ended(hub, begun.operation.operation_id, bearers.viewer)
    result = pb.RepairGapsResult()
    assert operation.result.Unpack(result), operation.error
    return result


async def test_a_repair_from_the_own_provider_only_borrows_nothing(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await prepare(database)
    series = market.SeriesReference(key=values_pb2.SeriesKey(provider="patchy", symbol="A", interval="1min"))
    async with start(DATAHUB) as hub:
        await asked_once_in_vain(database)
        bars, _ = await read(hub.stub(MarketDataServiceStub), bearers.viewer, series=[series])

        alone = await repaired(hub, bearers, pb.RepairGapsRequest(own_provider_only=True))
        assert (alone.gaps, alone.repaired, alone.slots_borrowed) == (1, 0, 0)
        listed = await hub.stub(CollectionServiceStub).ListGaps(pb.ListGapsRequest(), **as_(bearers.viewer))
        (gap,) = listed.gaps
        assert (gap.state, gap.attempts, gap.missing_slots) == (gap_pb2.GAP_STATE_OPEN, 2, MISSING)
        assert "steady" not in str(gap.evidence)
        same, _ = await read(hub.stub(MarketDataServiceStub), bearers.viewer, series=[series])
        assert len(same) == len(bars)

        helped = await repaired(hub, bearers, pb.RepairGapsRequest())
        assert (helped.repaired, helped.slots_borrowed) == (1, MISSING)
        more, _ = await read(hub.stub(MarketDataServiceStub), bearers.viewer, series=[series])
        own, _ = await read(hub.stub(MarketDataServiceStub), bearers.viewer, series=[series], own_provider_only=True)
        assert (len(more), len(own)) == (len(bars) + MISSING, len(bars))
