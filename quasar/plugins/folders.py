"""The folders of running processes: two sockets and a scratch folder each, and what else a process may read."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import psutil

from quasar.plugins.code import CodeVersion

_PREFIX: Final = "qp-"


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
            shutil.rmtree(folder, ignore_errors=True)
