"""`quasar dev record` and `replay`: a vendor is asked once, and played back when it is gone."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from click.testing import CliRunner, Result

from quasar import errors
from quasar.cli.dev import dev
from quasar.cli.player import Player
from quasar.sdk.recording import read_recording
from quasar.testing.databento_server import DEMO_KEY
from quasar.testing.vendors import KrakenServer, SimulatedExchange
from tests.integration.providers import stages
from tests.unit.recorded import recorded

SECRET = "s3cret/value+1"
PROVIDER = """
from quasar.provider import Bar, LiveSymbol, Provider, SymbolNotice, SymbolState, Tick, WebSocketProvider


class Vendor(WebSocketProvider):
    name = "vendor"
    intervals = ("1min",)
    hosts = ("127.0.0.1:{port}",)
    secrets = ("token",)
    url = "ws://127.0.0.1:{port}/feed"

    async def bars(self, request):
        since = request.start_ns
        while True:
            params = {{"symbol": request.symbol, "since": since, "token": self.secret("token")}}
            key = {{"X-Key": self.secret("token")}}
            page = await self.http.json("http://127.0.0.1:{port}/bars", params, headers=key)
            for time_ns, price in page["rows"]:
                yield Bar(time_ns, price, price, price, price)
            since = page["next"]
            if not since:
                return

    async def symbols(self, exchange=""):
        body = {{"login": self.secret("token")}}
        answer = await self.http.request("POST", "http://127.0.0.1:{port}/symbols", body=body)
        for name in answer.json()["names"]:
            yield self.instrument(name)

    def greet(self):
        return [{{"login": self.secret("token")}}]

    def subscribe(self, symbols):
        return [{{"subscribe": [symbol.symbol for symbol in symbols]}}]

    def parse(self, message):
        if "subscribed" in message:
            return [SymbolNotice(message["subscribed"], SymbolState.SUBSCRIBED)]
        return [(message["s"], Tick(message["t"], price=message["p"], size=1.0))]
"""


class Vendor:
    """A vendor with pages of bars, a list of symbols behind a POST, and a feed that wants a login."""

    def __init__(self) -> None:
        self.requests = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        app = web.Application()
        app.router.add_get("/bars", self.bars)
        app.router.add_post("/symbols", self.symbols)
        app.router.add_get("/feed", self.feed)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def bars(self, request: web.Request) -> web.Response:
        self.requests += 1
        assert request.query["token"] == SECRET
        since = int(request.query["since"])
        first = -(-since // 60_000_000_000)
        rows = [[(first + number) * 60_000_000_000, 100.0 + number] for number in range(3)]
        more = 0 if self.requests > 1 else rows[-1][0] + 1
        return web.json_response({"rows": rows, "next": more, "you": SECRET}, headers={"Set-Cookie": "id=abcdef"})

    async def symbols(self, request: web.Request) -> web.Response:
        assert (await request.json())["login"] == SECRET
        return web.json_response({"names": ["AAA", "BBB"], "access_token": "0123456789abcdef0123"})

    async def feed(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            told = json.loads(message.data)
            for name in told.get("subscribe", ()):
                await socket.send_json({"subscribed": name})
                for number in range(5):
                    await socket.send_json({"s": name, "t": 1_700_000_000_000_000_000 + number, "p": 10.0 + number})
        return socket


@contextmanager
def running(vendor: Any) -> Iterator[int]:
    """Serve the vendor beside the command, which has a loop of its own."""
    ready, stop = threading.Event(), threading.Event()
    port = 0

    async def serve() -> None:
        nonlocal port
        async with vendor.serve() as port:
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield port
    finally:
        stop.set()
        thread.join()


def quasar_dev(*words: str) -> Result:
    return CliRunner().invoke(dev, words, catch_exceptions=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_was_recorded_is_shown_again_when_the_vendor_is_gone_and_holds_no_secret(here: Path) -> None:
    tail = ("--secret", f"token={SECRET}", "--json")
    span = ("--start", "2026-01-01", "--end", "2026-01-02")
    with running(Vendor()) as port:
        (here / "feed.py").write_text(PROVIDER.format(port=port))
        bars = quasar_dev("record", "bars.jsonl", "bars", "feed.py", "AAA", *span, *tail)
        ticks = quasar_dev("record", "ticks.jsonl", "ticks", "feed.py", "AAA", "--limit", "5", *tail)
        symbols = quasar_dev("record", "symbols.jsonl", "symbols", "feed.py", *tail)
    assert [len(json.loads(one.stdout)) for one in (bars, ticks, symbols)] == [6, 5, 2]
    for kept, seen in (("bars", bars), ("ticks", ticks), ("symbols", symbols)):
        text = (here / f"{kept}.jsonl").read_text()
        assert SECRET not in text
        assert not any(word in text for word in ("s3cret", "abcdef0123", "id=abcdef"))
        assert quasar_dev("replay", f"{kept}.jsonl").stdout == seen.stdout


def test_another_question_than_the_recorded_one_gets_the_nearest_answer_or_says_what_is_missing(here: Path) -> None:
    with running(Vendor()) as port:
        (here / "feed.py").write_text(PROVIDER.format(port=port))
        words = (
            "bars",
            "feed.py",
            "AAA",
            "--start",
            "2026-01-01",
            "--end",
            "2026-01-02",
            "--secret",
            f"token={SECRET}",
        )
        assert quasar_dev("record", "bars.jsonl", *words).exit_code == 0
    nearest = quasar_dev(
        "replay",
        "bars.jsonl",
        "bars",
        "feed.py",
        "AAA",
        "--start",
        "2026-01-01T12:00:00",
        "--end",
        "2026-01-02",
        "--json",
    )
    assert len(json.loads(nearest.stdout)) == 6
    with pytest.raises(errors.NotFound, match=r"the recording holds no POST http://127\.0\.0\.1:"):
        quasar_dev("replay", "bars.jsonl", "symbols", "feed.py")


OWN_CLIENT = """
import aiohttp
from quasar.provider import Bar, Preference, Provider, Tick


