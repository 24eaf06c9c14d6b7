"""Structured logs: coloured lines for people or JSON for machines, the last lines in memory, secrets never in either.

    log = logs.get("datahub.collection")
    log.info("collected", provider="kraken", bars=500)

The event is a few words in the past tense and never contains values; values are fields, with units in their names.
"""

from __future__ import annotations

import asyncio
import atexit
import datetime as dt
import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, TextIO, cast

import structlog

from quasar import scrub
from quasar.clock import Clock, SystemClock
from quasar.log_ring import LEVELS, LogRing

_MOST_NOTED: Final = 64
"""Lines that wait to be written at most."""
_LATEST_S: Final = 0.02
"""Time that a line waits at most."""
_GRAVE: Final = LEVELS["error"]
"""Lines of this level do not wait. Warnings do: a server that sheds load writes many."""
_UNCHANGING: Final = frozenset({str, int, float, bool, type(None)})
"""Kinds of values that are still the same when the line is written."""

_Noted = tuple[int, str, str, str, str, "_Event"]
_Event = MutableMapping[str, Any]
_Render = Callable[[dict[str, Any], dict[str, Any]], str]


class Log(Protocol):
    """What code logs to."""

    def debug(self, event: str, /, **fields: Any) -> Any:
        """Say what only matters when looking for something."""
        ...

    def info(self, event: str, /, **fields: Any) -> Any:
        """Say that something ordinary happened."""
        ...

    def warning(self, event: str, /, **fields: Any) -> Any:
        """Say that something needs a look before it becomes a problem."""
        ...

    def error(self, event: str, /, **fields: Any) -> Any:
        """Say that something failed. `exc_info=error` adds its traceback."""
        ...

    def bind(self, **fields: Any) -> Log:
        """Return a log that adds these fields to each line."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """How a process logs."""

    service: str
    format: str = "console"
    """`console` or `json`."""
    level: str = "info"
    """The least level that is kept: `debug`, `info`, `warning`, `error` or `critical`."""
    ring: int = 5000
    """Lines kept in memory."""


def get(name: str) -> Log:
    """Return the log of a module; `name` is its dotted name."""
    return cast("Log", structlog.get_logger(logger_name=name))


def note(level: str, event: str, logger: str, request_id: str, fields: dict[str, Any]) -> None:
    """Log a line without the conveniences of `Log`: for what is logged once per call.

    `fields` is taken over; beside `exc_info` it holds texts and numbers only.
    """
    pipeline = _State.pipeline
    if pipeline is None or LEVELS[level] < pipeline.level:
        return
    if "exc_info" in fields:
        fields["exception"] = _traceback(fields.pop("exc_info"))
    pipeline.note_plain(level, event, logger, request_id, fields)


def request_id_from(source: Callable[[], str]) -> None:
    """Let `source` tell which request the running code belongs to, for each line; it returns "" outside of requests."""
    _State.request_id = staticmethod(source)


@atexit.register
def flush() -> None:
    """Write the lines that wait to be written."""
    if _State.pipeline is not None:
        _State.pipeline.flush()


def configure(options: LogOptions, *, clock: Clock | None = None, stream: TextIO | None = None) -> LogRing:
    """Set up logging for this process and return the ring with its last lines.

    Lines of the standard library's `logging` take the same way.

    Args:
        options: How to log.
        clock: Where the time of a line comes from.
        stream: Where lines go; standard error when absent.
    """
    out = stream or sys.stderr
    ring = LogRing(options.ring)
    flush()
    pipeline = _State.pipeline = _Pipeline(options, clock or SystemClock(), ring, out)
    structlog.configure(
        processors=[pipeline.process],
        wrapper_class=structlog.make_filtering_bound_logger(pipeline.level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,  # a logger made at import must follow a later configuration
    )
    root = logging.getLogger()
    root.handlers[:] = [_FromStandardLibrary(pipeline)]
    root.setLevel(max(pipeline.level, logging.INFO))
    return ring


class _Pipeline:
    """What each line passes: time, level and request id are added, secrets removed, the ring told, the text made.

    On an event loop, ordinary lines are noted at once and rendered and written together a moment later: rendered one by
    one between calls, they took a third of the calls a server can answer. Grave lines do not wait, and neither do lines
    of threads and programs without a loop.
    """

    def __init__(self, options: LogOptions, clock: Clock, ring: LogRing, out: TextIO) -> None:
        self.level = LEVELS[options.level]
        self._out = out
        self._service = options.service
        self._clock = clock
        self._ring = ring
        colours = hasattr(out, "isatty") and out.isatty()
        self._render = _as_json if options.format == "json" else _console(colours)
        self._noted: list[_Noted] = []
        self._lock = threading.Lock()
        self._awaited_on: asyncio.AbstractEventLoop | None = None

    def process(self, _logger: Any, method: str, event: _Event) -> str:
        """Take a line from structlog."""
        level = "error" if method == "exception" else method
        if method == "exception":
            event.setdefault("exc_info", True)
        self.note(level, str(event.pop("event", "")), str(event.pop("logger_name", "")), event)
        raise structlog.DropEvent

    def note(self, level: str, event: str, logger: str, fields: _Event) -> None:
        """Take a line; write it now or soon."""
        if error := fields.pop("exc_info", None):
            fields["exception"] = _traceback(error)
        for key, found in fields.items():
            if type(found) not in _UNCHANGING:
                fields[key] = scrub.value(key, found)
        self.note_plain(level, event, logger, _State.request_id(), fields)

    def note_plain(self, level: str, event: str, logger: str, request_id: str, fields: _Event) -> None:
        """Take a line whose fields hold texts and numbers only; write it now or soon."""
        noted = self._noted
        noted.append((self._clock.time_ns(), level, event, logger, request_id, fields))
        if len(noted) >= _MOST_NOTED or LEVELS.get(level, 0) >= _GRAVE:
            self.flush()
        elif self._awaited_on is None or self._awaited_on.is_closed():
            self._flush_soon()

    def _flush_soon(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        self._awaited_on = loop
        loop.call_later(_LATEST_S, self.flush)

    def flush(self) -> None:
        """Write what was noted."""
        with self._lock:
            self._awaited_on = None
            noted = self._noted[:]
            if not noted:
                return
            del self._noted[: len(noted)]  # not replaced: a thread may be adding a line to this very list
            lines = [self._scrubbed(*one) for one in noted]
            self._ring.extend(lines)
            self._write("".join([self._text(*line) for line in lines]))

    def _write(self, text: str) -> None:
        """Write lines. A full disk or a reader that has gone must not fail the work that is logged."""
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            return  # the ring has the lines

    def _scrubbed(
        self, time_ns: int, level: str, event: str, logger: str, request_id: str, fields: _Event
    ) -> tuple[int, str, str, str, str, dict[str, Any]]:
        given = fields.pop("request_id", None) if "request_id" in fields else None
        shown = {key: scrub.value(key, found) for key, found in fields.items()}
        return time_ns, level, scrub.text(event), logger, str(given or request_id), shown

    def _text(self, time_ns: int, level: str, event: str, logger: str, request_id: str, fields: dict[str, Any]) -> str:
        line = {"time": _iso(time_ns), "level": level, "service": self._service, "logger": logger, "event": event}
        if request_id:
            line["request_id"] = request_id
        return self._render(line, fields) + "\n"


class _State:
    """The pipeline of this process; one, as the library's own configuration is one."""

    pipeline: _Pipeline | None = None
    request_id: Callable[[], str] = str


