"""Changes of a running stream that meet each other, or its end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from datahub.live.symbols import LiveName, LiveSeries
from datahub.rpc.live_service import LiveService
from datahub.rpc.live_sessions import Session
from datahub.rpc.live_stream import flush_seconds
from datahub.series.series import Series, SeriesName
from datahub.stream.hub import FLUSH_S, Hub
from datahub.stream.log import LiveLog
from datahub.stream.reader import Policy
from datahub.stream.selection import Item, Selection
from datahub.stream.topic import Content, Topic
from quasar import errors
from quasar.testing.clock import FakeClock
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1 import stream_pb2


def item(selector_id: str, series_id: int) -> Item:
    series = Series(series_id=series_id, name=SeriesName("vendor", selector_id, ""))
    live = LiveSeries(LiveName("vendor", selector_id), series, {})
    return Item(selector_id, selector_id, Content.TRADES, Topic(series_id, Content.TRADES), live=live)


class Selectors:
    """Answers when a test lets it."""

    def __init__(self) -> None:
        self.goes = asyncio.Event()
        self.asked = asyncio.Event()

    async def selection(self, selectors: Any, taken: Any = frozenset(), *, patient: bool = True) -> Selection:
        await self._wait()
        return Selection({one.selector_id: [item(one.selector_id, 7)] for one in selectors}, {})

    async def again(self, selection: Selection) -> Selection:
        await self._wait()
        return Selection({name: list(items) for name, items in selection.items.items()}, dict(selection.selectors))

    async def _wait(self) -> None:
        self.asked.set()
        await self.goes.wait()


class Running:
    """A service with one stream."""

    def __init__(self) -> None:
        self.hub = Hub(LiveLog(7), FakeClock())
        self.selectors = Selectors()
        nobody: Any = SimpleNamespace(forming=lambda _: None, symbols_revision=0)
        selectors: Any = self.selectors
        self.service = LiveService(self.hub, nobody, nobody, nobody, selectors, FakeClock())
        selection = Selection({"one": [item("one", 1)], "two": [item("two", 2)]}, {"one": object(), "two": object()})
        reader = self.hub.join(selection.topics, Policy.LOSSLESS)
        self.session: Session = self.service._sessions.open("s", reader, selection)

    def update(self, **change: Any) -> asyncio.Task[Any]:
        """Begin to change the stream."""
        request = pb.UpdateSubscriptionsRequest(session_id="s", **change)
        return asyncio.create_task(self.service.update_subscriptions(request))

    def leave(self) -> None:
        """Let the client leave, as the end of its stream does."""
        self.hub.leave(self.session.reader)
        self.service._sessions.close(self.session)


async def test_what_a_client_removes_while_symbols_change_stays_removed() -> None:
    running = Running()
    following = asyncio.create_task(running.service.follow(running.session))
    await running.selectors.asked.wait()
    removing = running.update(remove_selector_ids=["two"])
    running.selectors.goes.set()
    await asyncio.gather(following, removing)
    # The other way round: the change is through before the look at the symbols is.
    other = Running()
    look = asyncio.create_task(other.service.follow(other.session))
    await other.selectors.asked.wait()
    other.session.selection.drop("two")
    other.selectors.goes.set()
    await look
    for one in (running, other):
        assert list(one.session.selection.items) == ["one"]
        assert {topic.series_id for topic in one.session.reader.topics} == {1}


async def test_a_change_of_a_stream_whose_client_left_meanwhile_leaves_no_reader_behind() -> None:
    running = Running()
    added = stream_pb2.MarketDataSelector(selector_id="more")
    changing = running.update(add=[added])
    await running.selectors.asked.wait()
    running.leave()
    running.selectors.goes.set()
    with pytest.raises(errors.NotFound):
        await changing
    assert running.hub.readers == 0


async def test_an_added_selector_without_data_ends_its_snapshot_too() -> None:
    running = Running()
    running.selectors.goes.set()
    await running.update(add=[stream_pb2.MarketDataSelector(selector_id="quiet")])
    assert running.session.begins
    assert running.session.phase == (stream_pb2.STREAM_PHASE_SNAPSHOT, ("quiet",))


@pytest.mark.parametrize(("asked_ms", "looks"), [(1, 1), (5, 1), (7, 1), (8, 2), (20, 4), (100, 20), (0, 4)])
def test_streams_share_their_flushes_whatever_they_wish_for(asked_ms: int, looks: int) -> None:
    request = pb.StreamMarketDataRequest()
    if asked_ms:
        request.flush_interval.FromMilliseconds(asked_ms)
    assert flush_seconds(request, Policy.LOSSLESS) == looks * FLUSH_S


async def test_what_becomes_live_while_a_stream_is_opened_is_followed() -> None:
    running = Running()
    feeds: Any = SimpleNamespace(symbols_revision=0, revision=0, facts_of=lambda _: None)
    running.service._feeds = feeds
    followed = asyncio.Event()

    async def again(selection: Selection) -> Selection:
        followed.set()
        return selection

    running.selectors.again = again  # type: ignore[method-assign]
    selector = stream_pb2.MarketDataSelector(selector_id="one")
    envelopes = running.service.stream_market_data(pb.StreamMarketDataRequest(selectors=[selector], snapshot=False))
    first = asyncio.ensure_future(anext(envelopes))
    await running.selectors.asked.wait()
    feeds.symbols_revision += 1
    running.selectors.goes.set()
    assert await first
    reading = asyncio.ensure_future(anext(envelopes))
    async with asyncio.timeout(30):
        await followed.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await envelopes.aclose()
