"""Becomes an ordinary user and runs a program: `python ordinary.py [OPTION] PROGRAM ARGUMENT ...`.

With `--as-in-a-container` namespaces are forbidden to it; with `--names-from=FILE` that file is its `/etc/resolv.conf`.

For tests that root starts. Python and the project may lie below a folder that is closed to others, as root's home is; a
private mount then shows them below a folder of the same name that belongs to the user. Exits with 77 where root of this
machine may not mount, as in most containers.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from quasar.plugins.jail import kernel, seccomp

USER: Final = 60_123
CANNOT: Final = 77
IN_CONTAINER: Final = "--as-in-a-container"
NAMES_FROM: Final = "--names-from="
ROOT: Final = Path(__file__).resolve().parents[3]
_NEW_MOUNTS: Final = 0x20000
_BIND, _RECURSIVE, _PRIVATE = 1 << 12, 1 << 14, 1 << 18
_UNSHARE: Final = {"x86_64": 272, "aarch64": 97}


def main() -> None:
    """Change the user and become the program."""
    words = sys.argv[1:]
    contained, names = words[0] == IN_CONTAINER, words[0].startswith(NAMES_FROM)
    try:
        kernel.unshare(_NEW_MOUNTS)
        _mount("none", "/", "", _RECURSIVE | _PRIVATE)
        _open_up({Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT})
        if names:
            _mount(words[0].removeprefix(NAMES_FROM), "/etc/resolv.conf", "", _BIND)
    except OSError as error:
        sys.stderr.write(f"root may not mount here: {error}\n")
        sys.exit(CANNOT)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    if contained:
        _forbid_namespaces()
    program = words[contained or names :]
    os.execv(program[0], program)


def _open_up(needed: Iterable[Path]) -> None:
    """Have the user reach each path, whatever is closed on the way to it."""
    closed = {path: top for path in needed if (top := _closed(path)) is not None}
    held = {path: os.open(path, os.O_PATH) for path in closed}
    for top in sorted(set(closed.values())):
        _mount("none", str(top), "tmpfs", 0, f"mode=700,uid={USER},gid={USER}")
    for path, descriptor in held.items():
        path.mkdir(parents=True, exist_ok=True)
        for parent in path.relative_to(closed[path]).parents:
            os.chown(closed[path] / parent, USER, USER)
        _mount(f"/proc/self/fd/{descriptor}", str(path), "", _BIND | _RECURSIVE)


def _closed(path: Path) -> Path | None:
    """Return the folder nearest to the root that others may not enter on the way to a path."""
    return next((one for one in reversed(path.parents) if not one.stat().st_mode & 0o001), None)


def _mount(source: str, target: str, kind: str, flags: int, terms: str = "") -> None:
    texts = [text.encode() for text in (source, target, kind)]
    if kernel.libc().mount(*texts, ctypes.c_ulong(flags), terms.encode()) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def _forbid_namespaces() -> None:
    """Forbid what the usual filter of a container forbids: namespaces."""
    table = seccomp._TABLES[os.uname().machine]
    refusal = seccomp._when(_UNSHARE[os.uname().machine], [seccomp._refuse(errno.EPERM)])
    seccomp._install(table, [*seccomp._begin(table), *refusal, (seccomp._RETURN, 0, 0, seccomp._ALLOW)])


if __name__ == "__main__":
    main()
