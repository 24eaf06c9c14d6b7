"""What is taken in over interruptions, also over those that come while a hole is being filled."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datahub.live.chunks import MOST_ROWS
from datahub.live.followed import FetchTicks
from datahub.live.gaps import FeedGap
from datahub.live.ingest import LiveIngest
from datahub.live.past import Past
from datahub.live.prices import PriceBoard
from datahub.live.storage import LiveStore
from datahub.live.symbols import LiveName, LiveSeries
from datahub.series.series import Series, SeriesName
from datahub.stream.hub import Hub
from datahub.stream.log import Cursor, LiveLog
from datahub.stream.topic import Content, Topic
from quasar import errors
from quasar.convert.columns import decode_bars, decode_ticks
from quasar.convert.wire import read_fields
from quasar.model.bars import BarState
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns, TickFlag
from quasar.providers.market import MINUTE_NS, Market
from quasar.testing.clock import FakeClock

START = FakeClock().time_ns() // MINUTE_NS * MINUTE_NS + MINUTE_NS
TRADES = Market().trades("BTC/USD", START, START + 12 * MINUTE_NS)
TICKS, MINUTES = 1, 2


def series_of(ticks: int, symbol: str = "BTC/USD") -> LiveSeries:
    """Return a symbol whose bars of a minute have the id after that of its ticks."""
    return LiveSeries(
        LiveName("vendor", symbol),
        Series(series_id=ticks, name=SeriesName("vendor", symbol, "")),
        {Interval.parse("1min"): Series(series_id=ticks + 1, name=SeriesName("vendor", symbol, "1min"))},
        store_ticks=False,
        all_ids=frozenset({ticks, ticks + 1}),
    )


SERIES = series_of(TICKS)


@dataclass
class Told:
    """Notes gaps in place of a table."""

    states: list[str] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)
    """After which times."""

    async def open(self, series_id: int, name: SeriesName, start_ns: int, evidence: str, cause: str) -> FeedGap:
        self.states.append("OPEN")
        self.opened.append(start_ns)
        return FeedGap(gap_id=1, series_id=series_id, name=name, start_ns=start_ns, evidence=evidence)

    async def close(self, gap: FeedGap, end_ns: int, *, repaired: bool, evidence: str, refilled: int = 0) -> FeedGap:
        self.states.append("REPAIRED" if repaired else "UNREPAIRABLE")
        return replace(gap, end_ns=end_ns)


class Feed:
    """A feed of the market's trades that a test interrupts, with a vendor who answers when it is told to."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.clock = FakeClock()
        self.hub = Hub(LiveLog(7), self.clock)
        self.told = Told()
        self.answer = asyncio.Event()
        self.answer.set()
        self.asked = 0
        self.failure: Exception | None = None
        self.besides = TickColumns.empty()
        """What the vendor has beside the trades that it is asked for."""
        nobody: Any = None  # nothing is stored here
        store = LiveStore(nobody, nobody, self.clock)
        gaps: Any = self.told

        def start(work: Any, name: str) -> None:
            group.create_task(work, name=name)

        self.ingest = LiveIngest(self.hub, PriceBoard(), store, gaps, self.clock, start)
        self.ingest.follow(SERIES, Past())

    async def fetch(self, symbol: str, start_ns: int, end_ns: int, after_trade_id: int | None) -> TickColumns:
        self.asked += 1
        await self.answer.wait()
        if self.failure is not None:
            raise self.failure
        return TickColumns.concatenate([Market().trades(symbol, start_ns, end_ns), self.besides])

    async def bring(self, first: int, last: int) -> None:
        fetch: FetchTicks = self.fetch
        self.ingest.take(TICKS, TRADES[np.arange(first, last)], fetch)
        await self.settle()

    async def interrupt(self) -> None:
        await self.ingest.interrupted([TICKS], "the line was cut")

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    def ids(self) -> list[int]:
        """Return the ids of all trades that were published."""
        found: list[int] = []
        for chunk in self._published(Content.TRADES, TICKS):
            ids = decode_ticks(chunk).columns.trade_id
            assert ids is not None
            found += ids.tolist()
        return found

    def closes(self) -> dict[int, float]:
        """Return the last close of each minute that was published."""
        bars = [decode_bars(chunk).columns for chunk in self._published(Content.CLOSED_BARS, MINUTES)]
        return {int(at): float(close) for part in bars for at, close in zip(part.open_time_ns, part.close, strict=True)}

    def _published(self, content: Content, series_id: int) -> list[bytes]:
        whole = b"".join(p.payload for p in self.hub.replay(frozenset({Topic(series_id, content)}), Cursor(7, 0)))
        return [whole[start:end] for _, _, _, start, end in read_fields(whole)]


