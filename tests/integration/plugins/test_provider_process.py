"""A provider in its process does what the same class does outside of it."""

from __future__ import annotations

import asyncio
import datetime as dt

import numpy as np
import pytest

from quasar import errors
from quasar.model.ticks import TickKind
from quasar.plugins.keeper import Reload
from quasar.plugins.manifest import Kind
from quasar.plugins.provider import BarRequest, LiveSymbol, TickRequest
from quasar.provider import (
    ConnectionNotice,
    ConnectionState,
    RejectedRow,
    Throttled,
    Unauthorised,
    UnknownSymbol,
    Unsupported,
)
from tests.integration.plugins.conftest import Plugins, provider_code

MINUTE = 60_000_000_000
HOUR = BarRequest("GOOD", "1min", 0, 60 * MINUTE)

HISTORY = """
    secrets = ("token",)
    rate_limit = (1000, 1)

    async def bars(self, request):
        if request.symbol == "UNKNOWN":
            raise UnknownSymbol("no such symbol")
        if request.symbol == "BROKEN":
            raise ValueError("cannot read " + self.secret("token"))
        if request.symbol == "BUSY":
            raise Throttled("wait", retry_after_s=7.5)
        if request.symbol == "CLOSED":
            raise Unauthorised("key refused")
        if request.symbol == "OLD":
            raise Unsupported("before the first day")
        if request.symbol == "ROWS":
            for number in range(25):
                yield Bar(request.start_ns + number * 60_000_000_000, 1.0, 2.0, 0.5, 1.5, 10.0 if number % 2 else None)
            yield RejectedRow("close is null", {"c": None}, time_ns=5)
            yield EmptyRange(request.start_ns, request.end_ns, no_trade=True)
            return
        times = np.arange(request.start_ns, request.end_ns, 60_000_000_000)
        price = np.arange(len(times), dtype=float)
        yield BarColumns(times, price, price + 1, price - 1, price, price * 0 + 5)
"""


async def test_bars_arrive_as_they_were_yielded(plugins: Plugins) -> None:
    provider = await plugins.provider(HISTORY, secrets={"token": "s3cr3t-value"})
    batches = [batch async for batch in provider.fetch_bars([HOUR])]
    columns = batches[0].columns
    assert columns is not None
    assert columns.open_time_ns.tolist() == [number * MINUTE for number in range(60)]
    assert columns.close[59] == 59.0
    assert (batches[-1].done, batches[-1].error) == (True, None)


async def test_one_bad_symbol_never_ends_the_others(plugins: Plugins) -> None:
    provider = await plugins.provider(HISTORY, secrets={"token": "s3cr3t-value"})
    names = ["UNKNOWN", "BROKEN", "GOOD", "BUSY", "CLOSED", "OLD"]
    requests = [BarRequest(name, "1min", 0, 60 * MINUTE) for name in names]
    ends = {names[b.request]: b async for b in provider.fetch_bars(requests) if b.done}
    kinds = {name: type(batch.error) for name, batch in ends.items()}
    assert kinds == {
        "UNKNOWN": UnknownSymbol,
        "BROKEN": errors.PluginFailed,
        "GOOD": type(None),
        "BUSY": Throttled,
        "CLOSED": Unauthorised,
        "OLD": Unsupported,
    }
    busy, broken = ends["BUSY"].error, ends["BROKEN"].error
    assert busy is not None
    assert busy.retry_after_s == 7.5
    assert broken is not None
    assert "ValueError: cannot read *** at mine.py:" in broken.message


async def test_single_rows_rejected_rows_and_empty_ranges_arrive(plugins: Plugins) -> None:
    provider = await plugins.provider(HISTORY)
    batches = [b async for b in provider.fetch_bars([BarRequest("ROWS", "1min", 0, 60 * MINUTE)])]
    columns = next(b.columns for b in batches if b.columns is not None)
    rejected = [row for b in batches for row in b.rejected]
    empty = [one for b in batches for one in b.empty]
    assert len(columns) == 25
    assert np.isnan(columns.volume[0])
    assert columns.volume[1] == 10.0
    assert [(row.detail, row.payload, row.time_ns) for row in rejected] == [("close is null", {"c": None}, 5)]
    assert [(one.start_ns, one.end_ns, one.no_trade) for one in empty] == [(0, 60 * MINUTE, True)]


