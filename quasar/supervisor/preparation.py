"""What must be true before anything is started: a home that can be written, room on its disk, free ports."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from quasar.config import GATEWAY, Home, Part
from quasar.config import Settings as PartSettings
from quasar.errors import StartupError
from quasar.supervisor.ports import PortWish

MIB = 1024 * 1024
LEAST_FREE_BYTES = 256 * MIB
"""An empty database and its write-ahead log take about half of it."""


def prepare_home(home: Home, free_bytes: Callable[[Path], int] | None = None) -> None:
    """Make the home, for its owner only, and check that it can be written and has room.

    Args:
        home: The folder of the platform's files.
        free_bytes: Returns the room on the disk of a path; that of the machine when absent.

    Raises:
        StartupError: It cannot be made or written, or the disk is full.
    """
    path = home.path
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = path / f".probe.{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise unwritable(error, path) from error
    free = (free_bytes or _free_bytes)(path)
    if free < LEAST_FREE_BYTES:
        raise StartupError(
            f"The disk of {path} must have {LEAST_FREE_BYTES // MIB} MiB free, had {free // MIB} MiB; "
            "free some space, or set QUASAR_HOME to a folder on another disk. Nothing is lost."
        )


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


class DiskWatch:
    """Tells once that a disk is nearly full, and once that it has room again."""

    def __init__(self, path: Path, free_bytes: Callable[[Path], int] = _free_bytes) -> None:
        """Watch the disk of `path`."""
        self._path = path
        self._free_bytes = free_bytes
        self._scarce = False

    def look(self) -> str:
        """Return what is to be told now; "" when nothing changed."""
        try:
            free = self._free_bytes(self._path)
        except OSError:
            return ""  # the processes that use the folder say what is wrong with it
        if (free < LEAST_FREE_BYTES) == self._scarce:
            return ""
        self._scarce = not self._scarce
        if not self._scarce:
            return f"the disk of {self._path} has room again"
        left = f"{free // MIB} MiB free"
        return f"the disk of {self._path} has {left}: free some space, for without it nothing can be stored"


def unwritable(error: OSError, path: Path) -> StartupError:
    """Return what an operator is told when a file of the home cannot be made or written."""
    where = error.filename or path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StartupError(
            f"The disk of {path} is full; free some space, or set QUASAR_HOME to a folder on another disk. "
            "Nothing is lost."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StartupError(
            f"{where} must be writable by the user who runs Quasar ({error.strerror}); "
            "correct its owner and permissions, or set QUASAR_HOME to another folder."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return StartupError(f"{where} is in the way ({error.strerror}); move it away, or set QUASAR_HOME elsewhere.")
    return StartupError(f"{where} cannot be used ({error.strerror}); set QUASAR_HOME to another folder.")


def port_wishes(parts: dict[Part, PartSettings]) -> list[PortWish]:
    """Return the ports that the parts are going to listen on, those of their metrics included."""
    wishes = [PortWish(part.name, each.host, each.port, part.port_variable) for part, each in parts.items()]
    for part, each in parts.items():
        if each.metrics_port is not None and part is not GATEWAY:
            name = f"{part.name}'s metrics"
            wishes.append(PortWish(name, each.host, each.metrics_port, "QUASAR_METRICS_PORT"))
    return wishes
