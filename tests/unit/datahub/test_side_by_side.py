"""Ranges that are read in windows, two at a time: nothing is missed, nothing comes twice, and memory stays bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import numpy as np
import pytest

from datahub.reads.side_by_side import Windows, side_by_side
from quasar.model.bars import BarColumns
from quasar.model.columns import Int64Array
from quasar.model.instants import NS_PER_DAY, NS_PER_MINUTE, TimeRange

ROWS = 50


class Shelf:
    """Bars at some times, and who reads them."""

    def __init__(self, times: Int64Array) -> None:
        self.times = times
        self.statements = 0
        self.reading = 0
        self.most_reading = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken_from: int | None = None

    async def read(self, window: TimeRange) -> BarColumns:
        self.statements += 1
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            if self.broken_from is not None and window.end_ns > self.broken_from:
                raise ValueError("the database went away")
            first, last = np.searchsorted(self.times, [window.start_ns, window.end_ns])
            times = self.times[first:last][:ROWS]
            price = times.astype(np.float64)
            return BarColumns(times, price, price, price, price, price)
        finally:
            self.reading -= 1

    async def rest(self, window: TimeRange, page: BarColumns) -> AsyncGenerator[BarColumns, None]:
        while len(page) == ROWS:
            window = TimeRange(int(page.open_time_ns[-1]) + 1, window.end_ns)
            page = await self.read(window)
            if len(page):
                yield page

    def pages(self, length_ns: int, spare: Callable[[], bool] = lambda: True) -> AsyncGenerator[BarColumns, None]:
        """Read everything, having seen windows of `length_ns` with a full page."""
        windows = Windows(TimeRange(0, int(self.times[-1]) + 1), ROWS)
        windows.learn(TimeRange(0, length_ns), ROWS)
        return side_by_side(windows, self.read, self.rest, spare)


async def all_of(pages: AsyncGenerator[BarColumns, None]) -> list[BarColumns]:
    return [page async for page in pages]


async def rest() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def minutes(count: int) -> Int64Array:
    return np.arange(count, dtype=np.int64) * NS_PER_MINUTE


def sessions() -> Int64Array:
    """Minutes of six hours a day, five days a week."""
    days = np.arange(60)
    return (days[days % 7 < 5, None] * NS_PER_DAY + minutes(360)).reshape(-1)


def bursts() -> Int64Array:
    """Bars at random, with years between them and hundreds of them within a second."""
    chance = np.random.default_rng(7)
    steps = chance.choice([1_000, NS_PER_MINUTE, 2_000 * NS_PER_DAY], 3_000, p=[0.6, 0.397, 0.003])
    return np.asarray(np.cumsum(steps), dtype=np.int64)


@pytest.mark.parametrize("times", [minutes(1), minutes(1_234), sessions(), bursts()])
@pytest.mark.parametrize("length_ns", [1_000, 40 * NS_PER_MINUTE, NS_PER_DAY])
async def test_every_bar_comes_once_and_in_order_however_they_lie(times: Int64Array, length_ns: int) -> None:
    shelf = Shelf(times)
    pages = [page async for page in shelf.pages(length_ns)]
    assert np.array_equal(BarColumns.concatenate(pages).open_time_ns, times)
    assert max(map(len, pages)) <= ROWS
    assert shelf.most_reading <= 2


async def test_regular_bars_take_hardly_more_statements_than_pages() -> None:
    shelf = Shelf(minutes(5_000))
    assert sum([len(page) async for page in shelf.pages(ROWS * NS_PER_MINUTE)]) == 5_000
    assert shelf.statements < 5_000 / ROWS * 1.3


async def test_a_gap_of_decades_takes_few_statements() -> None:
    shelf = Shelf(np.append(minutes(500), 20_000 * NS_PER_DAY + minutes(500)))
    assert sum([len(page) async for page in shelf.pages(ROWS * NS_PER_MINUTE)]) == 1_000
    assert shelf.statements < 80


async def test_only_one_connection_is_used_while_others_need_them() -> None:
    shelf = Shelf(minutes(1_000))
    assert sum([len(page) async for page in shelf.pages(ROWS * NS_PER_MINUTE, lambda: False)]) == 1_000
    assert shelf.most_reading == 1


async def test_a_reader_that_pauses_has_one_more_page_read_and_no_further_one() -> None:
    shelf = Shelf(minutes(1_000))
    async with aclosing(shelf.pages(ROWS * NS_PER_MINUTE)) as pages:
        await anext(pages)
        await rest()
        assert (shelf.statements, shelf.reading) == (2, 0)
        await anext(pages)
        await rest()
        assert (shelf.statements, shelf.reading) == (3, 0)


async def test_a_reader_that_goes_away_ends_what_is_being_read() -> None:
    shelf = Shelf(minutes(1_000))
    pages = shelf.pages(ROWS * NS_PER_MINUTE)
    await anext(pages)
    await anext(pages)
    shelf.gate.clear()
    waiting = asyncio.ensure_future(all_of(pages))
    await rest()
    assert shelf.reading == 2
    waiting.cancel()
    await rest()
    await pages.aclose()
    assert (waiting.cancelled(), shelf.reading) == (True, 0)


async def test_a_failure_comes_after_the_pages_before_it_and_ends_the_other_read() -> None:
    shelf = Shelf(minutes(1_000))
    shelf.broken_from = 90 * NS_PER_MINUTE
    pages = shelf.pages(40 * NS_PER_MINUTE)
    assert len(await anext(pages)) > 0
    with pytest.raises(ValueError, match="went away"):
        await all_of(pages)
    assert shelf.reading == 0
