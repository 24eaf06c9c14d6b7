"""A plug-in that had to be stopped is one event in the database, with its cause and what follows."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from quasar import errors
from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar.ops.events import Events
from quasar.plugins.containment import Cause, Containment
from quasar.plugins.incidents import Incidents, sentence
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from quasar.plugins.process import ProcessSettings
from tests.integration.plugins.conftest import provider_code


async def test_a_crash_is_one_event_with_its_cause(database: Database, tmp_path: Path) -> None:
    incidents = Incidents(database, Events(database, "datahub", SystemClock()), SystemClock())
    recording = asyncio.create_task(incidents.run())
    settings = ProcessSettings(service="tests")
    async with PluginPool(tmp_path / "code", settings=settings, on_containment=incidents.note) as pool:
        provider = await pool.provider(
            provider_code("async def symbols(self, exchange=''):\n    os._exit(7)\n    yield")
        )
        process = provider.keeper.process
        assert process is not None
        with pytest.raises(errors.PluginUnavailable):
            await anext(provider.list_symbols())
        async with asyncio.timeout(90):
            while not (rows := await database.fetch("select * from ops.events where kind = 'PluginContained'")):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    recording.cancel()
    assert len(rows) == 1
    row = rows[0]
    assert (row["subject_type"], row["subject_name"]) == ("provider", "mine")
    assert row["message"] == "Provider mine ended by itself with exit code 7; it starts again in 0.2 s."
    data = row["data"] if isinstance(row["data"], dict) else json.loads(row["data"])
    assert (data["cause"], data["pid"]) == ("crashed", process.pid)


def test_one_that_fails_for_good_says_that_somebody_has_to_act() -> None:
    notice = Containment(Kind.STRATEGY, "cross", 2, Cause.MEMORY, "used 900 MiB of memory", 7, None)
    assert sentence(notice) == (
        "Strategy cross used 900 MiB of memory; it stays down until it is started again by hand."
    )
