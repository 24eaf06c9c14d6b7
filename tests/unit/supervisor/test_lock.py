"""One holder of a home at a time, whatever becomes of it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from quasar.errors import StartupError
from quasar.supervisor.lock import HomeLock, holder

_HOLD = "import sys; from pathlib import Path; from quasar.supervisor.lock import HomeLock\n"
_HOLD += "with HomeLock(Path(sys.argv[1])): print('held', flush=True); input()"


def test_a_second_holder_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "up.lock"
    with HomeLock(path):
        assert holder(path) == os.getpid()
        with pytest.raises(StartupError, match=f"already \\(process {os.getpid()}\\)"), HomeLock(path):
            raise AssertionError("must not be entered")
        assert holder(path) == os.getpid()
    assert holder(path) is None
    with HomeLock(path):
        assert holder(path) == os.getpid()


def test_a_lock_that_was_never_taken_has_no_holder(tmp_path: Path) -> None:
    assert holder(tmp_path / "up.lock") is None


def test_a_killed_holder_leaves_the_lock_free(tmp_path: Path) -> None:
    path = tmp_path / "up.lock"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert holder(path) == process.pid
        process.kill()
    assert holder(path) is None
    with HomeLock(path):
        assert holder(path) == os.getpid()


def test_somebody_who_only_looks_does_not_keep_a_start_away(tmp_path: Path) -> None:
    path = tmp_path / "up.lock"
    path.touch()
    with path.open("r+") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        gone = threading.Timer(0.02, fcntl.flock, (looking, fcntl.LOCK_UN))
        gone.start()
        with HomeLock(path):
            assert holder(path) == os.getpid()
        gone.join()
