"""How the processes of uploaded and built-in code are shown."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias


class ProcessState(enum.IntEnum):
    """Whether a process can do its work; the numbers are those of `quasar.ops.v1.PartState`."""

    SERVING = 1
    DEGRADED = 2
    NOT_SERVING = 3
    STARTING = 4
    DRAINING = 5


@dataclass(frozen=True, slots=True)
class PostureItem:
    """One measure that confines a process."""

    measure: str
    """ "filesystem", "network", "memory", "processes", "environment"."""
    enforced: bool
    """Enforced by the kernel here."""
    detail: str
    """How, or why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginProcess:
    """One process."""

    name: str
    """Name of the class that it runs."""
    kind: Literal["provider", "broker", "strategy"]
    version: int
    pid: int
    state: ProcessState
    memory_bytes: int
    """Resident memory not shared with others."""
    cpu_seconds: float
    restarts: int
    start_time: dt.datetime
    last_exit: str = ""
    """Why it last ended; empty when it never did."""
    posture: tuple[PostureItem, ...] = ()


PluginProcesses: TypeAlias = Callable[[], Awaitable[Sequence[PluginProcess]]]
"""Returns the processes that a service runs at the moment."""


async def no_plugin_processes() -> Sequence[PluginProcess]:
    """Return nothing: the answer of a service that runs no such code."""
    return ()
