"""The figures of the DataHub's load that the contract names, as an operator's metrics show them."""

from __future__ import annotations

import asyncio
from typing import Any

from datahub.ingest.rate import RowRate
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.testing.clock import FakeClock
from tests.integration.datahub.live.client import TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market
from tests.integration.datahub.live.test_losses import figures
from tests.integration.datahub.live.test_stalled_disk import SYMBOL, more
from tests.integration.services.conftest import Bearers


async def test_readers_and_ticks_a_second_are_figures(start: Any, bearers: Bearers, database: Database) -> None:
    await fast_market(database, SYMBOL)
    async with start(DATAHUB) as hub:
        before = await figures(hub, bearers.viewer)
        assert {"ticks_per_second", "bars_per_second", "subscribers", "runs_in_flight"} <= before.keys()
        assert before["subscribers"] == 0
        stream = Stream(hub, bearers.viewer, Client(), symbols("fast", SYMBOL, contents=(TRADES,)))
        await more(stream, 100)
        during = await figures(hub, bearers.viewer)
        assert during["subscribers"] == 1
        assert during["ticks_per_second"] > 0
        stream.call.cancel()
        async with asyncio.timeout(60):
            while (await figures(hub, bearers.viewer))["subscribers"]:
                pass


async def test_rows_a_second_are_those_of_the_last_ten_whole_seconds() -> None:
    clock = FakeClock()
    rate = RowRate(clock)
    assert rate.per_second() == 0
    rate.add(20)
    rate.add(10)
    assert rate.per_second() == 0, "the second is not over"
    await clock.advance(1)
    assert rate.per_second() == 3
    rate.add(70)
    await clock.advance(1)
    assert rate.per_second() == 10
    await clock.advance(9)
    assert rate.per_second() == 7
    await clock.advance(60)
    assert rate.per_second() == 0
