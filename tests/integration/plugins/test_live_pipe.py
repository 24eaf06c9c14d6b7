"""Live rows through the pipe beside their call: as on the call, and whoever writes rubbish harms itself alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from quasar.plugins.batches import LiveBatch
from quasar.plugins.provider import LiveSymbol, ProviderHandle
from quasar.provider import ConnectionNotice, ConnectionState, SymbolNotice
from tests.integration.plugins.conftest import Plugins
from tests.integration.plugins.hostile import (
    ATTEMPT,
    finish,
    first_symbol,
    latencies,
    linux_only,
    needs_landlock,
    quiet_neighbour,
    until_contained,
)

pytestmark = linux_only

# Numbers its ticks, and says after each hundred of them how many there were.
COUNTED = """
    {before}

    async def live(self, feed):
        number = 0
        while True:
            for _ in range(100):
                number += 1
                yield "A", Tick(number, price=1.0, size=1.0, trade_id=number)
            yield SymbolNotice("A", SymbolState.SUBSCRIBED, str(number))
            await asyncio.sleep(0.005)
"""
# What code does that reaches below what the platform gives it: it writes to the pipe itself.
HOSTILE = """
    import quasar.plugins.host.row_pipe as pipes
    async def write(self, message):
        os.set_blocking(self._descriptor, True)
        def send(data):
            os.write(self._descriptor, data)
        own = len(message).to_bytes(4, "little") + message
        {line}
    pipes.RowWriter.write = write
"""


def hostile(line: str) -> str:
    return COUNTED.format(before=HOSTILE.format(line=line))


def trades(batch: LiveBatch) -> list[int]:
    return [
        number
        for chunk in batch.tick_chunks
        if chunk.columns.trade_id is not None
        for number in chunk.columns.trade_id.tolist()
    ]


def breaks(batch: LiveBatch) -> list[str]:
    """Return why the stream broke."""
    return [
        notice.error
        for notice in batch.notices
        if isinstance(notice, ConnectionNotice) and notice.state is ConnectionState.DISCONNECTED
    ]


def pipes_of(provider: ProviderHandle) -> list[str]:
    """Return the pipes that a provider's process has open, by name."""
    assert provider.keeper.process is not None
    folder = Path(f"/proc/{provider.keeper.process.pid}/fd")
    targets = [entry.readlink() for entry in folder.iterdir()]
    return [target.name for target in targets if target.parent.name == "rows"]


async def first_break(provider: ProviderHandle, seen: Callable[[LiveBatch], None] = lambda _: None) -> str:
    async with asyncio.timeout(30), aclosing(provider.stream_live([LiveSymbol("A")])) as batches:
        async for batch in batches:
            seen(batch)
            if found := breaks(batch):
                return found[0]
    return ""


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
    async with asyncio.timeout(10):
        while not trades(await anext(second)):
            pass
        while len(pipes_of(provider)) != 1:  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)
    assert len(list(process.pipes._pipes)) == 1
    await second.aclose()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("send((64).to_bytes(4, 'little') + b'\\xff' * 64)", "sent a malformed batch"),
        ("send(b'\\xff' * 4_000)", "sent a malformed batch: a message must have at most 67108864 bytes"),
        ("send((len(message) - 3).to_bytes(4, 'little') + message[:-3])", "sent a malformed batch"),
        # Opened twice: two writers in one another's way.
        (
            "again = os.open(f'/proc/self/fd/{self._descriptor}', os.O_WRONLY); send(own[:30]); os.write(again, own)",
            "sent a malformed batch",
        ),
    ],
    ids=["rubbish", "size", "short", "twice"],
)
async def test_rubbish_ends_the_stream_with_words_and_the_process_and_its_neighbours_go_on(
    plugins: Plugins, line: str, words: str
) -> None:
    neighbour = await quiet_neighbour(plugins)
    provider = await plugins.provider(hostile(line))
    process = provider.keeper.process
    assert words in await first_break(provider)
    assert provider.keeper.process is process
    assert process is not None
    assert process.state == "running"
    assert await finish(neighbour) is None


async def test_what_was_written_before_a_crash_within_a_message_is_delivered(plugins: Plugins) -> None:
    line = "send(own + own[:30]); os._exit(3)"
    provider = await plugins.provider(hostile(line))
    ids: list[int] = []
    assert "does not run" in await first_break(provider, lambda batch: ids.extend(trades(batch)))
    assert ids[:100] == list(range(1, 101))
    assert (await until_contained(plugins)).detail == "ended by itself with exit code 3"


async def test_an_end_within_a_message_is_told_as_what_the_call_ended_with(plugins: Plugins) -> None:
    provider = await plugins.provider(hostile("send(own[:-1]); raise ValueError('no more')"))
    assert "no more" in await first_break(provider)


async def test_a_flood_of_empty_messages_leaves_neighbours_their_latency(plugins: Plugins) -> None:
    neighbour = await quiet_neighbour(plugins)
    line = "import threading; threading.Thread(target=lambda: [send(bytes(65_536)) for _ in iter(int, 1)]).start()"
    provider = await plugins.provider(hostile(line))
    reading = asyncio.create_task(first_break(provider))
    async with asyncio.timeout(30):
        while not pipes_of(provider):  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)
    assert max(await latencies(neighbour, 20)) < 1.0
    reading.cancel()
    await asyncio.wait([reading])


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
    async with asyncio.timeout(30), aclosing(provider.stream_live([LiveSymbol("A")])) as batches:
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


@needs_landlock
async def test_it_cannot_write_to_the_pipes_of_another_plug_in_or_make_its_own(plugins: Plugins) -> None:
    victim = await plugins.provider(COUNTED.format(before=""), "victim")
    assert victim.keeper.process is not None
    async with aclosing(victim.stream_live([LiveSymbol("A")])) as batches:
        await anext(batches)
        (pipe,) = victim.keeper.process.pipes._pipes
        attempts = {
            f"os.open({pipe.path!r}, os.O_WRONLY | os.O_NONBLOCK)": "PermissionError",
            "os.mkfifo('../rows/s1')": "PermissionError",
            "os.rename('../rows', 'rows')": "OSError|PermissionError",
        }
        for number, (expression, wanted) in enumerate(attempts.items()):
            attacker = await plugins.provider(ATTEMPT.format(attempt=expression), f"attacker{number}")
            outcome = await first_symbol(attacker)
            assert outcome.split()[0] in wanted.split("|"), outcome
        while not trades(await anext(batches)):
            pass
