"""What `ProviderService` tells of a provider and asks it: the real DataHub, a real process, a real database."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import grpc
import pytest
import pytest_asyncio

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar_proto.datahub.v1 import provider_pb2
from quasar_proto.datahub.v1 import provider_service_pb2 as pb
from quasar_proto.datahub.v1.provider_service_pb2_grpc import ProviderServiceStub
from quasar_proto.ops.v1 import system_pb2
from tests.integration.datahub.live.feeds import live
from tests.integration.datahub.registry_rows import add_provider
from tests.integration.services.conftest import Bearers, as_

WHOLE = b'''
import datetime as dt

from quasar.provider import *

MINUTE = 60_000_000_000


class Whole(Provider):
    """Does everything, some of it badly."""

    name = "whole"
    intervals = ("1min",)
    indices = ("top",)
    hosts = ("localhost", "no-such-host.invalid")
    rate_limit = (3, 60)
    calendar = "24/7"

    async def bars(self, request):
        if request.symbol == "BROKEN":
            raise ValueError("cannot be read")
        for _ in range(2):
            async with self.permit() as outcome:
                outcome.failed = False
        for time in range(request.start_ns, request.end_ns, MINUTE):
            yield Bar(time, 1.0, 1.0, 1.0, 1.0)

    async def symbols(self, exchange=""):
        yield self.instrument("A")
        yield RejectedRow("the pair B has no name", {"b": 1}, symbol="B")
        yield self.instrument("C")

    async def constituents(self, index, as_of):
        if as_of is not None:
            raise Unsupported("only today is known")
        return [Constituent(symbol="A", weight=1.0), RejectedRow("a member without a symbol", {})]

    async def live(self, feed):
        for symbol in feed.symbols:
            yield SymbolNotice(symbol, SymbolState.SUBSCRIBED)
            yield symbol, Tick(self.clock.time_ns(), price=1.0, size=1.0)
        while True:
            await feed.changed()
'''
MANIFEST = {
    "name": "whole",
    "kind": "CODE_KIND_PROVIDER",
    "class_name": "Whole",
    "capabilities": [f"PROVIDER_CAPABILITY_{name}" for name in ("HISTORICAL", "LIVE", "INDEX", "SYMBOLS")],
    "intervals": ["1min"],
    "indices": ["top"],
    "hosts": [{"host": "localhost", "port": 443}, {"host": "no-such-host.invalid", "port": 443}],
    "streams_ticks": True,
    "tick_kinds": ["trade"],
    "default_calendar": "24/7",
    "preferences": [{"path": "region", "type": "PREFERENCE_TYPE_STRING", "required": True}],
}


@pytest_asyncio.fixture(loop_scope="session")
async def whole(database: Database) -> int:
    return await add_provider(database, "whole", WHOLE, MANIFEST)


@pytest.mark.usefixtures("whole")
async def test_symbols_come_with_the_rows_that_are_none(start: Any, bearers: Bearers) -> None:
    async with start(DATAHUB) as hub:
        call = hub.stub(ProviderServiceStub).ListProviderSymbols(
            pb.ListProviderSymbolsRequest(name="whole", batch_size=1), **as_(bearers.operator)
        )
        pages = [page async for page in call]
    assert [[one.symbol for one in page.symbols] for page in pages] == [["A"], ["C"]]
    assert [list(page.errors) for page in pages] == [["B: the pair B has no name"], []]
    assert pages[-1].error_count == 1


@pytest.mark.usefixtures("whole")
async def test_members_come_with_the_rows_that_are_none_and_wrong_questions_are_told_apart(
    start: Any, bearers: Bearers
) -> None:
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        found = await stub.ListConstituents(pb.ListConstituentsRequest(name="whole"), **as_(bearers.operator))
        assert (found.index, [one.symbol for one in found.constituents]) == ("top", ["A"])
        assert list(found.errors) == ["a member without a symbol"]
        wrong = {
            pb.ListConstituentsRequest(name="whole", index="bottom").SerializeToString(): grpc.StatusCode.NOT_FOUND,
            pb.ListConstituentsRequest(
                name="whole", as_of_date="2026-01-05"
            ).SerializeToString(): grpc.StatusCode.FAILED_PRECONDITION,
        }
        for request, code in wrong.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ListConstituents(pb.ListConstituentsRequest.FromString(request), **as_(bearers.operator))
            assert caught.value.code() is code


@pytest.mark.usefixtures("whole")
async def test_a_look_at_bars_tells_the_calls_it_took_and_the_provider_its_last_failure(
    start: Any, bearers: Bearers
) -> None:
    began = time.time()
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        request = pb.FetchBarsRequest(name="whole", symbols=["A", "BROKEN"], interval="1min")
        messages = [message async for message in stub.FetchBars(request, **as_(bearers.operator))]
        ended = {one.symbol: one for message in messages for one in message.ended}
        assert (ended["A"].vendor_calls, ended["A"].rows) == (2, 100)
        assert "ValueError: cannot be read" in ended["BROKEN"].error.message
        shown = (await stub.GetProvider(pb.GetProviderRequest(name="whole"), **as_(bearers.viewer))).provider
    assert shown.state == provider_pb2.PROVIDER_STATE_RUNNING
    assert "ValueError: cannot be read" in shown.error.message
    assert shown.error_time.ToNanoseconds() >= shown.state_since.ToNanoseconds() > 0
    (limit,) = shown.budget.limits
    assert limit.remaining == 1
    assert began - 1 <= limit.reset_time.seconds - 60 <= time.time() + 1
    assert list(shown.missing_settings) == ["region"]


@pytest.mark.usefixtures("whole")
async def test_a_probe_tries_hosts_symbols_bars_a_live_row_and_members(
    start: Any, bearers: Bearers, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **terms: Any) -> Any:
        if host == "no-such-host.invalid":  # a machine without a network may need half a minute to say so
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *rest, **terms)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        found = await stub.ProbeProvider(pb.ProbeProviderRequest(name="whole"), **as_(bearers.operator))
    steps = {step.name: step for step in found.steps}
    assert list(steps) == [
        "configure",
        "resolve localhost",
        "resolve no-such-host.invalid",
        "symbols",
        "bars A 1min",
        "live A",
        "constituents",
    ]
    failed = [name for name, step in steps.items() if step.outcome == provider_pb2.PROBE_OUTCOME_FAILED]
    assert (failed, found.passed) == (["resolve no-such-host.invalid"], False)
    assert "cannot be resolved" in steps["resolve no-such-host.invalid"].detail
    assert steps["live A"].detail == "1 rows in the first batch"
    assert steps["live A"].outcome == provider_pb2.PROBE_OUTCOME_PASSED


async def test_a_probe_of_a_provider_with_a_running_feed_opens_no_second_connection(
    start: Any, bearers: Bearers, database: Database, whole: int
) -> None:
    await live(database, whole, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        feeds = None
        async with asyncio.timeout(60):
            while not feeds:
                await asyncio.sleep(0.05)
                feeds = (await stub.ListFeeds(pb.ListFeedsRequest(), **as_(bearers.viewer))).feeds
        found = await stub.ProbeProvider(pb.ProbeProviderRequest(name="whole"), **as_(bearers.operator))
    step = next(step for step in found.steps if step.name == "live A")
    assert step.outcome == provider_pb2.PROBE_OUTCOME_PASSED
    assert step.detail.startswith("a feed runs already: 1 symbols, ")


@pytest.mark.usefixtures("whole")
async def test_a_restart_is_an_event_with_its_reason_and_who_wanted_it(
    start: Any, bearers: Bearers, database: Database
) -> None:
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        pids = []
        for reason in ("first start", "stuck since noon"):
            request = pb.RestartProviderRequest(name="whole", reason=reason)
            pids.append((await stub.RestartProvider(request, **as_(bearers.operator))).provider.process.pid)
    assert 0 not in pids
    assert len(set(pids)) == 2
    event = await database.fetchrow(
        "select * from ops.events where kind = 'ProviderRestarted' order by id desc limit 1"
    )
    assert (event["subject_name"], event["data"]) == ("whole", {"reason": "stuck since noon"})
    assert event["actor"] == "operator"


async def test_a_provider_that_cannot_be_started_is_shown_as_failed_with_the_reason(
    start: Any, bearers: Bearers, database: Database
) -> None:
    broken = WHOLE.replace(
        b"    async def bars", b"    async def start(self):\n        raise ValueError('no')\n\n    async def bars"
    )
    await add_provider(database, "whole", broken, MANIFEST)
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        with pytest.raises(grpc.aio.AioRpcError, match="ValueError: no"):
            await stub.ListConstituents(pb.ListConstituentsRequest(name="whole"), **as_(bearers.operator))
        request = pb.ListProvidersRequest(filter='state = "FAILED"')
        (shown,) = (await stub.ListProviders(request, **as_(bearers.viewer))).providers
    assert (shown.name, shown.HasField("process"), shown.HasField("error_time")) == ("whole", False, True)
    assert shown.detail.startswith("ValueError: no at vendor.py:")
    assert "ValueError: no" in shown.error.message


SAYS_HOW_IT_IS = WHOLE.replace(
    b"class Whole",
    b"""