async def test_symbols_and_constituents_arrive_with_all_that_is_known(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def symbols(self, exchange=""):
            yield self.instrument("BTC/USD", asset_class="coin", name="Bitcoin", base_currency="BTC",
                                  quote_currency="USD", external_id="XXBTZUSD", matcher_symbol="BTC")
            yield RejectedRow("no symbol", {"x": 1})

        async def constituents(self, index, as_of):
            return [Constituent(symbol="BTC", weight=0.75), Constituent(symbol=str(as_of))]
        """
    )
    pages = [page async for page in provider.list_symbols()]
    members = await provider.constituents("top", dt.date(2026, 1, 31))
    found = pages[0][0]
    assert (found.symbol, found.asset_class, found.external_id, found.matcher_symbol) == (
        "BTC/USD",
        "crypto",
        "XXBTZUSD",
        "BTC",
    )
    assert [(one.symbol, one.weight) for one in members] == [("BTC", 0.75), ("2026-01-31", None)]


async def test_what_a_class_does_not_override_is_unimplemented(plugins: Plugins) -> None:
    provider = await plugins.provider("")
    assert provider.manifest.capabilities == ()
    [end] = [batch async for batch in provider.fetch_bars([HOUR])]
    assert isinstance(end.error, Unsupported)
    with pytest.raises(errors.Unimplemented, match="no source of indices"):
        await provider.constituents()


LIVE = """
    step = Preference(1)

    async def live(self, feed):
        number = 0
        while True:
            for symbol in list(feed.symbols):
                number += 1
                yield symbol, Tick(number * 1000, price=float(number), size=float(self.step), trade_id=number)
                yield symbol, Tick(number * 1000, kind=TickKind.QUOTE, bid_price=1.0, ask_price=2.0)
                yield symbol, "1min", Bar(number * 60_000_000_000, 1.0, 1.0, 1.0, 1.0, state=BarState.FORMING)
                yield "STRANGER", Tick(1, price=1.0)
            await asyncio.sleep(0.005)
"""


async def test_live_rows_arrive_by_kind_with_the_time_of_arrival(plugins: Plugins) -> None:
    provider = await plugins.provider(LIVE)
    kinds, bars, strangers = set(), 0, 0
    ids = {("A", ""): 77, ("A", "1min"): 78}
    async for batch in provider.stream_live([LiveSymbol("A", intervals=("1min",))], series_ids=ids):
        for chunk in batch.tick_chunks:
            assert chunk.symbol == "A"
            assert chunk.series_id == 77
            assert chunk.columns.receive_time_ns is not None
            assert chunk.columns.receive_time_ns.min() > 0
            kinds.add(chunk.kind)
        bars += sum(len(chunk.columns) for chunk in batch.bar_chunks if chunk.series_id == 78)
        strangers += sum("not subscribed" in getattr(notice, "detail", "") for notice in batch.notices)
        if bars > 5 and strangers and len(kinds) == 2:
            break
    assert kinds == {TickKind.TRADE, TickKind.QUOTE}


async def test_symbols_join_and_leave_a_running_stream(plugins: Plugins) -> None:
    provider = await plugins.provider(LIVE)
    seen: set[str] = set()
    async for batch in provider.stream_live([LiveSymbol("A")]):
        seen |= set(batch.ticks)
        if seen == {"A"}:
            await provider.update_live([LiveSymbol("B")], ["A"])
        if "B" in seen and set(batch.ticks) == {"B"}:
            break
    assert seen == {"A", "B"}


async def test_a_preference_changes_while_the_stream_runs(plugins: Plugins) -> None:
    provider = await plugins.provider(LIVE, preferences={"step": 1})
    changed = None
    async for batch in provider.stream_live([LiveSymbol("A")]):
        sizes = {float(x) for c in batch.tick_chunks if c.columns.size is not None for x in c.columns.size if x == x}
        if sizes == {1.0} and changed is None:
            changed = await plugins.pool.reload(provider_code(LIVE, preferences={"step": 5}))
        if sizes == {5.0}:
            break
    assert changed is Reload.RECONFIGURED


async def test_a_refused_preference_leaves_the_former_one_in_force(plugins: Plugins) -> None:
    await plugins.provider(LIVE, preferences={"step": 1})
    with pytest.raises(errors.InvalidArgument, match="preference step must be of type int"):
        await plugins.pool.reload(provider_code(LIVE, preferences={"step": "many"}))
    assert plugins.pool.keeper(Kind.PROVIDER, "mine").code.preferences == {"step": 1}


CLOCKED = """
    version = "{version}"

    async def live(self, feed):
        # Like a venue, every process sees the same trades: one every 2 ms, numbered by the clock.
        number = time.time_ns() // 2_000_000
        while True:
            now = time.time_ns() // 2_000_000
            while number < now:
                number += 1
                yield "A", Tick(number * 2_000_000, price=100.0, size=1.0, trade_id=number)
            await asyncio.sleep(0.001)
"""


async def test_a_swap_of_versions_drops_no_live_row_and_repeats_none(plugins: Plugins) -> None:
    provider = await plugins.provider(CLOCKED.format(version="1"), version=1)
    former = provider.keeper.process
    assert former is not None
    ids: list[int] = []
    swapped = 0

    async def swap() -> None:
        nonlocal swapped
        outcome = await plugins.pool.reload(provider_code(CLOCKED.format(version="2"), version=2))
        assert outcome is Reload.SWAPPED
        swapped = len(ids)

    async with asyncio.TaskGroup() as group:
        async for batch in provider.stream_live([LiveSymbol("A")]):
            if not ids:
                group.create_task(swap())
            ids += [
                number
                for chunk in batch.tick_chunks
                if chunk.columns.trade_id is not None
                for number in chunk.columns.trade_id.tolist()
            ]
            if swapped and len(ids) > swapped + 400:
                break
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert provider.manifest.author_version == "2"
    assert former.ended.is_set()


async def test_a_new_version_that_does_not_start_leaves_the_former_one_running(plugins: Plugins) -> None:
    provider = await plugins.provider(LIVE, version=1)
    pid = provider.keeper.process.pid if provider.keeper.process else 0
    with pytest.raises(errors.PluginFailed, match="ZeroDivisionError"):
        await plugins.pool.reload(provider_code("x = 1 / 0", version=2))
    assert provider.keeper.process is not None
    assert provider.keeper.process.pid == pid
    assert provider.keeper.code.version == 1


async def test_a_live_stream_goes_on_after_its_process_was_killed(plugins: Plugins) -> None:
    provider = await plugins.provider(LIVE)
    states: list[ConnectionState] = []
    rows_after = 0
    killed = False
    async for batch in provider.stream_live([LiveSymbol("A")]):
        states += [notice.state for notice in batch.notices if isinstance(notice, ConnectionNotice)]
        if batch.ticks and not killed:
            killed = True
            assert provider.keeper.process is not None
            provider.keeper.process._kill()
        elif batch.ticks and ConnectionState.DISCONNECTED in states:
            rows_after += 1
            break
    assert rows_after
    assert [notice.cause.value for notice in plugins.notices] == ["crashed"]
    assert plugins.pool.processes()[0].restarts == 1


async def test_historical_ticks_arrive(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def ticks(self, request):
            yield Tick(request.start_ns, price=1.0, size=2.0, trade_id=(request.after_trade_id or 0) + 1)
        """
    )
    batches = [b async for b in provider.fetch_ticks([TickRequest("A", 5, 10, after_trade_id=41)])]
    columns = batches[0].columns
    assert columns is not None
    assert columns.trade_id is not None
    assert columns.trade_id.tolist() == [42]


