"""Calls to the kernel that Python has no names for."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_KEEPCAPS: Final = 8
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38

_libc: ctypes.CDLL | None = None


def libc() -> ctypes.CDLL:
    """Return the C library."""
    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
        _libc.syscall.restype = ctypes.c_long
    return _libc


def syscall(number: int, *arguments: Any) -> int:
    """Make a system call.

    Raises:
        OSError: The kernel refused.
    """
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(libc().syscall(ctypes.c_long(number), *wide))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), f"system call {number}")
    return result


def prctl(option: int, *arguments: int) -> int:
    """Change how the kernel treats this process.

    Raises:
        OSError: The kernel refused.
    """
    words = [ctypes.c_ulong(one) for one in (*arguments, 0, 0, 0, 0)[:4]]
    result = int(libc().prctl(ctypes.c_int(option), *words))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), f"prctl({option})")
    return result


def unshare(flags: int) -> None:
    """Leave namespaces of the process that started this one.

    Raises:
        OSError: The kernel refused.
    """
    if libc().unshare(ctypes.c_int(flags)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), f"unshare({flags:#x})")


def no_new_privileges() -> None:
    """Give up gaining rights by running other programs; Landlock and seccomp ask for it."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(number: int) -> None:
    """Have the kernel send a signal to this process when the thread that started it ends."""
    prctl(PR_SET_PDEATHSIG, number)
