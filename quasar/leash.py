"""What ties a supervised process to its supervisor: it must not outlive it, not even one that is killed with -9."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, MutableMapping

VARIABLE = "QUASAR_SUPERVISOR_PID"
_PR_SET_PDEATHSIG = 1


def attach(environment: MutableMapping[str, str]) -> None:
    """Put into a child's environment who its supervisor is: this process."""
    environment[VARIABLE] = str(os.getpid())


def hold(environment: Mapping[str, str]) -> None:
    """Ask the kernel to kill this process when its supervisor dies. Without a supervisor, nothing happens.

    Called first thing in a child. The kernel forgets the wish at `exec`, and a parent that died before the call is
    not noticed by it; hence the check afterwards. Only Linux has this; elsewhere the next `quasar up` cleans what was
    left.

    Raises:
        SystemExit: The supervisor is gone already.
    """
    supervisor = environment.get(VARIABLE, "")
    if not supervisor.isdecimal() or not sys.platform.startswith("linux"):
        return
    die_with_parent(signal.SIGKILL)
    if os.getppid() != int(supervisor):
        raise SystemExit("The supervisor of this process is gone.")


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send a signal to this process when the thread that started it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "prctl(PR_SET_PDEATHSIG)")
