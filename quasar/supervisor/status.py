"""How the platform on this machine is, as `quasar status` tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from quasar.clock import Clock
from quasar.config import PARTS, Home, Settings
from quasar.supervisor import lock
from quasar.supervisor.probes import Answer, Probe
from quasar.supervisor.state import ProcessRecord, UpState, read_state


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process."""

    name: str
    state: str
    """`ready`, `not ready`, `does not answer`, `down`; the database and the supervisor are `running` or `down`."""
    pid: int | None
    address: str
    memory_bytes: int | None
    """Memory not shared with other processes where the kernel tells, else resident memory."""
    uptime_s: float | None
    restarts: int
    detail: str = ""
    """What helps when it is not well."""


@dataclass(frozen=True, slots=True)
class PlatformStatus:
    """All processes."""

    running: bool
    """A `quasar up` runs on the home."""
    ready: bool
    """Everything that it runs is ready."""
    home: str
    version: str = ""
    uptime_s: float | None = None
    processes: tuple[ProcessStatus, ...] = ()


async def read_status(home: Home, variables: Mapping[str, str], clock: Clock) -> PlatformStatus:
    """Look at the platform on a home and ask each of its processes how it is."""
    state = read_state(home.state) if lock.holder(home.lock) is not None else None
    if state is None:
        return PlatformStatus(running=False, ready=False, home=str(home.path))
    processes = await asyncio.gather(*(_status(each, variables, clock) for each in state.processes))
    supervisor = _of(state.supervisor, "running", clock, descendants=False)
    return PlatformStatus(
        running=True,
        ready=all(each.state in ("ready", "running") for each in processes) and _complete(state),
        home=str(home.path),
        version=state.version,
        uptime_s=(clock.now() - state.start_time).total_seconds(),
        processes=(supervisor, *processes),
    )


def _complete(state: UpState) -> bool:
    """Tell whether at least one part runs: between two runs of a process it is not in the state."""
    return any(each.address for each in state.processes)


async def _status(record: ProcessRecord, variables: Mapping[str, str], clock: Clock) -> ProcessStatus:
    if record.process() is None:
        return _of(record, "down", clock)
    part = next((part for part in PARTS if part.name == record.name), None)
    if part is None:
        return _of(record, "running", clock)
    host, _, port = record.address.rpartition(":")
    # The ports are those that it was started with, whatever the environment of the one who asks.
    settings = Settings.read(part, {**variables, part.port_variable: port, "QUASAR_BIND": host.strip("[]")})
    probe = Probe(settings)
    try:
        answer = await probe.ask()
    finally:
        await probe.close()
    return _of(record, answer.value, clock, _ADVICE.get(answer, ""))


_ADVICE = {
    Answer.UNREADY: "it runs and waits for something, mostly the database; its lines in the log say for what",
    Answer.SILENT: "it runs and does not answer; it may be starting",
}


def _of(
    record: ProcessRecord, state: str, clock: Clock, detail: str = "", *, descendants: bool = True
) -> ProcessStatus:
    process = record.process()
    return ProcessStatus(
        name=record.name,
        state=state,
        pid=record.pid if process is not None else None,
        address=record.address,
        memory_bytes=memory_bytes(process, descendants=descendants) if process is not None else None,
        uptime_s=clock.time_ns() / 1e9 - record.create_time if process is not None else None,
        restarts=record.restarts,
        detail=detail,
    )


def memory_bytes(process: psutil.Process, *, descendants: bool = True) -> int | None:
    """Return the memory of a process and its descendants; shared pages count in proportion where that is known."""
    total = 0
    try:
        for each in (process, *(process.children(recursive=True) if descendants else ())):
            total += _memory_of(each)
    except psutil.Error:
        return None
    return total


def _memory_of(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.uss))
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
