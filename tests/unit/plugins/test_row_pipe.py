"""The pipe of a live stream: messages whole and in order, writers that wait, nothing taken for a pipe that is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from quasar import errors
from quasar.plugins.host.row_pipe import RowWriter
from quasar.plugins.row_pipe import MOST_BYTES, PipeFolder, RowPipe

LARGE = os.urandom(3 << 20)
"""Larger than a pipe holds."""
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


def ran(loop: Loop, work: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(20):
            await work()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(in_time())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[PipeFolder]:
    with PipeFolder(tmp_path / "rows") as made:
        yield made


def opened(folder: PipeFolder) -> tuple[RowPipe, RowWriter]:
    pipe = folder.open("s1")
    assert pipe is not None
    writer = RowWriter.open(pipe.path)
    assert writer is not None
    return pipe, writer


@contextlib.asynccontextmanager
async def begun(work: Awaitable[None]) -> AsyncIterator[asyncio.Future[None]]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def stuck(writer: RowWriter, message: bytes) -> asyncio.Future[None]:
    """Begin to write a message that finds no room; return the writing when it waits."""
    writing = asyncio.ensure_future(writer.write(message))
    for _ in range(50):
        await asyncio.sleep(0)
    assert 0 < len(writer._left) < len(message)
    return writing


@LOOPS
def test_messages_of_any_size_come_whole_and_in_order(folder: PipeFolder, loop: Loop) -> None:
    messages = [b"first", b"", LARGE, b"x" * 65_532, b"last"]

    async def work() -> None:
        pipe, writer = opened(folder)

        async def write() -> None:
            for message in messages:
                await writer.write(message)

        async with begun(write()):
            assert [await pipe.read() for _ in messages] == messages
        writer.close()

    ran(loop, work)


@LOOPS
def test_a_reader_waits_for_what_is_written_later(folder: PipeFolder, loop: Loop) -> None:
    async def work() -> None:
        pipe, writer = opened(folder)
        reading = asyncio.ensure_future(pipe.read())
        await asyncio.sleep(0.01)
        assert not reading.done()
        await writer.write(b"later")
        assert await reading == b"later"
        writer.close()

    ran(loop, work)


@LOOPS
def test_a_writer_waits_while_its_reader_is_behind(folder: PipeFolder, loop: Loop) -> None:
    async def work() -> None:
        pipe, writer = opened(folder)
        writing = await stuck(writer, LARGE)
        assert await pipe.read() == LARGE
        await writing
        writer.close()

    ran(loop, work)


@LOOPS
def test_a_message_whose_writing_was_cancelled_is_written_on_before_the_next(folder: PipeFolder, loop: Loop) -> None:
    async def work() -> None:
        pipe, writer = opened(folder)
        writing = await stuck(writer, LARGE)
        writing.cancel()
        await asyncio.wait([writing])
        async with begun(writer.write(b"next")):
            assert [await pipe.read(), await pipe.read()] == [LARGE, b"next"]
        writer.close()

    ran(loop, work)


@LOOPS
def test_what_was_written_before_the_end_is_read_after_it(folder: PipeFolder, loop: Loop) -> None:
    async def work() -> None:
        pipe, writer = opened(folder)
        await writer.write(b"one")
        await writer.write(b"two")
        writer.close()
        pipe.end()
        assert [await pipe.read() for _ in range(3)] == [b"one", b"two", None]
        assert not pipe.cut_short

    ran(loop, work)


@LOOPS
def test_the_end_wakes_who_waits_and_tells_of_half_a_message(folder: PipeFolder, loop: Loop) -> None:
    async def work() -> None:
        pipe, writer = opened(folder)
        reading = asyncio.ensure_future(pipe.read())
        os.write(writer._descriptor, (9).to_bytes(4, "little") + b"half")
        await asyncio.sleep(0.01)
        assert not reading.done()
        pipe.end()
        assert await reading is None
        assert pipe.cut_short
        writer.close()

    ran(loop, work)


@LOOPS
def test_a_writer_that_waits_does_not_outlive_its_reader(folder: PipeFolder, loop: Loop) -> None:
    async def work() -> None:
        pipe, writer = opened(folder)
        writing = await stuck(writer, LARGE)
        pipe.close()
        with pytest.raises(errors.Cancelled):
            await writing
        with pytest.raises(errors.Cancelled):
            await writer.write(b"more")
        writer.close()

    ran(loop, work)


@LOOPS
def test_a_reader_that_is_cancelled_leaves_the_next_one_its_message(folder: PipeFolder, loop: Loop) -> None:
    async def work() -> None:
        pipe, writer = opened(folder)
        reading = asyncio.ensure_future(pipe.read())
        await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.wait([reading])
        await writer.write(b"kept")
        assert await pipe.read() == b"kept"
        writer.close()

    ran(loop, work)


async def test_a_size_that_no_message_has_is_refused_before_memory_is_taken(folder: PipeFolder) -> None:
    pipe, writer = opened(folder)
    os.write(writer._descriptor, (MOST_BYTES + 1).to_bytes(4, "little"))
    with pytest.raises(errors.InvalidArgument, match="at most 67108864 bytes, was 67108865"):
        await pipe.read()
    writer.close()


async def test_others_go_on_while_one_writes_without_a_pause(folder: PipeFolder) -> None:
    pipe, writer = opened(folder)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with begun(other()), begun(writer.write(b"x" * ((1 << 20) - 4))):
        await asyncio.sleep(0)
        turns = 0
        await pipe.read()  # all of it is there
    assert turns >= 10
    writer.close()


@pytest.mark.parametrize("path", ["", "/nowhere/rows/s1"])
def test_without_a_pipe_there_is_no_writer(path: str) -> None:
    assert RowWriter.open(path) is None


def test_a_pipe_whose_reader_is_gone_has_no_writer(folder: PipeFolder, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alone")
    assert RowWriter.open(str(tmp_path / "alone")) is None


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_whoever_may_enter_the_folder_writes_to_its_pipes_and_makes_none(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with PipeFolder(tmp_path / "rows") as folder:
            pipe = folder.open("s1")
            assert pipe is not None
            assert stat.filemode(Path(pipe.path).stat().st_mode) == "prw--w--w-"
            assert stat.filemode((tmp_path / "rows").stat().st_mode) == "drwx--x--x"
    finally:
        os.umask(before)


def test_a_closed_pipe_is_gone(folder: PipeFolder) -> None:
    pipe = folder.open("s1")
    assert pipe is not None
    pipe.close()
    pipe.close()
    assert not Path(pipe.path).exists()
    assert folder.open("s1") is not None


def test_closing_the_folder_closes_its_pipes(tmp_path: Path) -> None:
    with PipeFolder(tmp_path / "rows") as folder:
        pipe = folder.open("s1")
        assert pipe is not None
    assert RowWriter.open(pipe.path) is None


@pytest.mark.parametrize("symbolic", [True, False])
def test_what_was_put_in_the_place_of_a_pipe_is_not_opened(
    folder: PipeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, symbolic: bool
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("kept")
    before = stat.S_IMODE(secret.stat().st_mode)

    def put(name: str, _mode: int, *, dir_fd: int) -> None:
        if symbolic:
            os.symlink(secret, name, dir_fd=dir_fd)
        else:
            os.link(secret, name, dst_dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkfifo", put)
    assert folder.open("s1") is None
    assert (secret.read_text(), stat.S_IMODE(secret.stat().st_mode)) == ("kept", before)


def test_a_folder_put_in_the_place_of_theirs_gets_no_pipes(folder: PipeFolder, tmp_path: Path) -> None:
    (tmp_path / "rows").rename(tmp_path / "moved")
    (tmp_path / "other").mkdir()
    (tmp_path / "rows").symlink_to(tmp_path / "other")
    folder.open("s1")
    assert list((tmp_path / "other").iterdir()) == []
