"""A seccomp filter: no other programs, no forks, no local sockets, no look into other processes.

Landlock says which files and ports; it knows neither processes nor Unix sockets (the database's, the services'). The
filter knows those, though not paths: it is applied when the process has the two sockets that it needs. It also closes
what leads around Landlock (TCP under another protocol's name, connections that begin with their first data) and around
the limits on memory (pages that are shared and belong to no file).

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
_Instruction = tuple[int, int, int, int]
_LOAD, _EQUAL, _AT_LEAST, _MASK, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_CLONE_THREAD = 0x10000
_AF_INET, _AF_INET6 = 2, 10
_SOCK_STREAM, _SOCK_DGRAM, _SOCK_TYPE = 1, 2, 0xF
_PROTOCOLS: Final = (0, 6, 17)
"""Whatever fits the type, TCP, UDP. Multipath TCP and its like are no TCP to Landlock, which lets them connect."""
_FAST_OPEN = 0x20000000
_SHARED_ANONYMOUS = 0x21
_FIRST_X32 = 0x40000000
_SIGNALS_OF_FILES: Final = (8, 10, 15)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX: signals to others when a file is ready."""
_SIGNALS_OF_SOCKETS: Final = (0x8901, 0x8902)
"""FIOSETOWN, SIOCSPGRP."""
_LIFE_OF_PROCESS: Final = (1, 4)
"""PR_SET_PDEATHSIG, PR_SET_DUMPABLE: whether it ends with its service, and whether that can look into it."""
LISTENING: Final = 3
"""The descriptor on which a program in another language listens."""


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers of system calls on one architecture."""

    audit: int
    seccomp: int
    clone: int
    clone3: int
    socket: int
    socketpair: int
    listen: int
    sendto: int
    sendmsg: int
    sendmmsg: int
    mmap: int
    fcntl: int
    ioctl: int
    prctl: int
    denied: Mapping[str, int]
    """Never needed."""
    own_only: Mapping[str, int]
    """Whose first argument must be this process, or 0 for it."""
    marks: Mapping[str, int]
    """Who owns a file, who may use it, when it was used: done to any file of the same user, whatever Landlock says."""
    attributes: Mapping[str, int]
    """Further attributes of files, under the same rule."""


_X86 = Table(
    audit=0xC000003E,
    seccomp=317,
    clone=56,
    clone3=435,
    socket=41,
    socketpair=53,
    listen=50,
    sendto=44,
    sendmsg=46,
    sendmmsg=307,
    mmap=9,
    fcntl=72,
    ioctl=16,
    prctl=157,
    denied={
        "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "ptrace": 101, "process_vm_readv": 310,
        "process_vm_writev": 311, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272,
        "setns": 308, "bpf": 321, "add_key": 248, "request_key": 249, "keyctl": 250, "io_uring_setup": 425,
        "io_uring_enter": 426, "io_uring_register": 427, "userfaultfd": 323, "perf_event_open": 298,
        "open_by_handle_at": 304, "kexec_load": 246, "kexec_file_load": 320, "init_module": 175, "finit_module": 313,
        "delete_module": 176, "reboot": 169, "swapon": 167, "swapoff": 168, "sethostname": 170, "tkill": 200,
        "rt_sigqueueinfo": 129, "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424, "acct": 163,
        "kcmp": 312, "ioprio_set": 251, "setpriority": 141, "personality": 135, "process_madvise": 440,
        "shmget": 29, "shmat": 30, "msgget": 68, "semget": 64, "memfd_create": 319, "memfd_secret": 447, "syslog": 103,
    },
    own_only={
        "kill": 62, "tgkill": 234, "rt_tgsigqueueinfo": 297, "prlimit64": 302, "sched_setscheduler": 144,
        "sched_setparam": 142, "sched_setattr": 314, "sched_setaffinity": 203, "migrate_pages": 256, "move_pages": 279,
    },
    marks={
        "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "chown": 92, "fchown": 93, "lchown": 94,
        "fchownat": 260, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280,
    },
    attributes={
        "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "setxattrat": 463, "removexattr": 197,
        "lremovexattr": 198, "fremovexattr": 199, "removexattrat": 466, "file_setattr": 469,
    },
)  # fmt: skip
_ARM = Table(
    audit=0xC00000B7,
    seccomp=277,
    clone=220,
    clone3=435,
    socket=198,
    socketpair=199,
    listen=201,
    sendto=206,
    sendmsg=211,
    sendmmsg=269,
    mmap=222,
    fcntl=25,
    ioctl=29,
    prctl=167,
    denied={
        "execve": 221, "execveat": 281, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "mount": 40,
        "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268, "bpf": 280, "add_key": 217,
        "request_key": 218, "keyctl": 219, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
        "userfaultfd": 282, "perf_event_open": 241, "open_by_handle_at": 265, "kexec_load": 104,
        "kexec_file_load": 294, "init_module": 105, "finit_module": 273, "delete_module": 106, "reboot": 142,
        "swapon": 224, "swapoff": 225, "sethostname": 161, "tkill": 130, "rt_sigqueueinfo": 138, "pidfd_open": 434,
        "pidfd_getfd": 438, "pidfd_send_signal": 424, "acct": 89, "kcmp": 272, "ioprio_set": 30, "setpriority": 140,
        "personality": 92, "process_madvise": 440, "shmget": 194, "shmat": 196, "msgget": 186, "semget": 190,
        "memfd_create": 279, "memfd_secret": 447, "syslog": 116,
    },
    own_only={
        "kill": 129, "tgkill": 131, "rt_tgsigqueueinfo": 240, "prlimit64": 261, "sched_setscheduler": 119,
        "sched_setparam": 118, "sched_setattr": 274, "sched_setaffinity": 122, "migrate_pages": 238, "move_pages": 239,
    },
    marks={
        "fchmod": 52, "fchmodat": 53, "fchmodat2": 452, "fchown": 55, "fchownat": 54, "utimensat": 88,
    },
    attributes={
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "setxattrat": 463, "removexattr": 14, "lremovexattr": 15,
        "fremovexattr": 16, "removexattrat": 466, "file_setattr": 469,
    },
)  # fmt: skip
_TABLES: Final = {"x86_64": _X86, "aarch64": _ARM}


def supported() -> bool:
    """Tell whether the filter is known for this machine."""
    return sys.platform.startswith("linux") and platform.machine() in _TABLES


def apply(*, network: bool, programs: bool = False, shared_user: bool = False) -> None:
    """Filter the system calls of every thread of this process, for good.

    Args:
        network: Whether IP sockets may be made.
        programs: Whether this process may become another program, once or more; Landlock says which.
        shared_user: Whether the process has the user of its service, whose files it could otherwise take the
            permissions of: Landlock does not look at that.

    Raises:
        OSError: The kernel refused.
    """
    table = _TABLES[platform.machine()]
    _install(table, _program(table, os.getpid(), network=network, programs=programs, shared_user=shared_user))


def forbid_rings() -> None:
    """Keep io_uring from every thread of this process, for good.

    `apply` does so, too; this is for libraries that would make a ring before that, and fail without it after.

    Raises:
        OSError: The kernel refused.
    """
    table = _TABLES[platform.machine()]
    program = [*_begin(table)]
    for name in ("io_uring_setup", "io_uring_enter", "io_uring_register"):
        program += _when(table.denied[name], [_refuse(errno.ENOSYS)])
    _install(table, [*program, (_RETURN, 0, 0, _ALLOW)])


def _install(table: Table, program: list[_Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    filters = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("=H6xQ", len(program), ctypes.addressof(filters))
    kernel.no_new_privileges()
    kernel.syscall(table.seccomp, _MODE_FILTER, _TSYNC, ctypes.create_string_buffer(header, len(header)))


def _begin(table: Table) -> list[_Instruction]:
    return [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, table.audit),
        (_RETURN, 0, 0, _KILL),  # another architecture's numbers mean other calls
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _FIRST_X32),
        _refuse(errno.EPERM),  # the same calls by the numbers of the x32 ABI
    ]


def _program(table: Table, pid: int, *, network: bool, programs: bool, shared_user: bool) -> list[_Instruction]:
    program = _begin(table)
    for number, body in _judged(table, pid, network=network, programs=programs).items():
        program += _when(number, body)
    for name, number in table.denied.items():
        if not (programs and name == "execve"):
            program += _when(number, [_refuse(errno.EPERM)])
    if shared_user:
        for number in table.attributes.values():
            program += _when(number, [_refuse(errno.EPERM)])
        for number in table.marks.values():
            # Told as done: nobody but the process itself sees its files, and libraries that copy them go on.
            program += _when(number, [_refuse(0)])
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _judged(table: Table, pid: int, *, network: bool, programs: bool) -> dict[int, list[_Instruction]]:
    """Return what decides on the calls that depend on their arguments; those that are made most come first."""
    allow: _Instruction = (_RETURN, 0, 0, _ALLOW)
    listening = _need(0, (LISTENING,)) if programs else [_refuse(errno.EPERM)]
    return {
        table.sendmsg: [*_refuse_bits(2, _FAST_OPEN), allow],
        table.sendto: [*_refuse_bits(3, _FAST_OPEN), allow],
        table.sendmmsg: [*_refuse_bits(3, _FAST_OPEN), allow],
        table.mmap: [*_refuse_bits(3, _SHARED_ANONYMOUS), allow],
        table.fcntl: [*_refuse_values(1, _SIGNALS_OF_FILES), allow],
        table.ioctl: [*_refuse_values(1, _SIGNALS_OF_SOCKETS), allow],
        table.prctl: [*_refuse_values(0, _LIFE_OF_PROCESS), allow],
        table.clone: [*_need(0, (_CLONE_THREAD,), mask=_CLONE_THREAD), allow],
        table.clone3: [_refuse(errno.ENOSYS)],  # its flags are out of sight; glibc falls back to clone
        table.socket: [*_sockets(), allow] if network else [_refuse(errno.EACCES)],
        # A pair of datagram sockets could send to any Unix socket of that sort, by its path.
        table.socketpair: [*_need(1, (_SOCK_STREAM,), mask=_SOCK_TYPE), allow],
        table.listen: [*listening, allow],
        **{number: [*_need(0, (0, pid)), allow] for number in table.own_only.values()},
    }


def _when(number: int, body: list[_Instruction]) -> list[_Instruction]:
    return [(_EQUAL, 0, len(body), number), *body]


def _refuse(code: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERRNO | code)


def _argument(index: int, mask: int | None) -> list[_Instruction]:
    masked: list[_Instruction] = [] if mask is None else [(_MASK, 0, 0, mask)]
    return [(_LOAD, 0, 0, _ARGUMENTS + 8 * index), *masked]


def _need(index: int, values: Iterable[int], mask: int | None = None) -> list[_Instruction]:
    """Refuse the call unless an argument has one of the values."""
    allowed = list(values)
    checks: list[_Instruction] = [
        (_EQUAL, len(allowed) - place, 0, value) for place, value in enumerate(allowed)
    ]  # each jumps over the remaining checks and the refusal
    return [*_argument(index, mask), *checks, _refuse(errno.EPERM)]


def _refuse_values(index: int, values: Iterable[int]) -> list[_Instruction]:
    found = _argument(index, None)
    for value in values:
        found += [(_EQUAL, 0, 1, value), _refuse(errno.EPERM)]
    return found


def _refuse_bits(index: int, bits: int) -> list[_Instruction]:
    """Refuse the call when an argument has all of the bits."""
    return [*_argument(index, bits), (_EQUAL, 0, 1, bits), _refuse(errno.EPERM)]


def _sockets() -> list[_Instruction]:
    return [
        *_need(2, _PROTOCOLS),
        *_need(1, (_SOCK_STREAM, _SOCK_DGRAM), mask=_SOCK_TYPE),
        *_need(0, (_AF_INET, _AF_INET6)),
    ]
