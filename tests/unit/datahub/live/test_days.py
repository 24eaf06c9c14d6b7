"""Live days: cut by the sessions of the market, closed by the clock, published only when they are whole."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import numpy as np
import pytest

from datahub.live.ingest import LiveIngest
from datahub.live.past import Past
from datahub.live.prices import PriceBoard
from datahub.live.storage import LiveStore
from datahub.live.symbols import LiveName, LiveSeries
from datahub.series.series import Series, SeriesName
from datahub.stream.topic import Content, Topic
from quasar.convert.columns import decode_bars
from quasar.convert.wire import read_fields
from quasar.model.bars import Bar, BarState
from quasar.model.instants import to_ns
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns
from quasar.testing.clock import FakeClock
from tests.unit.datahub.live.test_ingest import Told

TICKS, MINUTES, DAYS = 1, 2, 3


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text + "+00:00")


class Feed:
    """A feed of one share or coin, whose trades a test brings, at times that it moves to."""

    def __init__(self, group: asyncio.TaskGroup, start: str, exchange: str, asset_class: str) -> None:
        self.clock = FakeClock(at(start))
        self.published: list[tuple[Topic, bytes]] = []
        nobody: Any = None  # nothing is stored here
        gaps: Any = Told()
        ids = {"": TICKS, "1min": MINUTES, "1d": DAYS}
        series = {
            code: Series(
                series_id=number, name=SeriesName("vendor", "A", code), exchange=exchange, asset_class=asset_class
            )
            for code, number in ids.items()
        }
        live = LiveSeries(
            LiveName("vendor", "A"),
            series[""],
            {Interval.parse(code): one for code, one in series.items() if code},
            store_ticks=False,
            all_ids=frozenset(ids.values()),
        )

        def start_work(work: Any, name: str) -> None:
            group.create_task(work, name=name)

        self.ingest = LiveIngest(
            self,
            PriceBoard(),
            LiveStore(nobody, nobody, self.clock),
            gaps,
            self.clock,
            start_work,
        )
        self.ingest.follow(live, Past())

    def publish(self, topic: Topic, field: bytes, rows: int) -> None:
        """Keep what is published, however long ago."""
        self.published.append((topic, field))

    def forget(self, series_ids: object) -> None:
        """Nothing is forgotten."""

    async def until(self, text: str) -> None:
        await self.clock.advance((at(text) - self.clock.now()).total_seconds())
        self.ingest.tick()

    async def trade(self, text: str, price: float, size: float = 1.0) -> None:
        """Trade at a time, which is then; a time that is over is a late trade."""
        if at(text) > self.clock.now():
            await self.until(text)
        times = np.array([to_ns(at(text))], np.int64)
        self.ingest.take(TICKS, TickColumns(times, np.array([price]), np.array([size])), self._fetch)
        for _ in range(10):
            await asyncio.sleep(0)

    async def _fetch(self, symbol: str, start_ns: int, end_ns: int, after_trade_id: int | None) -> TickColumns:
        return TickColumns.empty()

    def days(self) -> list[Bar]:
        """Return the days that were told, as they came."""
        topic = Topic(DAYS, Content.CLOSED_BARS)
        whole = b"".join(field for of, field in self.published if of == topic)
        chunks = [decode_bars(whole[start:end]).columns for _, _, _, start, end in read_fields(whole)]
        return [bar for columns in chunks for bar in columns.bars()]


async def test_a_half_day_closes_at_its_close_by_the_clock_alone_and_a_late_trade_revises_it() -> None:
    async with asyncio.TaskGroup() as group:
        feed = Feed(group, "2025-11-28T10:00:00", "XNYS", "equity")
        await feed.trade("2025-11-28T13:00:00", 90.0)  # before the open
        await feed.trade("2025-11-28T14:30:00", 100.0)
        await feed.trade("2025-11-28T17:45:00", 104.0, 2.0)
        await feed.until("2025-11-28T18:00:00")
        assert feed.days() == []
        await feed.until("2025-11-28T18:00:01")
        (day,) = feed.days()
        await feed.trade("2025-11-28T18:01:30", 103.0, 50.0)  # the closing auction
        await feed.trade("2025-11-28T19:00:00", 1.0)  # after hours
        await feed.trade("2025-11-28T17:59:00", 105.0)  # late
        await feed.until("2025-11-28T23:59:59")
    assert (day.open_time_ns, day.close_time_ns) == (
        to_ns(at("2025-11-28T00:00:00")),
        to_ns(at("2025-11-28T18:00:00")),
    )
    assert (day.open, day.high, day.low, day.close, day.volume, day.trade_count) == (100, 104, 100, 104, 3, 2)
    revised = feed.days()[1:]
    assert [bar.state for bar in revised] == [BarState.REVISED, BarState.REVISED]
    assert (revised[-1].high, revised[-1].low, revised[-1].close, revised[-1].volume) == (105, 100, 103, 54)


async def test_a_session_without_a_trade_has_no_bar_and_the_next_one_has_its_own() -> None:
    async with asyncio.TaskGroup() as group:
        feed = Feed(group, "2025-11-25T21:30:00", "XNYS", "equity")
        await feed.trade("2025-11-25T22:00:00", 9.0)  # after hours; the feed is there from now on
        await feed.until("2025-11-27T12:00:00")  # Wednesday passed, Thursday is a holiday
        await feed.trade("2025-11-28T15:00:00", 10.0)
        await feed.until("2025-12-01T10:00:00")
    assert [bar.open_time_ns for bar in feed.days()] == [to_ns(at("2025-11-28T00:00:00"))]


@pytest.mark.parametrize(
    ("start", "traded", "closes", "told"),
    [
        ("2025-11-28T23:59:00", "2025-11-29T00:00:10", "2025-11-30T00:00:00", True),
        ("2025-11-29T00:30:00", "2025-11-29T01:00:00", "2025-11-30T00:00:00", False),  # its first half hour is missing
    ],
)
async def test_a_day_of_a_coin_is_that_of_utc_also_on_a_saturday_and_is_told_when_it_is_whole(
    start: str, traded: str, closes: str, told: bool
) -> None:
    async with asyncio.TaskGroup() as group:
        feed = Feed(group, start, "", "crypto")
        await feed.trade(start, 5.0)
        await feed.trade(traded, 7.0)
        await feed.until(closes)
        assert feed.days() == []
        await feed.until(closes[:-1] + "1")
    assert [bar.close for bar in feed.days()] == ([7.0] if told else [])


async def test_a_day_of_a_share_is_whole_when_the_feed_came_before_the_open_and_after_midnight() -> None:
    async with asyncio.TaskGroup() as group:
        feed = Feed(group, "2025-11-26T14:00:00", "XNYS", "equity")
        await feed.trade("2025-11-26T14:10:00", 3.0)
        await feed.trade("2025-11-26T14:31:00", 4.0)
        await feed.until("2025-11-26T21:00:01")
        late = Feed(group, "2025-11-26T14:40:00", "XNYS", "equity")
        await late.trade("2025-11-26T14:41:00", 4.0)
        await late.until("2025-11-26T21:00:01")
    assert [bar.open for bar in feed.days()] == [4.0]
    assert late.days() == []
