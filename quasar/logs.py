"""Structured logs: coloured lines for people or JSON for machines, the last lines in memory, secrets never in either.

    log = logs.get("datahub.collection")
    log.info("collected", provider="kraken", bars=500)

The event is a few words in the past tense and never contains values; values are fields, with units in their names.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol, TextIO, cast

import structlog

from quasar import scrub
from quasar.clock import Clock, SystemClock
from quasar.log_ring import LEVELS, LogRing

REQUEST_ID: Final[ContextVar[str]] = ContextVar("quasar_request_id", default="")
"""The request that the running code belongs to; set where a call begins, added to each line."""

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
    return cast(Log, structlog.get_logger(logger_name=name))


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
    pipeline = _Pipeline(options, clock or SystemClock(), ring, out)
    level = LEVELS[options.level]
    structlog.configure(
        processors=[pipeline.process],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,  # a logger made at import must follow a later configuration
    )
    root = logging.getLogger()
    root.handlers[:] = [_FromStandardLibrary(pipeline)]
    root.setLevel(max(level, logging.INFO))
    return ring


class _Pipeline:
    """What each line passes: time, level and request id are added, secrets removed, the ring told, the text made."""

    def __init__(self, options: LogOptions, clock: Clock, ring: LogRing, out: TextIO) -> None:
        self.out = out
        self._service = options.service
        self._clock = clock
        self._ring = ring
        colours = hasattr(out, "isatty") and out.isatty()
        self._render = _as_json if options.format == "json" else _console(colours)

    def process(self, _logger: Any, method: str, event: _Event) -> str:
        time_ns = self._clock.time_ns()
        message = scrub.text(str(event.pop("event", "")))
        name = str(event.pop("logger_name", ""))
        level = "error" if method == "exception" else method
        request_id = str(event.pop("request_id", None) or REQUEST_ID.get())
        error = event.pop("exc_info", None)
        if error or method == "exception":
            event["exception"] = _traceback(error)
        fields = {key: scrub.value(key, found) for key, found in event.items()}
        self._ring.append(time_ns, level, message, name, request_id, fields)
        line = {"time": _iso(time_ns), "level": level, "service": self._service, "logger": name, "event": message}
        if request_id:
            line["request_id"] = request_id
        return self._render(line, fields)


def _iso(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def _traceback(error: Any) -> str:
    if isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    elif not isinstance(error, tuple):
        error = sys.exc_info()
    return structlog.processors.ExceptionRenderer().format_exception(error) if error[0] else ""


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def _as_json(line: dict[str, Any], fields: dict[str, Any]) -> str:
    return _encode({**line, **fields, **line})  # the order of the first, the values of the last: no field hides ours


def _console(colours: bool) -> _Render:
    # Tracebacks come as text that is scrubbed already; a pretty formatter would read the exception itself, locals included.
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
            event: dict[str, Any] = {"event": record.getMessage(), "logger_name": record.name}
            if record.exc_info:
                event["exc_info"] = record.exc_info
            self._pipeline.out.write(self._pipeline.process(None, record.levelname.lower(), event) + "\n")
            self._pipeline.out.flush()
        except Exception:
            self.handleError(record)
