"""Uploaded code that writes its live rows itself, and writes rubbish: it harms its own stream alone."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from quasar.plugins.provider import LiveSymbol
from tests.integration.plugins.conftest import Plugins
from tests.integration.plugins.hostile import (
    ATTEMPT,
    COUNTED,
    finish,
    first_break,
    first_symbol,
    latencies,
    linux_only,
    needs_landlock,
    pipes_of,
    quiet_neighbour,
    trades,
    until,
    until_contained,
)

pytestmark = linux_only

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
    await until(lambda: bool(pipes_of(provider)))
    assert max(await latencies(neighbour, 20)) < 1.0
    reading.cancel()
    await asyncio.wait([reading])


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
