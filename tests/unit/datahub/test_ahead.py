"""Pages that are read while the ones before are used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from datahub.reads.ahead import ahead


class Pages:
    """Numbers that a generator makes, and what became of it."""

    def __init__(self, count: int, *, broken: bool = False) -> None:
        self.made: list[int] = []
        self.closed = False
        self._count = count
        self._broken = broken

    async def read(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self._count):
                await asyncio.sleep(0)
                self.made.append(number)
                yield number
            if self._broken:
                raise ValueError("the database went away")
        finally:
            self.closed = True


async def rest() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_every_page_comes_once_and_in_order() -> None:
    pages = Pages(5)
    assert [page async for page in ahead(pages.read())] == [0, 1, 2, 3, 4]
    assert pages.closed


async def test_the_next_page_is_made_while_one_is_used_and_no_more_than_that() -> None:
    pages = Pages(5)
    async with aclosing(ahead(pages.read())) as reading:
        assert await anext(reading) == 0
        await rest()
        assert pages.made == [0, 1]
        assert await anext(reading) == 1
        await rest()
        assert pages.made == [0, 1, 2]
    assert pages.closed


async def test_a_reader_who_goes_away_ends_the_page_that_is_being_made() -> None:
    stuck = asyncio.Event()

    async def read() -> AsyncGenerator[int, None]:
        yield 1
        try:
            await asyncio.Event().wait()
        finally:
            stuck.set()

    async with aclosing(ahead(read())) as reading:
        assert await anext(reading) == 1
        await rest()
    assert stuck.is_set()


async def test_a_failure_comes_after_the_pages_before_it() -> None:
    pages = Pages(2, broken=True)
    reading = ahead(pages.read())
    assert [await anext(reading), await anext(reading)] == [0, 1]
    await rest()
    with pytest.raises(ValueError, match="went away"):
        await anext(reading)
    assert pages.closed
