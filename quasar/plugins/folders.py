"""The folders of running processes: two sockets and a scratch folder each, gone when the process is."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import psutil

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


def sweep(root: Path | None) -> None:
    """Remove what services that were killed have left."""
    for folder in (root or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*-*"):
        owner = folder.name.split("-")[1]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
