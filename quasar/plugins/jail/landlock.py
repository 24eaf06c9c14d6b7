"""Landlock: the kernel lets this process reach only the files and TCP ports that are named.

Source: https://docs.kernel.org/userspace-api/landlock.html (ABI 1 is Linux 5.13, ABI 4 with TCP is 6.7, ABI 6 is 6.12).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Iterable
from typing import Final

from quasar.plugins.jail import kernel
from quasar.plugins.jail.posture import PostureItem

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_RULE_PATH, _RULE_PORT = 1, 2

EXECUTE: Final = 1 << 0
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
WRITE_FILE: Final = 1 << 1
TRUNCATE: Final = 1 << 14
MAKE_SOCK: Final = 1 << 9
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15
"""Rights that make sense for a file; the others are for folders only."""
_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1
READ: Final = READ_FILE | READ_DIR
# Everything but devices and running programs.
WRITE: Final = READ | WRITE_FILE | TRUNCATE | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13


def abi() -> int:
    """Return the version of Landlock that the kernel speaks; 0 without it."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return kernel.syscall(_CREATE, 0, 0, _VERSION_FLAG)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):  # the last: a container's filter
            return 0
        raise


def restrict(version: int, rules: Iterable[tuple[str, int]], ports: Iterable[int]) -> list[PostureItem]:
    """Confine this thread and what it starts from now on; returns what holds.

    Args:
        version: What `abi` returned, above 0.
        rules: (path, rights) of what may be used; paths that do not exist are left out.
        ports: TCP ports that may be connected to.
    """
    rights = _RIGHTS_BY_ABI[max(known for known in _RIGHTS_BY_ABI if known <= version)]
    network = _BIND_TCP | _CONNECT_TCP if version >= 4 else 0
    scope = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= 6 else 0
    attributes = struct.pack("=QQQ", rights, network, scope)[: 8 if version < 4 else 16 if version < 6 else 24]
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = kernel.syscall(_CREATE, buffer, len(attributes), 0)
    try:
        for path, wanted in rules:
            _allow_path(ruleset, path, wanted & rights)
        for port in ports if network else ():
            _add_rule(ruleset, _RULE_PORT, struct.pack("=QQ", _CONNECT_TCP, port))
        kernel.no_new_privileges()
        kernel.syscall(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return _posture(version, sorted(ports))


def _allow_path(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what cannot be opened needs no rule
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        _add_rule(ruleset, _RULE_PATH, struct.pack("=Qi", rights, descriptor))
    finally:
        os.close(descriptor)


def _add_rule(ruleset: int, kind: int, attributes: bytes) -> None:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    kernel.syscall(_ADD, ruleset, kind, buffer, 0)


def _posture(version: int, ports: list[int]) -> list[PostureItem]:
    reach = f"TCP ports {', '.join(map(str, ports))} of any host" if ports else "no TCP"
    network = f"Landlock ABI {version}: {reach}" if version >= 4 else f"Landlock ABI {version} does not know TCP ports"
    signals = "Landlock: to itself only" if version >= 6 else f"Landlock ABI {version} does not know signals"
    return [
        PostureItem("filesystem", True, f"Landlock ABI {version}: own code, Python, scratch folder"),
        PostureItem("network", version >= 4, network),
        PostureItem("signals", version >= 6, signals),
    ]
