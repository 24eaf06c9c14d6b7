"""How people call this program here: in a fresh clone it is not on the path."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

NAME = "quasar"


def command(called: str | None = None) -> str:
    """Return what to type to call this program: its name where the shell finds it, else the path it was called by.

    Args:
        called: The first word of the command line; None: that of this process.
    """
    path = Path(sys.argv[0] if called is None else called)
    if path.name != NAME:
        return NAME  # called as a module, or by a test
    found = shutil.which(NAME)
    if found is not None and Path(found).resolve() == path.resolve():
        return NAME
    try:
        here = path.absolute().relative_to(Path.cwd())
    except ValueError:
        return str(path)
    return str(here) if len(here.parts) > 1 else f"./{here}"
