"""Errors of the author's code, told so that the author can act on them: kind, words, file and line; nothing of ours."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from quasar import errors
from quasar.plugins.host.loading import MODULE

_OURS: Final = ("quasar.", "grpc", "asyncio", "quasar_proto.")
_WORDS: Final = 500


@dataclass(frozen=True, slots=True)
class Blame:
    """One error of the author's code."""

    type: str
    message: str
    file: str = ""
    line: int = 0
    traceback: str = ""

    @property
    def text(self) -> str:
        """One sentence."""
        where = f" at {self.file}:{self.line}" if self.file else ""
        return f"{self.type}: {self.message}{where}" if self.message else f"{self.type}{where}"


def blame(error: BaseException) -> Blame:
    """Return what an error says about the author's code."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, SyntaxError):
        return Blame("SyntaxError", error.msg, error.filename or "", error.lineno or 0)
    frames = _frames(error.__traceback__)
    message = " ".join(str(error).split())[:_WORDS]
    if not frames:
        return Blame(type(error).__name__, message)
    text = "".join(traceback.format_list(traceback.StackSummary.from_list(frames)))
    return Blame(type(error).__name__, message, frames[-1].filename, frames[-1].lineno or 0, text)


def told(error: BaseException) -> errors.QuasarError:
    """Return what the service is told: errors of ours as they are, everything else as the plug-in's own failure."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, errors.QuasarError) and not isinstance(error, errors.Internal):
        return error
    if isinstance(error, MemoryError):
        return errors.PluginFailed("the plug-in ran out of the memory that it may use")
    return errors.PluginFailed(blame(error).text)


def _frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    found = []
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        if name == MODULE or not name.startswith(_OURS):
            code = trace.tb_frame.f_code
            if "/" not in code.co_filename or name == MODULE:
                found.append(traceback.FrameSummary(code.co_filename, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    return found
