"""The jail holds for an ordinary user as it does for root: the whole hostile suite again, in a process without root."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from quasar.plugins.jail import landlock, seccomp
from tests.integration.plugins import ordinary

SUITE = sorted(Path(__file__).parent.glob("test_hostile_*.py"))
PARTS = 4
"""The suite is run in so many parts, which several workers share."""
OF_THREADS = {"test_it_cannot_grow_threads_without_end", "test_the_posture_says_what_the_kernel_enforces_here"}

pytestmark = [
    pytest.mark.skipif(
        os.name != "posix" or os.getuid() != 0,
        reason="these tests are run by an ordinary user, for whom the hostile suite itself shows it",
    ),
    pytest.mark.skipif(
        landlock.abi() < 4 or not seccomp.supported(), reason="this kernel has no Landlock for TCP ports, or no seccomp"
    ),
    pytest.mark.timeout(300),
]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of the ordinary user's own."""
    folder = Path("/tmp") / f"quasar-ordinary-{os.getpid()}"
    folder.mkdir(mode=0o700)
    os.chown(folder, ordinary.USER, ordinary.USER)
    yield folder
    shutil.rmtree(folder)


def run(home: Path, tests: Sequence[str], *words: str) -> str:
    """Run tests of the suite as the ordinary user; return what pytest said."""
    pytest_words = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--basetemp", f"{home}/t"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.plugins.ordinary", *words, *pytest_words, *tests],
        cwd=ordinary.ROOT,
        env={
            "PATH": os.defpath,
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GRPC_ENABLE_FORK_SUPPORT": "0",
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if done.returncode == ordinary.CANNOT:
        pytest.skip(f"Python lies in a folder that others may not enter, and {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout, done.stdout[-2000:]
    return done.stdout


def suite() -> list[str]:
    """Return all tests of the suite, each as pytest calls it."""
    return [
        f"{path}::{one.name}"
        for path in SUITE
        for one in ast.parse(path.read_text()).body
        if isinstance(one, ast.AsyncFunctionDef) and one.name.startswith("test_")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_hostile_plug_ins_are_contained_for_an_ordinary_user(home: Path, part: int) -> None:
    assert " passed" in run(home, suite()[part::PARTS])


@pytest.mark.slow
def test_threads_are_watched_where_the_kernel_does_not_count_them(home: Path) -> None:
    tests = [test for test in suite() if test.rpartition("::")[2] in OF_THREADS]
    assert len(tests) == len(OF_THREADS)
    assert " passed" in run(home, tests, ordinary.IN_CONTAINER)
