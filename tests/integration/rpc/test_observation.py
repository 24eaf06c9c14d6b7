"""What operators see of calls: a line in the log, figures, spans."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from grpc_health.v1 import health_pb2
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from quasar import errors, logs
from quasar.rpc.context import current_call
from quasar.tracing import OpenTelemetryTracer
from quasar_proto.ops.v1 import system_service_pb2 as pb
from tests.integration.rpc.harness import Running, as_, failure_of, health_of, running

GET = "quasar.ops.v1.SystemService/GetSystemInfo"


class Log:
    """What was logged."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        logs.configure(logs.LogOptions(service="registry", format="json"), stream=self._stream)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the lines with an event."""
        logs.flush()
        found = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [line for line in found if line["event"] == event]


@pytest.fixture
def log() -> Iterator[Log]:
    """Log to memory for the time of a test."""
    root = logging.getLogger()
    handlers, level, pipeline = root.handlers[:], root.level, logs._State.pipeline
    yield Log()
    root.handlers[:] = handlers
    root.setLevel(level)
    logs._State.pipeline = pipeline
    structlog.reset_defaults()


async def test_each_call_is_one_line(log: Log, up: Running) -> None:
    await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer"))
    metadata = (("authorization", "Bearer hunter2"), ("x-request-id", "abc-1"))
    await failure_of(up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), metadata=metadata))

    good, bad = log.lines("call ended")
    assert (good["method"], good["code"], good["principal"]) == (GET, "OK", "viewer")
    assert 0 < good["ms"] < 5000
    assert (bad["code"], bad["reason"], bad["request_id"]) == ("UNAUTHENTICATED", "UNAUTHENTICATED", "abc-1")
    assert "127.0.0.1" in bad["peer"]
    assert "hunter2" not in json.dumps(bad)


async def test_a_defect_is_logged_with_its_traceback_under_the_id_that_the_client_got(log: Log, up: Running) -> None:
    async def method(_request: object, _rpc: object) -> None:
        raise RuntimeError("the index is out of shape")

    up.service.unary = method
    seen = await failure_of(up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer")))

    (line,) = log.lines("call ended")
    assert (line["level"], line["request_id"]) == ("error", seen.info.metadata["request_id"])
    assert "RuntimeError: the index is out of shape" in line["exception"]


async def test_what_a_method_logs_belongs_to_its_request(log: Log, up: Running) -> None:
    async def method(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
        logs.get("registry").info("looked")
        return pb.GetSystemInfoResponse()

    up.service.unary = method
    metadata = (*as_("viewer")["metadata"], ("x-request-id", "abc-1"))
    await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), metadata=metadata)

    assert [line["request_id"] for line in log.lines("looked")] == ["abc-1"]


async def test_probes_do_not_fill_the_log(log: Log, up: Running) -> None:
    await health_of(up).Check(health_pb2.HealthCheckRequest(), timeout=60)

    assert log.lines("call ended") == []


async def test_calls_are_counted_by_how_they_ended(up: Running) -> None:
    async def method(_request: object, _rpc: object) -> None:
        raise errors.NotFound

    await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer"))
    up.service.unary = method
    await failure_of(up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer")))
    unknown: Any = up.channel.unary_unary("/quasar.made.up/Name")
    await failure_of(unknown(b"", **as_("viewer")))

    def count(**labels: str) -> float | None:
        return up.metrics.registry.get_sample_value("quasar_rpc_calls_total", {"service": "registry", **labels})

    assert count(method=GET, code="OK") == 1
    assert count(method=GET, code="NOT_FOUND") == 1
    assert count(method="unknown", code="UNIMPLEMENTED") == 1


async def test_a_call_is_a_span_below_the_callers_and_hands_its_own_context_on() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    handed_on = []

    async def method(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
        handed_on.append(current_call().traceparent)
        return pb.GetSystemInfoResponse()

    async with running(tracer=OpenTelemetryTracer(provider)) as up:
        up.service.unary = method
        metadata = (*as_("viewer")["metadata"], ("traceparent", f"00-{trace}-{parent}-01"))
        await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), metadata=metadata)

    (span,) = exporter.get_finished_spans()
    assert span.name == GET
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == parent
    assert handed_on == [f"00-{trace}-{span.context.span_id:016x}-01"]
