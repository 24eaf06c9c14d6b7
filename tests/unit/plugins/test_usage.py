"""The watcher of a process: a core used without any work is a fault, used for work it is none."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from quasar.plugins.containment import Cause
from quasar.plugins.jail.spec import Limits
from quasar.plugins.usage import Watcher
from quasar.testing.clock import FakeClock


async def look_for(seconds: int, watcher: Watcher, clock: FakeClock, *, busy: bool) -> list[Cause]:
    """Look once a second at a process that uses a whole core; return why it would have ended."""
    used = SimpleNamespace(user=0.0, system=0.0)
    watcher._process = SimpleNamespace(cpu_times=lambda: used)  # type: ignore[assignment]
    found = []
    for _ in range(seconds):
        used.user += 1.0
        await clock.advance(1.0)
        if (end := await watcher.look(busy=busy)) is not None:
            found.append(end[0])
    return found


@pytest.mark.parametrize(("busy", "seconds", "fault"), [(False, 70, True), (False, 50, False), (True, 70, False)])
async def test_spinning_is_a_fault_after_a_minute_without_work(
    tmp_path: Path, busy: bool, seconds: int, fault: bool
) -> None:
    clock = FakeClock()
    watcher = Watcher(os.getpid(), Limits(memory_bytes=1 << 40), tmp_path, clock)
    assert (Cause.SPINNING in await look_for(seconds, watcher, clock, busy=busy)) is fault


async def test_a_folder_that_grew_too_large_is_told_with_both_sizes(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (3 << 20))
    watcher = Watcher(os.getpid(), Limits(memory_bytes=1 << 40, scratch_bytes=1 << 20), tmp_path, FakeClock())
    found = await watcher.look(busy=False)
    assert found is not None
    assert found[0] is Cause.SCRATCH
    assert "wrote 3 MiB of files where 1 MiB are allowed" in found[1]


async def test_empty_files_count_and_so_do_those_that_were_removed_while_they_are_open(tmp_path: Path) -> None:
    limits = Limits(memory_bytes=1 << 40, scratch_bytes=64 << 10)
    for number in range(20):
        (tmp_path / f"{number}").touch()
    found = await Watcher(os.getpid(), limits, tmp_path, FakeClock()).look(busy=False)
    assert found is not None
    assert found[0] is Cause.SCRATCH
    other = tmp_path / "other"
    other.mkdir()
    with (other / "file").open("wb") as file:
        file.write(b"x" * (128 << 10))
        file.flush()
        (other / "file").unlink()
        found = await Watcher(os.getpid(), limits, other, FakeClock()).look(busy=False)
    assert found is not None
    assert found[0] is Cause.SCRATCH
    assert await Watcher(os.getpid(), limits, other, FakeClock()).look(busy=False) is None


async def test_more_threads_than_are_allowed_are_a_fault(tmp_path: Path) -> None:
    limits = Limits(memory_bytes=1 << 40, threads=0)
    found = await Watcher(os.getpid(), limits, tmp_path, FakeClock()).look(busy=True)
    assert found is not None
    assert found[0] is Cause.THREADS
    assert "where 0 are allowed" in found[1]