def all_ids(first: int, last: int) -> list[int]:
    assert TRADES.trade_id is not None
    found: list[int] = TRADES.trade_id[first:last].tolist()
    return found


async def test_an_interruption_while_a_hole_is_filled_is_a_hole_of_its_own() -> None:
    async with asyncio.TaskGroup() as group:
        feed = Feed(group)
        await feed.bring(0, 20)
        await feed.interrupt()
        feed.answer.clear()
        await feed.bring(40, 60)
        await feed.interrupt()
        await feed.bring(100, 120)
        feed.answer.set()
        await feed.settle()
    assert feed.ids() == all_ids(0, 120)
    assert feed.told.states == ["OPEN", "REPAIRED", "OPEN", "REPAIRED"]


async def test_a_hole_is_filled_although_nothing_trades_after_it() -> None:
    async with asyncio.TaskGroup() as group:
        feed = Feed(group)
        await feed.bring(0, 70)
        await feed.interrupt()
        await feed.clock.advance((START + 2 * MINUTE_NS - feed.clock.time_ns()) / 1e9)
        feed.ingest.tick()
        assert len(feed.closes()) == 1, "a minute with a hole in it stays open"
        feed.ingest.resumed([TICKS], feed.fetch)
        feed.ingest.tick()
        await feed.clock.advance(2.0)
        feed.ingest.tick()
        await feed.settle()
        feed.ingest.tick()
    assert feed.ids() == all_ids(0, 122)
    assert feed.told.states == ["OPEN", "REPAIRED"]
    truth = Market().minute_bars("BTC/USD", START, START + 2 * MINUTE_NS)
    assert feed.closes() == dict(zip(truth.open_time_ns.tolist(), truth.close.tolist(), strict=True))


async def test_a_trade_that_a_vendor_repeats_after_a_break_does_not_end_the_hole() -> None:
    async with asyncio.TaskGroup() as group:
        feed = Feed(group)
        await feed.bring(0, 20)
        await feed.interrupt()
        await feed.bring(19, 20)
        assert feed.told.states == ["OPEN"]
        await feed.bring(25, 30)
    assert feed.ids() == all_ids(0, 30)
    assert feed.told.states == ["OPEN", "REPAIRED"]


async def test_what_no_vendor_can_fill_is_told_and_its_bars_are_left_out() -> None:
    async with asyncio.TaskGroup() as group:
        feed = Feed(group)
        await feed.bring(0, 20)
        await feed.interrupt()
        feed.failure = errors.Unimplemented("no history")
        await feed.bring(40, 300)
    assert feed.ids() == all_ids(0, 20) + all_ids(40, 300)
    assert feed.told.states == ["OPEN", "UNREPAIRABLE"]
    assert min(feed.closes()) == START + MINUTE_NS


async def test_a_defect_while_a_hole_is_filled_ends_nothing_and_the_next_trade_has_it_filled() -> None:
    async with asyncio.TaskGroup() as group:
        feed = Feed(group)
        await feed.bring(0, 20)
        await feed.interrupt()
        feed.failure = ValueError("nobody thought of it")
        await feed.bring(40, 60)
        assert (feed.ids(), feed.told.states) == (all_ids(0, 20), ["OPEN"])
        feed.failure = None
        await feed.bring(60, 80)
    assert feed.ids() == all_ids(0, 80)
    assert feed.told.states == ["OPEN", "REPAIRED"]


