"""The provider SDK: sources are short, vendors' moods are handled, secrets stay out of errors."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve

from quasar import errors
from quasar.clock import SystemClock
from quasar.provider import (
    Bar,
    BarRequest,
    ConnectionNotice,
    ConnectionState,
    Context,
    Feed,
    GapNotice,
    Host,
    HttpOptions,
    LiveItem,
    LiveSymbol,
    Patience,
    Preference,
    Provider,
    RateLimit,
    RejectedRow,
    SymbolNotice,
    SymbolState,
    Throttled,
    Tick,
    Unauthorised,
    WebSocketProvider,
)
from quasar.sdk.declarations import rate_limits
from quasar.sdk.http import HttpClient, retry_after_s
from quasar.sdk.jitter import FullJitter
from quasar.sdk.permits import CallOutcome
from quasar.sdk.redaction import Redaction


class Impatient(SystemClock):
    """Notes how long code wanted to wait, and does not wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0.005 if seconds >= 1.0 else 0)


# The whole of a CSV source, imports aside: at most 25 lines.
class CsvSource(Provider):
    """Daily bars from a CSV text."""

    name = "csv"
    intervals = ("1d",)
    text = "2026-01-05,1,2,0.5,1.5,10\n2026-01-06,1.5,3,1,2,20\n"

    async def bars(self, request: BarRequest) -> AsyncIterator[Bar]:
        for day, *prices in csv.reader(io.StringIO(self.text)):
            yield Bar.at(dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC), *map(float, prices))


# The whole of a live source, imports aside: at most 40 lines.
class LiveSource(WebSocketProvider):
    """Trades of a venue that confirms subscriptions."""

    name = "venue"
    patience = Patience(acknowledge_s=0.0, heartbeat_s=5.0)
    url = ""

    async def endpoint(self) -> str:
        return self.url

    def subscribe(self, symbols: Sequence[LiveSymbol]) -> Iterable[Any]:
        yield {"subscribe": [symbol.symbol for symbol in symbols]}

    def unsubscribe(self, symbols: Sequence[LiveSymbol]) -> Iterable[Any]:
        yield {"unsubscribe": [symbol.symbol for symbol in symbols]}

    def parse(self, message: Any) -> Iterable[LiveItem]:
        if "confirmed" in message:
            yield SymbolNotice(message["confirmed"], SymbolState.SUBSCRIBED)
        elif "price" in message:
            yield message["symbol"], Tick(message["time"], price=float(message["price"]))