class Vendor(Provider):
    name = "vendor"
    intervals = ("1min",)
    hosts = ("127.0.0.1:{port}",)
    secrets = ("token",)
    address = Preference("http://127.0.0.1:{port}")
    feed = Preference("ws://127.0.0.1:{port}/feed")

    async def bars(self, request):
        params = {{"symbol": request.symbol, "since": request.start_ns, "token": self.secret("token")}}
        async with aiohttp.ClientSession() as session, session.get(f"{{self.address}}/bars", params=params) as found:
            for time_ns, price in (await found.json())["rows"]:
                yield Bar(time_ns, price, price, price, price)

    async def live(self, feed):
        async with aiohttp.ClientSession() as session, session.ws_connect(self.feed) as socket:
            await socket.send_json({{"login": self.secret("token")}})
            await socket.send_json({{"subscribe": list(feed.symbols)}})
            async for message in socket:
                told = message.json()
                if "s" in told:
                    yield told["s"], Tick(told["t"], price=told["p"], size=1.0)
"""


def test_a_library_with_connections_of_its_own_is_recorded_through_the_preferences_with_its_addresses(
    here: Path,
) -> None:
    tail = ("--secret", f"token={SECRET}", "--json")
    bars = ("bars", "own.py", "AAA", "--start", "2026-01-01", "--end", "2026-01-02", *tail)
    ticks = ("ticks", "own.py", "AAA", "--limit", "5", *tail)
    with running(Vendor()) as port:
        (here / "own.py").write_text(OWN_CLIENT.format(port=port))
        led = ("--through", f"address=http://127.0.0.1:{port}", "--through", f"feed=ws://127.0.0.1:{port}/feed")
        shown = {
            "bars.jsonl": quasar_dev("record", *led, "bars.jsonl", *bars),
            "ticks.jsonl": quasar_dev("record", *led, "ticks.jsonl", *ticks),
        }
        straight = quasar_dev("record", "none.jsonl", *bars)
        elsewhere = quasar_dev("record", "--through", f"adress=http://127.0.0.1:{port}", "none.jsonl", *bars)
    assert [len(json.loads(one.stdout)) for one in shown.values()] == [3, 5]
    assert "nothing came through feed" in shown["bars.jsonl"].stderr
    assert "--through NAME=URL" in straight.stderr
    assert "nothing came through adress: is it the preference" in elsewhere.stderr
    for name, seen in shown.items():
        text = (here / name).read_text()
        assert SECRET not in text
        assert "s3cret" not in text
        replayed = quasar_dev("replay", name)
        assert replayed.stdout == seen.stdout, replayed.stderr


class Simulated:
    """Kraken's protocol over a simulated market, which ccxt speaks."""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        async with KrakenServer(SimulatedExchange()) as server:
            yield int(server.rest_url.rpartition(":")[2])