LOOP = """
    async def live(self, feed):
        loop = type(asyncio.get_running_loop()).__module__
        paths = [f"/proc/self/fd/{number}" for number in range(64)]
        opened = [os.readlink(path) for path in paths if os.path.lexists(path)]
        yield RejectedRow(loop, {"opened": " ".join(opened)})
        await asyncio.sleep(60)
"""


async def test_a_plug_in_runs_on_the_loop_of_services_and_holds_no_ring(plugins: Plugins) -> None:
    pytest.importorskip("uvloop")
    provider = await plugins.provider(LOOP)
    async for batch in provider.stream_live([LiveSymbol("A")]):
        [row] = [notice for notice in batch.notices if isinstance(notice, RejectedRow)]
        break
    assert row.detail.startswith("uvloop")
    assert "eventpoll" in str(row.payload["opened"])
    assert "io_uring" not in str(row.payload["opened"])


SPOKEN = """
    import quasar.plugins.host.plugin_service as service

    class Spoken:  # as a plug-in in another language may answer
        PERMIT_MODE_PLUGIN_ACQUIRES = 0

        def __getattr__(self, name):
            from quasar_proto.plugin.v1 import plugin_pb2
            return getattr(plugin_pb2, name)

        def DescribeResponse(self, **fields):
            return self.__getattr__("DescribeResponse")(**{**fields, "contract_version": VERSION})

    service.plugin_pb2 = Spoken()
"""


async def test_a_plug_in_that_does_not_say_who_asks_for_permits_is_charged_for_all_that_it_is_asked(
    plugins: Plugins,
) -> None:
    provider = await plugins.provider(
        SPOKEN.replace("VERSION", "1")
        + """
    rate_limit = (100, 3600)

    async def bars(self, request):
        yield Bar(request.start_ns, 1.0, 1.0, 1.0, 1.0)

    async def symbols(self, exchange=""):
        yield self.instrument("A")

    async def constituents(self, index, as_of):
        return []
"""
    )

    def left() -> int:
        return provider.budget.remaining[0][1]

    requests = [BarRequest(name, "1min", 0, MINUTE) for name in ("A", "B")]
    ends = [batch async for batch in provider.fetch_bars(requests) if batch.done]
    assert ([batch.tally.calls for batch in ends], left()) == ([1, 1], 98)
    assert [len(page) async for page in provider.list_symbols()] == [1]
    await provider.constituents()
    assert (left(), provider.budget.in_flight) == (96, 0)


async def test_a_plug_in_of_a_newer_contract_is_refused(plugins: Plugins) -> None:
    with pytest.raises(errors.CodeRejected, match="must speak version 1 at most, speaks version 2"):
        await plugins.provider(SPOKEN.replace("VERSION", "2"))


async def test_what_a_plug_in_says_about_its_settings_goes_to_the_log_without_secrets(plugins: Plugins) -> None:
    provider = await plugins.provider(
        SPOKEN.replace("VERSION", "1")
        + """
    class Remarks(Spoken):
        def ConfigureResponse(self, **fields):
            return self.__getattr__("ConfigureResponse")(**fields, message="the key t0k3n-value has read access only")

    service.plugin_pb2 = Remarks()
""",
        secrets={"token": "t0k3n-value"},
    )
    process = provider.keeper.process
    assert process is not None
    assert "the key *** has read access only" in process.output.lines
