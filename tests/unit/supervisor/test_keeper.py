"""A kept program is started again when it dies, given up only if it never ran, stopped politely and then by force."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from quasar import leash
from quasar.background import background
from quasar.clock import SystemClock
from quasar.errors import StartupError
from quasar.supervisor.child import Program
from quasar.supervisor.keeper import Keeper, exit_words

PATIENCE_S = 30


class Kept:
    """A keeper of a program written by the test, and what it said."""

    def __init__(self, folder: Path, code: str, patience_s: float = 20.0) -> None:
        (folder / "kept_program.py").write_text(
            f"from __future__ import annotations\nimport os, sys, signal, time\n{code}"
        )
        self.said: list[str] = []
        self._news = asyncio.Event()
        environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}
        leash.attach(environment)
        program = Program("kept", "kept_program", "", environment)
        self.keeper = Keeper(program, SystemClock(), self._say, self._news.set, patience_s)

    def _say(self, line: str) -> None:
        self.said.append(line)
        self._news.set()

    async def says(self, words: str, times: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while sum(words in line for line in self.said) < times:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def running(kept: Kept) -> AsyncIterator[Kept]:
    async with background() as tasks:
        tasks.start(kept.keeper.run(), "keeper")
        try:
            yield kept
        finally:
            await kept.keeper.stop()


async def test_what_dies_is_started_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "print('started', os.getpid()); time.sleep(60)")
    kept.keeper.was_healthy.set()
    async with running(kept):
        await kept.says("started")
        assert kept.keeper.pid is not None
        os.kill(kept.keeper.pid, signal.SIGKILL)
        await kept.says("started", times=2)
        await kept.says("ended (killed by SIGKILL); it is started again in 0.2 s")
        assert kept.keeper.restarts == 1
    assert kept.keeper.pid is None


async def test_a_program_that_refuses_its_settings_is_given_up_at_once(tmp_path: Path) -> None:
    kept = Kept(
        tmp_path,
        "sys.exit('QUASAR_X must be a number, was \\'x\\'.') if 0 else (print('QUASAR_X is wrong'), sys.exit(2))",
    )
    with pytest.raises(
        StartupError, match=r"The kept cannot start \(exit code 2\). Its last words:\n    QUASAR_X is wrong"
    ):
        await kept.keeper.run()
    assert kept.keeper.restarts == 0


async def test_a_program_that_dies_at_each_of_its_first_starts_is_given_up(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "print('no'); sys.exit(1)")
    with pytest.raises(StartupError, match=r"The kept cannot start \(exit code 1\)"):
        await kept.keeper.run()
    assert [line for line in kept.said if line == "no"] == ["no"] * 3


async def test_a_program_that_was_healthy_once_is_never_given_up(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "print('no'); sys.exit(2)")
    kept.keeper.was_healthy.set()
    async with running(kept):
        await kept.says("no", times=4)


async def test_a_stop_is_polite_first(tmp_path: Path) -> None:
    kept = Kept(
        tmp_path,
        "signal.signal(signal.SIGTERM, lambda *_: (print('goodbye'), sys.exit(0)))\nprint('started')\ntime.sleep(60)",
    )
    async with running(kept):
        await kept.says("started")
    assert kept.said[-1] == "goodbye"


async def test_what_does_not_stop_is_killed(tmp_path: Path) -> None:
    kept = Kept(
        tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('started')\ntime.sleep(60)", patience_s=0.2
    )
    async with running(kept):
        await kept.says("started")
        pid = kept.keeper.pid
    assert pid is not None
    assert kept.said[-1] == "did not stop within 0.2 s and is killed"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_stop_between_two_starts_starts_nothing_more(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "print('no'); sys.exit(1)")
    kept.keeper.was_healthy.set()
    async with running(kept):
        await kept.says("it is started again")
        await kept.keeper.stop()
    assert kept.keeper.pid is None


async def test_output_without_line_ends_and_very_long_lines_come_through(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "sys.stdout.write('x' * 200_000 + '\\n' + 'last'); sys.exit(2)")
    with pytest.raises(StartupError):
        await kept.keeper.run()
    lines = [line for line in kept.said if not line.startswith("ended")]
    assert "".join(lines) == "x" * 200_000 + "last"
    assert lines[-1] == "last"


async def test_a_grandchild_that_holds_the_output_open_holds_up_nothing(tmp_path: Path) -> None:
    sleeper = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    kept = Kept(tmp_path, f"import subprocess\nprint('grandchild', {sleeper}.pid)\nsys.exit(2)")
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StartupError):
            await kept.keeper.run()
    [told] = [line for line in kept.said if line.startswith("grandchild")]
    os.kill(int(told.split()[1]), signal.SIGKILL)


_CHILD = """
import os, time
from quasar import leash
leash.hold(os.environ)
print(os.getpid(), flush=True)
time.sleep(60)
"""
_SUPERVISOR = """
import os, subprocess, sys, time
from quasar import leash
environment = dict(os.environ)
leash.attach(environment)
subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=environment)
time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ties a process to its parent")
def test_a_child_dies_with_its_supervisor() -> None:
    arguments = [sys.executable, "-c", _SUPERVISOR, _CHILD]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = psutil.Process(int(supervisor.stdout.readline()))
        supervisor.kill()
    child.wait(timeout=PATIENCE_S)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ties a process to its parent")
def test_a_child_whose_supervisor_is_gone_already_does_not_begin() -> None:
    environment = {**os.environ, leash.VARIABLE: "999999999"}
    done = subprocess.run([sys.executable, "-c", _CHILD], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "The supervisor of this process is gone." in done.stderr


def test_without_a_supervisor_nothing_is_held() -> None:
    leash.hold({})
    leash.hold({leash.VARIABLE: "nonsense"})


def test_the_end_of_a_process_is_said_in_words() -> None:
    assert [exit_words(code) for code in (0, 2, -9, -15, -99)] == [
        "exit code 0",
        "exit code 2",
        "killed by SIGKILL",
        "killed by SIGTERM",
        "killed by signal 99",
    ]
