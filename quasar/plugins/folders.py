"""The folders of running processes: two sockets and a scratch folder each, and what else a process may read."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import psutil

from quasar.plugins.code import CodeVersion

PIPES: Final = "rows"
"""The folder of the pipes that live rows come through."""
_PREFIX: Final = "qp-"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST: Final = 1_024
"""Of the paths that are looked into, far more than any honest program needs."""


def make_folder(root: Path | None) -> Path:
    """Make the folder of one process; its path is short, since that of a Unix socket may have 107 bytes.

    Args:
        root: Where; None: the system's temporary folder.
    """
    if root is not None:
        root.mkdir(parents=True, exist_ok=True, mode=0o711)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=root))
    (folder / "scratch").mkdir(mode=0o700)
    return folder


def chosen_folders(code: CodeVersion) -> tuple[str, ...]:
    """Return the folders that an operator named in the preferences of built-in code, which is to read them.

    Uploaded code reads nothing outside its jail, whatever its preferences say.
    """
    if not code.builtin:
        return ()
    named = [Path(value) for value in code.preferences.values() if isinstance(value, str) and value.startswith("/")]
    return tuple(sorted(str(path) for path in named if path != Path("/") and path.is_dir()))


def sweep(root: Path | None) -> None:
    """Remove what services that were killed have left."""
    for folder in (root or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*-*"):
        owner = folder.name.split("-")[1]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            remove(folder)


def entries(folder: Path) -> Iterator[os.stat_result | None]:
    """Yield what the files and folders below a folder are; None for a folder that lies too deep to be looked into."""
    waiting = [str(folder)]
    while waiting:
        at = waiting.pop()
        if len(at) > _LONGEST:
            yield None
            continue
        with contextlib.suppress(OSError), os.scandir(at) as found:  # it may be removed meanwhile
            for entry in found:
                with contextlib.suppress(OSError):
                    yield entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, however deep it was nested; what cannot be removed stays.

    A plug-in may nest folders deeper than a path is long and than a recursion goes. Folders are therefore brought up
    to the top before they are emptied.
    """
    try:
        top = os.open(folder, _FOLDER)
    except OSError:
        return
    try:
        _empty(top)
    finally:
        os.close(top)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _empty(top: int) -> None:
    fresh = (f".{secrets.token_hex(8)}-{number}" for number in count())
    stuck: set[str] = set()
    while waiting := [name for name in os.listdir(top) if name not in stuck]:
        for name in waiting:
            try:
                if _is_folder(name, top):
                    _raise_folders(name, top, fresh)
                    os.rmdir(name, dir_fd=top)
                else:
                    os.unlink(name, dir_fd=top)
            except OSError:
                stuck.add(name)


def _raise_folders(name: str, top: int, fresh: Iterator[str]) -> None:
    """Remove the files of a folder of the top, and move its folders to the top."""
    os.chmod(name, stat.S_IRWXU, dir_fd=top)
    inner = os.open(name, _FOLDER, dir_fd=top)
    try:
        for below in os.listdir(inner):  # noqa: PTH208 - a descriptor has no path
            if _is_folder(below, inner):
                os.chmod(below, stat.S_IRWXU, dir_fd=inner)  # to be moved it must be writable
                os.rename(below, next(fresh), src_dir_fd=inner, dst_dir_fd=top)
            else:
                os.unlink(below, dir_fd=inner)
    finally:
        os.close(inner)


def _is_folder(name: str, folder: int) -> bool:
    return stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode)
