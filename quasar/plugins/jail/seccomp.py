"""A seccomp filter: no other programs, no forks, no local sockets, no look into other processes.

Landlock says which files and ports; it knows neither processes nor Unix sockets (the database's, the services'). The
filter knows those, though not paths: it is applied when the process has the two sockets that it needs.

Source: https://docs.kernel.org/userspace-api/seccomp_filter.html and the kernel's system call tables.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from quasar.plugins.jail import kernel

_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_MODE_FILTER, _TSYNC = 1, 1
_LOAD, _EQUAL, _MASK, _RETURN = 0x20, 0x15, 0x54, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_CLONE_THREAD = 0x10000
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_SOCK_RAW = 3


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers of system calls on one architecture."""

    audit: int
    seccomp: int
    clone: int
    clone3: int
    socket: int
    denied: Mapping[str, int]
    """Never needed."""
    own_only: Mapping[str, int]
    """Whose first argument must be this process, or 0 for it."""


_X86 = Table(
    audit=0xC000003E,
    seccomp=317,
    clone=56,
    clone3=435,
    socket=41,
    denied={
        "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "ptrace": 101, "process_vm_readv": 310,
        "process_vm_writev": 311, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272,
        "setns": 308, "bpf": 321, "add_key": 248, "request_key": 249, "keyctl": 250, "io_uring_setup": 425,
        "io_uring_enter": 426, "io_uring_register": 427, "userfaultfd": 323, "perf_event_open": 298,
        "open_by_handle_at": 304, "kexec_load": 246, "kexec_file_load": 320, "init_module": 175, "finit_module": 313,
        "delete_module": 176, "reboot": 169, "swapon": 167, "swapoff": 168, "sethostname": 170, "tkill": 200,
        "rt_sigqueueinfo": 129, "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424, "acct": 163,
        "kcmp": 312, "ioprio_set": 251, "setpriority": 141, "personality": 135, "process_madvise": 440,
        "shmget": 29, "shmat": 30, "msgget": 68, "semget": 64,
    },
    own_only={
        "kill": 62, "tgkill": 234, "rt_tgsigqueueinfo": 297, "prlimit64": 302, "sched_setscheduler": 144,
        "sched_setparam": 142, "sched_setattr": 314, "sched_setaffinity": 203, "migrate_pages": 256, "move_pages": 279,
    },
)  # fmt: skip
_ARM = Table(
    audit=0xC00000B7,
    seccomp=277,
    clone=220,
    clone3=435,
    socket=198,
    denied={
        "execve": 221, "execveat": 281, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "mount": 40,
        "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268, "bpf": 280, "add_key": 217,
        "request_key": 218, "keyctl": 219, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
        "userfaultfd": 282, "perf_event_open": 241, "open_by_handle_at": 265, "kexec_load": 104,
        "kexec_file_load": 294, "init_module": 105, "finit_module": 273, "delete_module": 106, "reboot": 142,
        "swapon": 224, "swapoff": 225, "sethostname": 161, "tkill": 130, "rt_sigqueueinfo": 138, "pidfd_open": 434,
        "pidfd_getfd": 438, "pidfd_send_signal": 424, "acct": 89, "kcmp": 272, "ioprio_set": 30, "setpriority": 140,
        "personality": 92, "process_madvise": 440, "shmget": 194, "shmat": 196, "msgget": 186, "semget": 190,
    },
    own_only={
        "kill": 129, "tgkill": 131, "rt_tgsigqueueinfo": 240, "prlimit64": 261, "sched_setscheduler": 119,
        "sched_setparam": 118, "sched_setattr": 274, "sched_setaffinity": 122, "migrate_pages": 238, "move_pages": 239,
    },
)  # fmt: skip
_TABLES: Final = {"x86_64": _X86, "aarch64": _ARM}


def supported() -> bool:
    """Tell whether the filter is known for this machine."""
    return sys.platform.startswith("linux") and platform.machine() in _TABLES


def apply(*, network: bool, programs: bool = False) -> None:
    """Filter the system calls of every thread of this process, for good.

    Args:
        network: Whether IP sockets may be made.
        programs: Whether this process may become another program, once or more; Landlock says which.

    Raises:
        OSError: The kernel refused.
    """
    table = _TABLES[platform.machine()]
    program = _program(table, os.getpid(), network=network, programs=programs)
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    filters = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("=H6xQ", len(program), ctypes.addressof(filters))
    kernel.no_new_privileges()
    kernel.syscall(table.seccomp, _MODE_FILTER, _TSYNC, ctypes.create_string_buffer(header, len(header)))


_Instruction = tuple[int, int, int, int]


def _program(table: Table, pid: int, *, network: bool, programs: bool) -> list[_Instruction]:
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, table.audit),
        (_RETURN, 0, 0, _KILL),  # another architecture's numbers mean other calls
        (_LOAD, 0, 0, _NUMBER),
    ]
    for name, number in table.denied.items():
        if programs and name == "execve":
            continue
        program += _when(number, [_refuse(errno.EPERM)])
    program += _when(table.clone3, [_refuse(errno.ENOSYS)])  # its flags are out of sight; glibc falls back to clone
    program += _when(table.clone, _threads_only())
    program += _when(table.socket, _sockets(network))
    for number in table.own_only.values():
        program += _when(number, _among((0, pid)))
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _when(number: int, body: list[_Instruction]) -> list[_Instruction]:
    return [(_EQUAL, 0, len(body), number), *body]


def _refuse(code: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERRNO | code)


def _threads_only() -> list[_Instruction]:
    return [
        (_LOAD, 0, 0, _ARGUMENTS),
        (_MASK, 0, 0, _CLONE_THREAD),
        (_EQUAL, 1, 0, _CLONE_THREAD),
        _refuse(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _among(values: Iterable[int]) -> list[_Instruction]:
    allowed = list(values)
    checks: list[_Instruction] = [
        (_EQUAL, len(allowed) - index, 0, value) for index, value in enumerate(allowed)
    ]  # each jumps over the remaining checks and the refusal
    return [(_LOAD, 0, 0, _ARGUMENTS), *checks, _refuse(errno.EPERM), (_RETURN, 0, 0, _ALLOW)]


def _sockets(network: bool) -> list[_Instruction]:
    if not network:
        return [_refuse(errno.EACCES)]
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8),
        (_MASK, 0, 0, 0xF),
        (_EQUAL, 0, 1, _SOCK_RAW),
        _refuse(errno.EPERM),
        *_among((_AF_INET, _AF_INET6)),
    ]
