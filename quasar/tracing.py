"""W3C trace context, and OpenTelemetry spans when an endpoint is configured.

Without an endpoint a `traceparent` that a caller sent is handed on to outgoing calls as it is, which costs nothing.
With one, each call served becomes a span. Installed with the extra `otel`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from quasar import errors

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Which trace and which span of it something belongs to."""

    trace_id: str
    """32 lower-case hexadecimal digits."""
    span_id: str
    """16 lower-case hexadecimal digits."""
    flags: int
    """Bit 0: the trace is recorded."""

    @classmethod
    def parse(cls, header: str) -> TraceContext | None:
        """Read a `traceparent` header; None when it breaks the W3C recommendation, which wants such headers ignored."""
        found = _TRACEPARENT.fullmatch(header)
        if found is None or (header.startswith("00") and found[4]):
            return None
        return cls(found[1], found[2], int(found[3], 16))

    def header(self) -> str:
        """Return the `traceparent` header."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


class Span(Protocol):
    """A call that is being traced."""

    @property
    def traceparent(self) -> str:
        """The header for outgoing calls."""
        ...

    def end(self, code: str) -> None:
        """Record that the call ended with a status code."""
        ...


class Tracer(Protocol):
    """Begins spans."""

    def begin(self, name: str, traceparent: str) -> Span:
        """Begin the span of a call that came with this `traceparent`, which may be empty."""
        ...


class PassThrough:
    """Records nothing and hands a valid context on. One object serves every call."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str) -> None:
        """Hand on `traceparent`."""
        self.traceparent = traceparent

    def end(self, code: str) -> None:
        """Do nothing."""


_NOTHING: Final = PassThrough("")


class NoTracer:
    """The tracer without an endpoint."""

    def begin(self, name: str, traceparent: str) -> Span:
        """Return what hands the context on."""
        if not traceparent or TraceContext.parse(traceparent) is None:
            return _NOTHING
        return PassThrough(traceparent)


class OpenTelemetryTracer:
    """Makes each call a span of OpenTelemetry."""

    def __init__(self, provider: Any) -> None:
        """Make spans with a `TracerProvider` of the OpenTelemetry SDK."""
        self._tracer = provider.get_tracer("quasar.rpc")

    def begin(self, name: str, traceparent: str) -> Span:
        """Begin a server span below the caller's, or a new trace."""
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent}) if traceparent else None
        service, _, method = name.partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        return _OpenTelemetrySpan(
            self._tracer.start_span(name, context=parent, kind=trace.SpanKind.SERVER, attributes=attributes)
        )


class _OpenTelemetrySpan:
    def __init__(self, span: Any) -> None:
        self._span = span
        found = span.get_span_context()
        context = TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}", int(found.trace_flags))
        self.traceparent = context.header()

    def end(self, code: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("rpc.grpc.status_code", code)
        if code != "OK":
            self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()


def configure(service: str, endpoint: str | None) -> tuple[Tracer, Callable[[], None]]:
    """Return the tracer of this process, and what sends the last spans at its end.

    Args:
        service: Name under which the spans appear.
        endpoint: The value of `OTEL_EXPORTER_OTLP_ENDPOINT`; None or empty: no spans are made.

    Raises:
        quasar.errors.StartupError: An endpoint is set and OpenTelemetry is not installed.
    """
    if not endpoint:
        return NoTracer(), lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise errors.StartupError(
            "OTEL_EXPORTER_OTLP_ENDPOINT must be unset, or OpenTelemetry must be installed: "
            "pip install 'quasar-platform[otel]'."
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": f"quasar-{service}"}))
    secure = endpoint.startswith("https://")
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=not secure)))
    return OpenTelemetryTracer(provider), provider.shutdown
