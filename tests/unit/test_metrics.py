"""What a process counts, and how it tells."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request

import pytest

from quasar.latency import LatencyWindow
from quasar.metrics import Metrics
from quasar.testing.clock import FakeClock

GET = "quasar.ops.v1.SystemService/GetSystemInfo"
WATCH = "quasar.ops.v1.SystemService/WatchLogs"


def test_calls_are_counted_by_method_and_code_with_their_times() -> None:
    metrics = Metrics("registry", FakeClock())
    unary = metrics.method(GET, streaming=False)
    for seconds in (0.004, 0.004, 0.3):
        unary.ended("OK", 10.0, seconds)
    unary.ended("NOT_FOUND", 10.0, 99.0)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"service": "registry", "method": GET, **labels})

    assert value("quasar_rpc_calls_total", code="OK") == 3
    assert value("quasar_rpc_calls_total", code="NOT_FOUND") == 1
    assert value("quasar_rpc_seconds_count") == 4
    assert value("quasar_rpc_seconds_sum") == pytest.approx(99.308)
    assert value("quasar_rpc_seconds_bucket", le="0.0025") == 0
    assert value("quasar_rpc_seconds_bucket", le="0.005") == 2
    assert value("quasar_rpc_seconds_bucket", le="0.5") == 3
    assert value("quasar_rpc_seconds_bucket", le="+Inf") == 4


def test_streams_are_counted_without_a_latency() -> None:
    metrics = Metrics("registry", FakeClock())
    stream = metrics.method(WATCH, streaming=True)
    stream.message()
    stream.message()
    stream.ended("OK", 10.0, 3600.0)

    labels = {"service": "registry", "method": WATCH}
    assert metrics.registry.get_sample_value("quasar_rpc_stream_messages_total", labels) == 2
    assert metrics.registry.get_sample_value("quasar_rpc_seconds_count", labels) is None
    assert metrics.sample().latency_p99_seconds == 0


async def test_a_sample_tells_the_load_of_the_moment() -> None:
    clock = FakeClock()
    metrics = Metrics("datahub", clock)
    metrics.in_flight("unary", lambda: 2)
    metrics.in_flight("stream", lambda: 3)
    metrics.gauge("ticks_per_second", "Ticks received.", lambda: 1500.0)
    unary = metrics.method(GET, streaming=False)
    for _ in range(10):
        await clock.advance(1)
        for i in range(20):
            unary.ended("INTERNAL" if i == 0 else "OK", clock.monotonic(), 0.5 if i == 0 else 0.01)
    await clock.advance(1)
    metrics.tick(0.02)

    sample = metrics.sample()

    assert sample.time == clock.now()
    assert sample.calls_in_flight == 5
    assert sample.calls_per_second == 20
    assert sample.error_share == pytest.approx(0.05)
    assert sample.latency_p50_seconds == pytest.approx(0.01, rel=0.13)
    assert sample.latency_p99_seconds == pytest.approx(0.5, rel=0.13)
    assert sample.loop_lag_seconds == 0.02
    assert sample.memory_bytes > 1_000_000
    assert sample.cpu_share >= 0
    assert sample.gauges == {"ticks_per_second": 1500.0}


async def test_the_callers_mistakes_are_not_the_servers() -> None:
    clock = FakeClock()
    window = LatencyWindow(clock)
    metrics = Metrics("registry", clock)
    unary = metrics.method(GET, streaming=False)
    unary.ended("INVALID_ARGUMENT", 0.0, 0.1)

    assert metrics.sample().error_share == 0
    assert (window.per_second(), window.failed_share(), window.quantile(0.5)) == (0, 0, 0)


async def test_only_the_last_minute_counts() -> None:
    clock = FakeClock()
    window = LatencyWindow(clock)
    window.observe(clock.monotonic(), 9.0, failed=True)
    await clock.advance(30)
    window.observe(clock.monotonic(), 0.01, failed=False)

    assert window.failed_share() == 0.5
    await clock.advance(31)
    assert window.failed_share() == 0
    assert window.quantile(1.0) == pytest.approx(0.01, rel=0.13)
    await clock.advance(60)
    assert window.quantile(1.0) == 0


@pytest.mark.parametrize("seconds", [0.0, 0.00001, 0.0031, 0.777, 12.0])
def test_a_quantile_is_at_most_an_eighth_above_the_truth(seconds: float) -> None:
    window = LatencyWindow(FakeClock())
    for _ in range(100):
        window.observe(0.0, seconds, failed=False)

    assert seconds <= window.quantile(0.99) <= max(seconds * 1.13, 50e-6)


async def test_prometheus_reads_the_metrics_over_http() -> None:
    metrics = Metrics("registry", FakeClock())
    metrics.method(GET, streaming=False).ended("OK", 0.0, 0.01)

    def read(port: int) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            return str(answer.read().decode())

    with metrics.exposed(0) as port:
        page = await asyncio.to_thread(read, port)

    expected = {"service": "registry", "method": GET, "code": "OK"}
    labels = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(expected.items()))
    assert f"quasar_rpc_calls_total{{{labels}}} 1.0" in page
    assert "quasar_process_memory_bytes" in page


async def test_readings_are_taken_while_the_process_runs_and_no_longer() -> None:
    metrics = Metrics("registry", FakeClock())
    with metrics.sampling():
        timer = metrics._timer
        assert timer is not None
        assert not timer.cancelled()

    assert timer.cancelled()


async def test_a_stall_of_the_loop_between_two_readings_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quasar.metrics.SAMPLE_S", 0.2)
    metrics = Metrics("registry", FakeClock())
    with metrics.sampling():
        await asyncio.sleep(0.03)
        time.sleep(0.1)  # noqa: ASYNC251 - the stall
        async with asyncio.timeout(90):
            while metrics.sample().loop_lag_seconds < 0.05:  # noqa: ASYNC110 - a gauge tells nobody
                await asyncio.sleep(0.01)
