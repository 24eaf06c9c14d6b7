"""The user that a plug-in runs as: never root, and where the service is root, one of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from quasar.plugins.jail import kernel
from quasar.plugins.jail.posture import PostureItem

_FIRST, _COUNT = 61184, 4336
"""User ids that systemd keeps for services without an account: https://systemd.io/UIDS-GIDS/."""
_CAP_DAC_READ_SEARCH: Final = 2
_CAPSET = {"x86_64": 126, "aarch64": 91}
_LAST_CAPABILITY: Final = 63
_NEW_USER_NAMESPACE: Final = 0x10000000


def own_id(pid: int) -> int:
    """Return a user id for a process that no other process has: two plug-ins of one user would share its limits."""
    taken = _ids_in_use()
    return next((one for step in range(_COUNT) if (one := _FIRST + (pid + step) % _COUNT) not in taken), _FIRST)


def is_own(number: int) -> bool:
    """Tell whether a user id is one of those that plug-ins get."""
    return _FIRST <= number < _FIRST + _COUNT


def _ids_in_use() -> set[int]:
    # The owner of the folder in /proc is root for a process that changed its user; its status tells the truth.
    return {
        int(line.split()[1])
        for status in Path("/proc").glob("[0-9]*/status")
        for line in _text(status).splitlines()
        if line.startswith("Uid:")
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # the process has ended meanwhile


def may_read_everything() -> bool:
    """Tell whether this process, though not root's, was given the right to read past file permissions."""
    found = [line for line in _text(Path("/proc/self/status")).splitlines() if line.startswith("CapPrm:")]
    return bool(found) and bool(int(found[0].split()[1], 16) >> _CAP_DAC_READ_SEARCH & 1)


def count_apart() -> str:
    """Have the kernel count the threads of this process apart from its user's others; return why it does not, if so.

    A limit on processes holds for all of a user's processes together, but separately in each user namespace. The
    process has every right in its new namespace and none outside of it; `give_up_capabilities` takes those, too.

    Source: user_namespaces(7); the limit is counted so since Linux 5.14.
    """
    user, group = os.getuid(), os.getgid()
    try:
        kernel.unshare(_NEW_USER_NAMESPACE)
    except OSError as error:
        return f"the kernel refuses a user namespace of its own: {error.strerror}"
    with contextlib.suppress(OSError):  # without names for its ids it is "nobody" to itself, and the same to the kernel
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    return ""


def give(paths: Iterable[str], owner: int) -> None:
    """Make files and folders belong to a user."""
    for path in paths:
        if Path(path).exists():
            os.chown(path, owner, owner)


def reachable(paths: Iterable[str]) -> bool:
    """Tell whether everybody may enter the folders on the way to each path, and read what is there."""
    for path in paths:
        resolved = Path(path).resolve()
        if not resolved.exists():
            continue
        if not all(parent.stat().st_mode & 0o001 for parent in resolved.parents):
            return False
        if not resolved.stat().st_mode & 0o004:
            return False
    return True


def leave_root(own: int, *, read_everywhere: bool) -> PostureItem:
    """Become an ordinary user.

    Args:
        own: The user's id.
        read_everywhere: Keep the one right to read past file permissions, where Python itself lies in a folder that is
            closed to others; Landlock then says what can be read.
    """
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1 if read_everywhere else 0)
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
        except OSError:
            break  # beyond the last one of this kernel
    os.setgroups([])
    os.setresgid(own, own, own)
    os.setresuid(own, own, own)
    give_up_capabilities(read_everywhere=read_everywhere)
    extra = "; may read past file permissions, within what Landlock allows" if read_everywhere else ""
    return PostureItem("user", True, f"own user id {own}{extra}")


def give_up_capabilities(*, read_everywhere: bool) -> None:
    """Keep none of root's single rights that the service may have been given, but that one where it is needed."""
    kept = 1 << _CAP_DAC_READ_SEARCH if read_everywhere else 0
    # Version 3 of the header; effective and permitted, nothing inheritable, low words first.
    header = struct.pack("=Ii", 0x20080522, 0)
    data = struct.pack("=6I", kept, kept, 0, 0, 0, 0)
    number = _CAPSET.get(os.uname().machine)
    if number is not None:
        kernel.syscall(
            number, ctypes.create_string_buffer(header, len(header)), ctypes.create_string_buffer(data, len(data))
        )
