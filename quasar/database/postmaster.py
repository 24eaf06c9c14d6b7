"""The process of the embedded server: started by us, or found running after a former parent was killed."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(slots=True)
class Postmaster:
    """A running server process."""

    pid: int
    """Its process id."""
    child: subprocess.Popen[bytes] | None = None
    """The handle when this process started it; None when it was adopted."""

    @property
    def adopted(self) -> bool:
        """Whether a former parent had started it."""
        return self.child is None

    def alive(self) -> bool:
        """Tell whether the process still runs, collecting it when it is our child and has ended."""
        if self.child is not None:
            return self.child.poll() is None
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that has ended already needs none."""
        if self.alive():
            os.kill(self.pid, number)


def find_postmaster(data: Path, mark: str) -> Postmaster | None:
    """Find the server that runs on a data folder.

    A pid file outlives its server when that was killed, and the pid may belong to anything by then; so the process must
    carry the mark of this folder in its command line.

    Args:
        data: The data folder.
        mark: The argument that only a server started for this folder carries.
    """
    try:
        pid = int((data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or mark not in process.cmdline():
            return None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    return Postmaster(pid)