class Collected:
    """A sink that keeps what it is given and says when something is there."""

    def __init__(self) -> None:
        self.items: list[LiveItem] = []
        self._more = asyncio.Event()

    def put(self, item: LiveItem) -> None:
        self.items.append(item)
        self._more.set()

    async def ready(self) -> None:
        await asyncio.sleep(0)

    async def until(self, holds: Callable[[list[LiveItem]], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds(self.items):
                self._more.clear()
                await self._more.wait()

    def states(self) -> list[ConnectionState]:
        return [item.state for item in self.items if isinstance(item, ConnectionNotice)]


async def test_a_csv_source_yields_its_rows() -> None:
    bars = [bar async for bar in CsvSource().bars(BarRequest("X", "1d", 0, 2**62))]
    assert [(bar.open_time.day, bar.close, bar.volume) for bar in bars] == [(5, 1.5, 10.0), (6, 2.0, 20.0)]


def test_a_class_can_do_what_it_overrides() -> None:
    assert [one.value for one in CsvSource.capabilities()] == ["HISTORICAL"]
    assert [one.value for one in LiveSource.capabilities()] == ["LIVE"]


def test_names_follow_from_classes() -> None:
    class MyFineProvider(Provider):
        pass

    assert MyFineProvider.registered_name() == "my_fine"


def test_preferences_are_typed_bounded_and_taken_all_or_none() -> None:
    class Tuned(Provider):
        page = Preference(100, minimum=1, maximum=500)
        mode = Preference("fast", choices=("fast", "full"))

    tuned = Tuned(preferences={"page": 50})
    with pytest.raises(errors.InvalidArgument, match="preference page must be at most 500, was 501"):
        tuned.apply_preferences({"mode": "full", "page": 501})
    assert (tuned.page, tuned.mode) == (50, "fast")
    with pytest.raises(errors.InvalidArgument, match="must be among page, mode, was pages"):
        tuned.apply_preferences({"pages": 1})


def test_hosts_and_limits_have_short_forms() -> None:
    assert Host.parse("api.example.com") == Host("api.example.com", 443)
    assert str(Host.parse("feed.example.com:9443")) == "feed.example.com:9443"
    with pytest.raises(errors.InvalidArgument, match="a host name such as"):
        Host.parse("https://api.example.com/")
    assert rate_limits((60, 60)) == (RateLimit(60, 60.0),)
    with pytest.raises(errors.InvalidArgument, match="at least one call"):
        RateLimit(0, 1.0)


def test_an_instrument_takes_what_a_vendor_writes() -> None:
    found = CsvSource().instrument("BTC/USD", asset_class="Coin", quote_currency="usd", matcher_symbol="BTC")
    assert (found.provider, found.asset_class, found.quote_currency, found.matcher_symbol) == (
        "csv",
        "crypto",
        "USD",
        "BTC",
    )


# HTTP


class Counting:
    """Permits that note how each call ended."""

    def __init__(self) -> None:
        self.outcomes: list[CallOutcome] = []

    @asynccontextmanager
    async def call(self, weight: int = 1) -> AsyncIterator[CallOutcome]:
        outcome = CallOutcome()
        yield outcome
        self.outcomes.append(outcome)


class Vendor:
    """A local server that answers as it was told."""

    def __init__(self, *answers: web.Response) -> None:
        self.answers = list(answers)
        self.queries: list[dict[str, str]] = []
        self.clock = Impatient()
        self.permits = Counting()

    async def _answer(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        return self.answers.pop(0)

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[HttpClient]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        client = HttpClient(
            HttpOptions(base_url=f"http://127.0.0.1:{port}/", **options),
            permits=self.permits,
            clock=self.clock,
            jitter=FullJitter(lambda: 0.5),
            redaction=Redaction(lambda: ["s3cr3t-token"]),
        )
        try:
            yield client
        finally:
            await client.close()
            await runner.cleanup()


async def test_a_busy_vendor_is_asked_again_after_the_time_that_it_names() -> None:
    vendor = Vendor(
        web.Response(status=429, headers={"Retry-After": "7"}),
        web.Response(status=418, headers={"Retry-After": "3"}),
        web.json_response({"ok": 1}),
    )
    async with vendor.client() as client:
        assert await client.json("x", {"a": 1, "b": None}) == {"ok": 1}
    assert vendor.clock.waits[:2] == [7.0, 3.0]
    assert vendor.queries[0] == {"a": "1"}
    assert [(one.http_status, one.retry_after_s) for one in vendor.permits.outcomes] == [
        (429, 7.0),
        (418, 3.0),
        (200, None),
    ]


async def test_a_failing_vendor_is_asked_again_with_full_jitter_and_then_given_up() -> None:
    vendor = Vendor(*(web.Response(status=502, text="bad gateway") for _ in range(3)))
    async with vendor.client(attempts=3) as client:
        with pytest.raises(errors.VendorFailed, match="was answered with 502: bad gateway"):
            await client.json("x")
    assert vendor.clock.waits[:2] == [0.25, 0.5]


async def test_a_vendor_that_wants_a_long_pause_ends_the_call_at_once() -> None:
    vendor = Vendor(web.Response(status=429, headers={"Retry-After": "3600"}))
    async with vendor.client() as client:
        with pytest.raises(Throttled) as raised:
            await client.json("x")
    assert raised.value.retry_after_s == 3600.0


async def test_what_asking_again_does_not_cure_is_told_by_its_kind() -> None:
    vendor = Vendor(web.Response(status=401), web.Response(status=404), web.Response(status=400, text="no such field"))
    async with vendor.client() as client:
        with pytest.raises(Unauthorised):
            await client.json("x")
        with pytest.raises(errors.NotFound):
            await client.json("x")
        with pytest.raises(errors.VendorFailed, match="400: no such field"):
            await client.json("x")
    assert vendor.clock.waits == []


async def test_what_may_not_be_repeated_is_made_once() -> None:
    vendor = Vendor(web.Response(status=500))
    async with vendor.client() as client:
        with pytest.raises(errors.VendorFailed):
            await client.request("POST", "orders", body={"a": 1})


async def test_no_error_shows_a_secret() -> None:
    vendor = Vendor(web.Response(status=400, text="bad token s3cr3t-token in /x?api_token=s3cr3t-token"))
    async with vendor.client() as client:
        with pytest.raises(errors.VendorFailed) as raised:
            await client.json("x", {"api_token": "s3cr3t-token"})
    assert "s3cr3t" not in str(raised.value)
    assert "***" in str(raised.value)


async def test_an_answer_that_is_no_json_says_so() -> None:
    vendor = Vendor(web.Response(text="<html>maintenance</html>"))
    async with vendor.client() as client:
        with pytest.raises(errors.VendorFailed, match="must be JSON, was '<html>maintenance"):
            await client.json("x")


def test_retry_after_may_be_a_date() -> None:
    now = dt.datetime(2026, 1, 5, 12, 0, tzinfo=dt.UTC)
    assert retry_after_s("Mon, 05 Jan 2026 12:00:30 GMT", now) == 30.0
    assert retry_after_s("soon", now) is None


# WebSocket


@asynccontextmanager
async def venue(behave: Callable[[ServerConnection], Any]) -> AsyncIterator[str]:
    async with serve(behave, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@asynccontextmanager
async def following(url: str, feed: Feed) -> AsyncIterator[Collected]:
    source = LiveSource(Context(name="venue", clock=Impatient()))
    source.url = url  # type: ignore[misc]  # this instance's only
    sink = Collected()
    pumping = asyncio.create_task(source.pump(feed, sink))
    try:
        yield sink
    finally:
        pumping.cancel()
        await asyncio.wait([pumping])


async def test_a_feed_subscribes_parses_and_follows_changes() -> None:
    heard: list[Any] = []

    async def behave(socket: ServerConnection) -> None:
        async for raw in socket:
            message = json.loads(raw)
            heard.append(message)
            for symbol in message.get("subscribe", ()):
                await socket.send(json.dumps({"confirmed": symbol}))
                await socket.send(json.dumps({"symbol": symbol, "price": "1.5", "time": 7}))

    feed = Feed([LiveSymbol("A")])
    async with venue(behave) as url, following(url, feed) as sink:
        await sink.until(lambda items: ("A", Tick(7, price=1.5)) in items)
        feed.update(add=[LiveSymbol("B")], remove=["A"])
        await sink.until(lambda items: ("B", Tick(7, price=1.5)) in items)
    assert heard == [{"subscribe": ["A"]}, {"unsubscribe": ["A"]}, {"subscribe": ["B"]}]
    assert SymbolNotice("A", SymbolState.SUBSCRIBED) in sink.items


async def test_a_broken_connection_is_made_again_with_all_subscriptions_and_a_gap_told() -> None:
    connections = 0

    async def behave(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        message = json.loads(await socket.recv())
        for symbol in message["subscribe"]:
            await socket.send(json.dumps({"confirmed": symbol}))
        if connections == 1:
            await socket.close(1012, "restart")
        else:
            await socket.send(json.dumps({"symbol": "A", "price": "2", "time": 9}))
            await socket.wait_closed()

    async with venue(behave) as url, following(url, Feed([LiveSymbol("A"), LiveSymbol("B")])) as sink:
        await sink.until(lambda items: ("A", Tick(9, price=2.0)) in items)
    states = sink.states()
    assert states[:2] == [ConnectionState.CONNECTING, ConnectionState.CONNECTED]
    assert ConnectionState.DISCONNECTED in states
    assert any(isinstance(item, GapNotice) for item in sink.items)
    assert sum(item == SymbolNotice("B", SymbolState.SUBSCRIBED) for item in sink.items) == 2


async def test_a_subscription_without_an_answer_is_repeated_and_then_refused() -> None:
    asked = 0

    async def behave(socket: ServerConnection) -> None:
        nonlocal asked
        async for _ in socket:
            asked += 1

    async with venue(behave) as url, following(url, Feed([LiveSymbol("A")])) as sink:
        await sink.until(lambda items: any(isinstance(one, SymbolNotice) for one in items))
    assert SymbolNotice("A", SymbolState.REFUSED, "no acknowledgement after 3 attempts") in sink.items
    assert asked == 3


async def test_a_message_that_cannot_be_parsed_is_rejected_and_the_feed_goes_on() -> None:
    async def behave(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send('{"symbol": "A", "price": "dear", "time": 1}')
        await socket.send('{"symbol": "A", "price": "3", "time": 2}')
        await socket.wait_closed()

    async with venue(behave) as url, following(url, Feed([LiveSymbol("A")])) as sink:
        await sink.until(lambda items: ("A", Tick(2, price=3.0)) in items)
    rejected = [item for item in sink.items if isinstance(item, RejectedRow)]
    assert "could not convert string to float: 'dear'" in rejected[0].detail
    assert '"dear"' in str(rejected[0].payload["message"])


async def test_too_many_reconnects_end_in_refusal_until_somebody_asks_for_another() -> None:
    async def behave(socket: ServerConnection) -> None:
        await socket.close(1013, "go away")

    feed = Feed([LiveSymbol("A")], reconnect_budget=3)
    async with venue(behave) as url, following(url, feed) as sink:
        await sink.until(lambda _: ConnectionState.REFUSED in sink.states())
        count = len(sink.states())
        feed.resync()
        await sink.until(lambda _: len(sink.states()) > count)
    assert sink.states().count(ConnectionState.DISCONNECTED) >= 3


async def test_refused_credentials_end_the_feed() -> None:
    def refuse(connection: ServerConnection, _request: Any) -> Any:
        return connection.respond(403, "key revoked")

    async def behave(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with serve(behave, "127.0.0.1", 0, process_request=refuse) as server:
        source = LiveSource(Context(name="venue", clock=Impatient()))
        source.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"  # type: ignore[misc]
        with pytest.raises(Unauthorised, match="refused the connection with 403"):
            await source.pump(Feed(), Collected())
