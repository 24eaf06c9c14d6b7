"""What tests of the embedded PostgreSQL look at: processes, folders, rows."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import asyncpg
import psutil

import quasar

ROOT = Path(quasar.__file__).resolve().parents[1]
MAKE = "create table kept (n int); insert into kept values (1)"


def end_servers(home: Path) -> None:
    """End a server that a failed test has left, so that it fails alone."""
    pid_file = home / "data" / "postmaster.pid"
    if pid_file.exists():
        pid = int(pid_file.read_text().splitlines()[0])
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGQUIT)


def files(folder: Path) -> list[str]:
    """Return the names of everything in a folder."""
    return sorted(str(path) for path in folder.rglob("*"))


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and that nobody has collected does not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def rows(url: str) -> list[int]:
    connection = await asyncpg.connect(url)
    try:
        return [row["n"] for row in await connection.fetch("select n from kept order by n")]
    finally:
        await connection.close()


def run_python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a Python program that imports the platform."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [options.pop("python", sys.executable), "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd="/", **options
    )


async def run_program(*command: str) -> bool:
    """Run a program and tell whether it succeeded."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait() == 0
