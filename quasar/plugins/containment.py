"""What happened to a plug-in that had to be stopped, in one notice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from quasar.plugins.manifest import Kind


class Cause(Enum):
    """Why a process of a plug-in ended although nobody had asked it to."""

    HUNG = "hung"
    MEMORY = "memory"
    SCRATCH = "scratch"
    THREADS = "threads"
    SPINNING = "spinning"
    CRASHED = "crashed"
    EXITED = "exited"
    NOT_READY = "not_ready"


@dataclass(frozen=True, slots=True)
class Containment:
    """One end of one process."""

    kind: Kind
    name: str
    version: int
    cause: Cause
    detail: str
    """One sentence for people, with the numbers."""
    pid: int
    next_start_s: float | None = None
    """Seconds until it is started again; None: it is not."""


OnContainment = Callable[[Containment], None]


def exit_words(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"ended by itself with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = {"SIGXCPU": " (out of processor time)", "SIGXFSZ": " (a file grew too large)", "SIGKILL": " (killed)"}
    return f"was ended by {name}{hint.get(name, '')}"
