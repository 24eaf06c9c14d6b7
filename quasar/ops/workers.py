"""Who works on an operation: an identity by which others on the same machine can tell whether it still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

import psutil

_START_TOLERANCE_S = 1.0


def worker_identity() -> str:
    """Return the identity of this process: host, process id and start."""
    process = psutil.Process()
    return f"{socket.gethostname()}/{os.getpid()}/{process.create_time():.2f}"


def dead_workers(workers: Iterable[str]) -> list[str]:
    """Return those of the workers that ran on this host and have ended; of other hosts nothing can be told."""
    return [worker for worker in workers if _dead(worker)]


def _dead(worker: str) -> bool:
    host, _, rest = worker.partition("/")
    pid, _, start = rest.partition("/")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(start)) > _START_TOLERANCE_S
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, ValueError):
        return False
