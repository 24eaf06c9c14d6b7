"""One `quasar up` per home: a lock that the kernel releases with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from quasar.errors import StartupError

_PAUSES_S = (0.0, 0.01, 0.05, 0.2)
"""`quasar status` holds the lock for a moment, too, to see whether it is free."""


class HomeLock:
    """Holds the lock file of a home while it is entered."""

    def __init__(self, path: Path) -> None:
        """Lock with `path`, which is created and never removed: removing a lock file opens a race."""
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> HomeLock:
        """Take the lock.

        Raises:
            StartupError: Another process holds it; the message names its id.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _taken(descriptor):
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StartupError(
                f"`quasar up` is running on {self._path.parent} already (process {holder}); "
                "stop it with `quasar down`, or set QUASAR_HOME to another folder."
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def _taken(descriptor: int) -> bool:
    """Take the lock, or tell that somebody holds it: for longer than `holder` does when it looks."""
    for pause_s in _PAUSES_S:
        time.sleep(pause_s)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def holder(path: Path) -> int | None:
    """Return the id of the process that holds a lock, or None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 32).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else None
    finally:
        os.close(descriptor)
    return None
