"""Trace contexts and spans."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from quasar import errors, tracing
from quasar.tracing import NoTracer, OpenTelemetryTracer, TraceContext

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADER = f"00-{TRACE}-b7ad6b7169203331-01"


def test_a_context_is_read_and_written() -> None:
    context = TraceContext.parse(HEADER)

    assert context == TraceContext(TRACE, "b7ad6b7169203331", 1)
    assert context is not None
    assert context.header() == HEADER


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        HEADER.upper(),
        HEADER[:-1],
        f"{HEADER}-more",
        f"ff{HEADER[2:]}",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
    ],
)
def test_a_malformed_context_is_ignored(header: str) -> None:
    assert TraceContext.parse(header) is None
    assert NoTracer().begin("x/Y", header).traceparent == ""


def test_a_later_version_of_the_header_may_have_more() -> None:
    assert TraceContext.parse(f"01{HEADER[2:]}-more") == TraceContext(TRACE, "b7ad6b7169203331", 1)


def test_without_an_endpoint_the_context_is_handed_on() -> None:
    tracer, close = tracing.configure("registry", None)
    span = tracer.begin("x/Y", HEADER)
    span.end("OK")
    close()

    assert span.traceparent == HEADER


def test_with_opentelemetry_a_call_is_a_span_below_the_callers() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = OpenTelemetryTracer(provider)

    below = tracer.begin("quasar.ops.v1.SystemService/GetSystemInfo", HEADER)
    below.end("OK")
    alone = tracer.begin("quasar.ops.v1.SystemService/GetSystemInfo", "")
    alone.end("INTERNAL")

    first, second = exporter.get_finished_spans()
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == "b7ad6b7169203331"
    assert first.attributes is not None
    assert dict(first.attributes) == {
        "rpc.system": "grpc",
        "rpc.service": "quasar.ops.v1.SystemService",
        "rpc.method": "GetSystemInfo",
        "rpc.grpc.status_code": "OK",
    }
    assert below.traceparent.startswith(f"00-{TRACE}-")
    assert below.traceparent != HEADER
    assert second.parent is None
    assert second.status.status_code.name == "ERROR"


def test_an_endpoint_without_opentelemetry_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(errors.StartupError, match=r"pip install 'quasar-platform\[otel\]'"):
        tracing.configure("registry", "http://127.0.0.1:4317")
