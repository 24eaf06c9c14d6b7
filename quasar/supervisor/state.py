"""What a running `quasar up` started, written where `quasar status`, `quasar down` and the next `quasar up` find it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

DATABASE = "database"
"""The name under which PostgreSQL stands in the state."""
_START_TOLERANCE_S = 1.0


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process, named so that another one with the same id is not taken for it."""

    name: str
    pid: int
    create_time: float
    """Start of the process in seconds since 1970, as the kernel has it."""
    address: str = ""
    """`host:port` that it listens on; empty when it does not."""
    restarts: int = 0

    @classmethod
    def of(cls, name: str, pid: int, address: str = "", restarts: int = 0) -> ProcessRecord | None:
        """Return the record of a process that runs, or None when it does not any more."""
        try:
            return cls(name, pid, psutil.Process(pid).create_time(), address, restarts)
        except psutil.Error:
            return None

    def process(self) -> psutil.Process | None:
        """Return the process while it is this one and runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.create_time) < _START_TOLERANCE_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


@dataclass(frozen=True, slots=True)
class UpState:
    """A running platform."""

    supervisor: ProcessRecord
    version: str
    start_time: dt.datetime
    embedded: bool
    """Whether the database is the platform's own."""
    processes: tuple[ProcessRecord, ...] = field(default=())

    def write(self, path: Path) -> None:
        """Write the state in one step: a reader sees the former one or this one."""
        content = asdict(self) | {"start_time": self.start_time.isoformat()}
        staged = path.with_name(f".{path.name}.new")
        staged.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        staged.replace(path)


def read_state(path: Path) -> UpState | None:
    """Return the state that was written last, or None when there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return UpState(
            supervisor=ProcessRecord(**content["supervisor"]),
            version=content["version"],
            start_time=dt.datetime.fromisoformat(content["start_time"]),
            embedded=content["embedded"],
            processes=tuple(ProcessRecord(**each) for each in content["processes"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def end_leftovers(path: Path) -> list[str]:
    """Kill what a supervisor that was killed left behind, other than PostgreSQL, which is adopted; return the names.

    Call it under the home's lock only: then the supervisor of the state is gone.
    """
    state = read_state(path)
    if state is None:
        return []
    found = [
        (each.name, process)
        for each in state.processes
        if each.name != DATABASE and (process := each.process()) is not None
    ]
    for _, process in found:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs([process for _, process in found], timeout=5)
    return [name for name, _ in found]