def _iso(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}"


def _traceback(error: Any) -> str:
    """Return the traceback of an exception, of what `sys.exc_info()` returned, or, for True, of the one in hand."""
    if isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    elif not isinstance(error, tuple):
        error = sys.exc_info()
    return "".join(traceback.format_exception(*error)).rstrip() if error[0] else ""


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def _as_json(line: dict[str, Any], fields: dict[str, Any]) -> str:
    return _encode({**line, **fields, **line})  # the order of the first, the values of the last: no field hides ours


def _console(colours: bool) -> _Render:
    # Tracebacks come as text that is scrubbed already; a pretty formatter would read the exception itself, locals
    # included.
    plain = structlog.dev.plain_traceback
    renderer = structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False, exception_formatter=plain)

    def render(line: dict[str, Any], fields: dict[str, Any]) -> str:
        event = {"timestamp": line["time"][11:23], "level": line["level"], "event": line["event"]}
        event["logger"] = line["logger"]
        rest = {k: v for k, v in fields.items() if k not in event}
        if "request_id" in line:
            rest["request_id"] = line["request_id"]
        return str(renderer(None, line["level"], {**event, **rest}))

    return render


class _FromStandardLibrary(logging.Handler):
    """Sends what libraries log through the same pipeline."""

    def __init__(self, pipeline: _Pipeline) -> None:
        super().__init__()
        self._pipeline = pipeline

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {"exc_info": record.exc_info} if record.exc_info else {}
            self._pipeline.note(record.levelname.lower(), record.getMessage(), record.name, fields)
        except Exception:
            self.handleError(record)