class Sampled:
    """Databento's protocol over its own samples."""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        async with stages.databento(Path()) as stage:
            yield int(stage.preferences["base_url"].rpartition(":")[2])


@pytest.mark.parametrize(
    ("library", "vendor", "kind", "address", "words"),
    [
        ("ccxt", Simulated(), "Ccxt", "rest_url", ("BTC/USD", "--interval", "1min", "--set", "pace=1")),
        (
            "databento",
            Sampled(),
            "Databento",
            "base_url",
            ("ESH1", "--interval", "1min", "--set", "dataset=GLBX.MDP3", "--secret", f"api_key={DEMO_KEY}"),
        ),
    ],
)
def test_the_libraries_of_vendors_are_recorded_and_played_back(
    here: Path, library: str, vendor: Any, kind: str, address: str, words: tuple[str, ...]
) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    hour = dt.timedelta(hours=1)
    end = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0) - hour
    if library == "databento":
        recorded("databento/test_data.ohlcv-1m.dbn.zst")  # skips where the samples are not there
        end = dt.datetime(2020, 12, 28, 14)  # noqa: DTZ001 - the command takes UTC without saying so
    span = ("--start", (end - hour).isoformat(), "--end", end.isoformat(), "--json")
    (here / "mine.py").write_text(
        f"from quasar.providers.{library} import {kind}\n\n\nclass Mine({kind}):\n    name = 'mine'\n"
    )
    with running(vendor) as port:
        through = ("--through", f"{address}=http://127.0.0.1:{port}")
        seen = quasar_dev("record", *through, "kept.jsonl", "bars", "mine.py", *words, *span)
    assert seen.exit_code == 0, seen.stderr
    assert json.loads(seen.stdout)
    assert DEMO_KEY not in (here / "kept.jsonl").read_text()
    replayed = quasar_dev("replay", "kept.jsonl")
    assert replayed.stdout == seen.stdout, replayed.stderr


def test_a_recording_takes_nothing_but_the_recording_from_a_plug_ins_folder(here: Path) -> None:
    private = here / "private"
    private.write_text('{"kind": "closed", "connection": 1, "what": "private"}\n')
    (here / "sly.py").write_text(
        "import os\nfrom quasar.provider import Provider\n\n\nclass Sly(Provider):\n    name = 'sly'\n"
        "    async def symbols(self, exchange=''):\n        os.unlink('recording.jsonl')\n"
        f"        os.symlink({str(private)!r}, 'recording.jsonl')\n        yield self.instrument('A')\n"
    )
    assert quasar_dev("record", "kept.jsonl", "symbols", "sly.py").exit_code == 0
    assert "private" not in (here / "kept.jsonl").read_text()


def test_without_a_command_there_must_be_a_known_one(here: Path) -> None:
    (here / "none.jsonl").write_text("{}\n")
    assert quasar_dev("record", "x.jsonl", "check", "feed.py").exit_code == 2


async def test_answers_come_in_the_order_of_the_recording_and_the_last_one_stays(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [{"format": "quasar-recording", "version": 1, "time_ns": 1}]
    url = "https://api.example.com/x?a=1&token=***"
    for number, answer in enumerate(("first", "second")):
        fields = {"at": number, "kind": "http", "method": "GET", "url": url, "body": "", "elapsed_s": 0.1}
        lines.append({**fields, "status": 200, "headers": {"content-type": "text/plain"}, "answer": answer})
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    from aiohttp import ClientSession

    async with Player(read_recording(path)).serve() as player, ClientSession() as session:
        url = f"http://127.0.0.1:{player.port}/https/api.example.com/x"
        got = []
        for _ in range(3):
            async with session.get(url, params={"token": "mine", "a": "1"}) as found:
                got.append(await found.text())
        async with session.get(f"{url}/y") as refused:
            missing = (refused.status, await refused.text())
    assert got == ["first", "second", "second"]
    assert missing == (404, "the recording holds no GET https://api.example.com/x/y")
