"""Live rows through the pipe beside their call: the same as on the call, held back alike, gone with it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from quasar.plugins.provider import LiveSymbol
from quasar.provider import SymbolNotice
from tests.integration.plugins.conftest import Plugins
from tests.integration.plugins.hostile import COUNTED, linux_only, pipes_of, trades

pytestmark = linux_only


@pytest.mark.parametrize("offered", [True, False], ids=["pipe", "call"])
async def test_rows_and_notices_come_in_order_either_way(plugins: Plugins, offered: bool) -> None:
    ignore = "import quasar.plugins.host.row_pipe as pipes\n    pipes.RowWriter.open = lambda path: None"
    provider = await plugins.provider(COUNTED.format(before="" if offered else ignore))
    ids: list[int] = []
    told: list[int] = []
    async with aclosing(provider.stream_live([LiveSymbol("A")])) as batches:
        async for batch in batches:
            ids += trades(batch)
            told += [int(notice.message) for notice in batch.notices if isinstance(notice, SymbolNotice)]
            if len(told) >= 20:
                break
            assert max(told, default=0) <= len(ids)  # no notice overtakes the rows before it
        assert len(pipes_of(provider)) == (1 if offered else 0)
    assert ids == list(range(1, len(ids) + 1))
    assert told == list(range(100, told[-1] + 1, 100))


async def test_each_stream_has_a_pipe_of_its_own_that_ends_with_it(plugins: Plugins) -> None:
    provider = await plugins.provider(COUNTED.format(before=""))
    process = provider.keeper.process
    assert process is not None
    first = provider.stream_live([LiveSymbol("A")])
    second = provider.stream_live([LiveSymbol("A")], number=1)
    await anext(first)
    await anext(second)
    assert len(set(pipes_of(provider))) == 2
    await first.aclose()
    async with asyncio.timeout(60):
        while not trades(await anext(second)):
            pass
        while len(pipes_of(provider)) != 1:  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)
    assert len(list(process.pipes._pipes)) == 1
    await second.aclose()


async def test_a_reader_that_stands_still_holds_the_plug_in_back_and_misses_nothing(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def live(self, feed):
            number = 0
            while True:
                times = np.arange(number, number + 20_000)
                number += 20_000
                yield "A", TickColumns(times, price=np.ones(20_000))
        """
    )
    times: list[int] = []
    async with asyncio.timeout(60), aclosing(provider.stream_live([LiveSymbol("A")])) as batches:
        await anext(batches)
        await asyncio.sleep(1.0)  # far more could be made meanwhile than may wait anywhere
        async for batch in batches:
            assert not batch.notices
            times += [time for chunk in batch.tick_chunks for time in chunk.columns.event_time_ns[[0, -1]].tolist()]
            if len(times) > 300:
                break
    assert [later - former for former, later in zip(times[1::2], times[2::2], strict=False)] == [1] * (
        len(times) // 2 - 1
    )
    assert plugins.notices == []