async def test_a_history_with_ticks_of_unknown_kinds_fills_a_hole_with_its_trades() -> None:
    async with asyncio.TaskGroup() as group:
        feed = Feed(group)
        await feed.bring(0, 20)
        await feed.interrupt()
        feed.besides = TickColumns(TRADES.event_time_ns[30:31], kind=np.array([200], np.uint8))
        await feed.bring(40, 60)
    assert feed.ids() == all_ids(0, 60)
    assert feed.told.states == ["OPEN", "REPAIRED"]


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(
        st.tuples(st.integers(1, 40), st.integers(0, 30), st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=8
    )
)
def test_holes_and_repeats_leave_every_trade_once_in_order(cuts: list[tuple[int, int, int, int]]) -> None:
    async def play() -> tuple[list[int], int]:
        async with asyncio.TaskGroup() as group:
            feed = Feed(group)
            at = 0
            for rows, hole, repeat, stale in cuts:
                await feed.bring(max(0, at - repeat), at + rows)
                at += rows
                await feed.interrupt()
                if stale:  # the vendor says once more what it said before the break
                    await feed.bring(max(0, at - stale), at)
                at += hole
            await feed.bring(at, at + 1)
        return feed.ids(), at + 1

    got, last = asyncio.run(play())
    assert got == all_ids(0, last)


async def test_a_flood_of_ticks_is_published_in_chunks_that_every_client_takes() -> None:
    rows = 3 * MOST_ROWS + 5
    flood = TickColumns(np.arange(rows) + START, np.ones(rows), np.ones(rows), trade_id=np.arange(rows, dtype=np.int64))
    async with asyncio.TaskGroup() as group:
        feed = Feed(group)
        await feed.bring(0, 1)
        feed.ingest.take(TICKS, replace(flood, trade_id=None), feed.fetch)
        await feed.settle()
    chunks = [decode_ticks(chunk) for chunk in feed._published(Content.TRADES, TICKS)][1:]
    assert [len(chunk.columns) for chunk in chunks] == [MOST_ROWS] * 3 + [5]
    assert [chunk.first_sequence for chunk in chunks] == [2 + at * MOST_ROWS for at in range(4)]
    assert np.concatenate([chunk.columns.event_time_ns for chunk in chunks]).tolist() == flood.event_time_ns.tolist()


async def test_a_doubt_about_trades_without_ids_is_told_as_a_hole_that_nobody_fills() -> None:
    async with asyncio.TaskGroup() as group:
        feed = Feed(group)
        rows = replace(TRADES[np.arange(0, 9)], trade_id=None)
        feed.ingest.take(TICKS, rows[np.arange(0, 5)], feed.fetch)
        await feed.settle()
        feed.ingest.doubt([TICKS])
        feed.ingest.take(TICKS, rows[np.arange(5, 7)], feed.fetch)
        await feed.interrupt()
        feed.ingest.take(TICKS, rows[np.arange(7, 9)], feed.fetch)
        await feed.settle()
    assert feed.told.states == ["OPEN", "UNREPAIRABLE"]
    (gap,) = feed.told.opened
    assert gap == rows.event_time_ns[4], "it begins before what could not be read"


async def test_a_trade_that_comes_after_its_bar_was_told_is_marked_as_late_and_revises_it() -> None:
    skipped = int(np.searchsorted(TRADES.event_time_ns, START + MINUTE_NS)) - 2
    end = int(np.searchsorted(TRADES.event_time_ns, START + 2 * MINUTE_NS)) + 3
    rows = [row for row in range(end) if row != skipped]
    async with asyncio.TaskGroup() as group:
        feed = Feed(group)
        for part in (rows[:10], rows[10:], [skipped]):
            feed.ingest.take(TICKS, TRADES[np.array(part)], feed.fetch)
            await feed.settle()
    chunks = [decode_ticks(chunk).columns for chunk in feed._published(Content.TRADES, TICKS)]
    late = [int(flag) for part in chunks for flag in (part.flags if part.flags is not None else [0] * len(part))]
    assert late == [0] * len(rows) + [TickFlag.LATE]
    bars = [decode_bars(chunk).columns.bars() for chunk in feed._published(Content.CLOSED_BARS, MINUTES)]
    states = [(bar.open_time_ns - START, bar.state) for part in bars for bar in part]
    assert states == [(0, BarState.CLOSED), (MINUTE_NS, BarState.CLOSED), (0, BarState.REVISED)]