import functools
import quasar.plugins.host.plugin_service as service
from quasar_proto.plugin.v1 import plugin_pb2


class Spoken:  # as a plug-in in another language may answer
    HealthResponse = functools.partial(plugin_pb2.HealthResponse, detail="the vendor is closed until 18:00")
    PLUGIN_STATE_READY = plugin_pb2.PLUGIN_STATE_DEGRADED

    def __getattr__(self, name):
        return getattr(plugin_pb2, name)


service.plugin_pb2 = Spoken()


class Whole""",
)


async def test_what_a_plug_in_says_of_itself_is_shown(start: Any, bearers: Bearers, database: Database) -> None:
    await add_provider(database, "whole", SAYS_HOW_IT_IS, MANIFEST)
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        await stub.ListConstituents(pb.ListConstituentsRequest(name="whole"), **as_(bearers.operator))
        shown = provider_pb2.Provider()
        async with asyncio.timeout(60):
            while not shown.detail:  # it is asked how it is every second
                await asyncio.sleep(0.05)
                shown = (await stub.GetProvider(pb.GetProviderRequest(name="whole"), **as_(bearers.viewer))).provider
    assert shown.detail == "the vendor is closed until 18:00"
    assert shown.state == provider_pb2.PROVIDER_STATE_RUNNING
    assert shown.process.state == system_pb2.PART_STATE_DEGRADED
