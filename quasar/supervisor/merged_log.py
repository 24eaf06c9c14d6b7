"""One log out of many: each line with the name of its process in front, on the terminal and in a file."""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

_COLOURS = ("36", "32", "35", "34", "33", "96", "92", "95")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FILE_BYTES = 10 * 1024 * 1024
_FILES_KEPT = 5


class _QuietFile(logging.handlers.RotatingFileHandler):
    """A file that says nothing when it cannot be written: the terminal still has the line."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Do nothing, where the logging module would print a traceback for each line that a full disk refuses."""


class MergedLog:
    """Writes lines to a terminal or pipe, and without colours to files that replace each other as they fill."""

    def __init__(self, output: TextIO, names: Sequence[str], *, colours: bool) -> None:
        """Write to `output`.

        Args:
            output: Where people look.
            names: The processes, for the width of the column and the choice of colours.
            colours: Whether `output` understands them.
        """
        self._output: TextIO | None = output
        self._width = max(len(name) for name in names)
        self._colour_of = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
        self._colours = colours
        self._file: logging.Handler | None = None

    def open_file(self, path: Path) -> Callable[[], None]:
        """Write to a file too; return what closes it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _QuietFile(path, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8", errors="replace")
        self._file = handler
        return handler.close

    def line(self, name: str, text: str) -> None:
        """Write one line of a process."""
        text = text.rstrip("\r\n")
        if self._file is not None:
            plain = f"{name:<{self._width}} | {_ESCAPES.sub('', text)}"
            self._file.handle(logging.makeLogRecord({"msg": plain}))
        prefix = f"{name:<{self._width}} │ "
        if self._colours:
            prefix = f"\x1b[{self._colour_of.get(name, '37')}m{prefix}\x1b[0m"
        else:
            text = _ESCAPES.sub("", text)
        self._write(f"{prefix}{text}\n")

    def plain(self, text: str) -> None:
        """Write lines that belong to no process."""
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        if self._output is None:
            return
        try:
            self._output.write(text)
            self._output.flush()
        except (BrokenPipeError, ValueError):
            self._leave_output()
        except OSError:
            return  # a full disk behind a redirected output; the next line may fit again

    def _leave_output(self) -> None:
        """Go on without whoever read the output and has gone: the file has it all."""
        output, self._output = self._output, None
        if output is None or output.closed:
            return
        # What the closed pipe has not taken is still in the buffer and would fail again at the end of the process.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, output.fileno())
        os.close(nowhere)
