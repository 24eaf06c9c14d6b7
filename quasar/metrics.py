"""Figures of one process: Prometheus metrics, and a sample of the same for `SystemService.WatchMetrics`.

| metric | type | labels |
|---|---|---|
| `quasar_rpc_calls_total` | counter | service, method, code |
| `quasar_rpc_seconds` | histogram (unary calls) | service, method |
| `quasar_rpc_in_flight` | gauge | service, kind |
| `quasar_rpc_stream_messages_total` | counter | service, method |
| `quasar_process_memory_bytes`, `quasar_process_cpu_seconds`, `quasar_loop_lag_seconds` | gauge | service |
| `quasar_<name>` | gauge | service: what a service adds with `Metrics.gauge` |
"""

from __future__ import annotations

import asyncio
import datetime as dt
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate

import psutil
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from quasar.clock import Clock
from quasar.latency import LatencyWindow

SAMPLE_S = 1.0
"""Seconds between two readings of memory, processor time and loop lag."""
_LOOKS = 10
_SERVER_FAULTS = frozenset({"UNKNOWN", "INTERNAL", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED"})
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """Load and throughput at one moment; the fields are those of `quasar.ops.v1.SystemMetrics`."""

    time: dt.datetime
    memory_bytes: int
    cpu_share: float
    calls_in_flight: int
    calls_per_second: float
    error_share: float
    latency_p50_seconds: float
    latency_p99_seconds: float
    loop_lag_seconds: float
    gauges: Mapping[str, float] = field(default_factory=dict)


class MethodMetrics:
    """The figures of one method: plain numbers that one thread writes, ten times cheaper than the library's own."""

    __slots__ = ("_latency", "buckets", "codes", "messages", "method", "seconds", "streaming")

    def __init__(self, method: str, *, streaming: bool, latency: LatencyWindow) -> None:
        """Begin at zero."""
        self.method = method
        self.streaming = streaming
        self.codes: dict[str, int] = {}
        self.messages = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(_BUCKETS_S) + 1)
        self._latency = latency

    def message(self) -> None:
        """Count one message of a stream."""
        self.messages += 1

    def ended(self, code: str, now: float, seconds: float) -> None:
        """Count a call that ended with the status `code` at the monotonic time `now` after `seconds`."""
        self.codes[code] = self.codes.get(code, 0) + 1
        if not self.streaming:
            self.seconds += seconds
            self.buckets[bisect_left(_BUCKETS_S, seconds)] += 1
            self._latency.observe(now, seconds, failed=code in _SERVER_FAULTS)


class _Calls(Collector):
    """Tells Prometheus the figures of all methods."""

    def __init__(self, service: str, methods: dict[str, MethodMetrics]) -> None:
        self._service = service
        self._methods = methods

    def collect(self) -> Iterator[Metric]:
        labels = ("service", "method")
        calls = CounterMetricFamily("quasar_rpc_calls", "Calls ended.", labels=(*labels, "code"))
        messages = CounterMetricFamily("quasar_rpc_stream_messages", "Messages sent in streams.", labels=labels)
        seconds = HistogramMetricFamily("quasar_rpc_seconds", "Time of unary calls.", labels=labels)
        for name, method in list(self._methods.items()):
            for code, count in list(method.codes.items()):
                calls.add_metric((self._service, name, code), count)
            if method.streaming:
                messages.add_metric((self._service, name), method.messages)
            else:
                bounds = (*(str(bound) for bound in _BUCKETS_S), "+Inf")
                sums = accumulate(method.buckets)
                seconds.add_metric((self._service, name), list(zip(bounds, sums, strict=True)), method.seconds)
        yield from (calls, messages, seconds)


class Metrics:
    """Everything that one process counts."""

    def __init__(self, service: str, clock: Clock) -> None:
        """Count for `service`, in a registry of its own."""
        self.service = service
        self.registry = CollectorRegistry()
        self.latency = LatencyWindow(clock)
        self._clock = clock
        self._process = psutil.Process()
        self._methods: dict[str, MethodMetrics] = {}
        self.registry.register(_Calls(service, self._methods))
        self._in_flight: dict[str, Callable[[], float]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        self._loop_lag = 0.0
        self._cpu_share = 0.0
        self._cpu_read = (clock.monotonic(), self._cpu_seconds())
        self._timer: asyncio.TimerHandle | None = None
        self._process_gauges()

    def _process_gauges(self) -> None:
        self._expose("process_memory_bytes", "Resident memory.", self._memory_bytes)
        self._expose("process_cpu_seconds", "Processor time used since the start.", self._cpu_seconds)
        self._expose("loop_lag_seconds", "Worst lateness of the event loop in the last second.", lambda: self._loop_lag)

    def _expose(self, name: str, text: str, read: Callable[[], float]) -> None:
        gauge = Gauge(f"quasar_{name}", text, ["service"], registry=self.registry)
        gauge.labels(self.service).set_function(read)

    def method(self, method: str, *, streaming: bool) -> MethodMetrics:
        """Return where to count calls of `package.Service/Method`."""
        figures = MethodMetrics(method, streaming=streaming, latency=self.latency)
        return self._methods.setdefault(method, figures)

    def in_flight(self, kind: str, read: Callable[[], float]) -> None:
        """Tell where to read how many calls of a kind (`unary`, `stream`) are in flight."""
        if not self._in_flight:
            self._in_flight_gauge = Gauge(
                "quasar_rpc_in_flight", "Calls in flight.", ["service", "kind"], registry=self.registry
            )
        self._in_flight[kind] = read
        self._in_flight_gauge.labels(self.service, kind).set_function(read)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a figure of the service, for example `ticks_per_second`.

        Args:
            name: Lower-case words with `_`, unit included.
            text: What it is, in one sentence.
            read: Returns the present figure; cheap, for it is called at each scrape and each sample, from any thread.
        """
        self._gauges[name] = read
        self._expose(name, text, read)

    def sample(self) -> Sample:
        """Return the present figures."""
        return Sample(
            time=self._clock.now(),
            memory_bytes=self._memory_bytes(),
            cpu_share=self._cpu_share,
            calls_in_flight=int(sum(read() for read in self._in_flight.values())),
            calls_per_second=self.latency.per_second(),
            error_share=self.latency.failed_share(),
            latency_p50_seconds=self.latency.quantile(0.5),
            latency_p99_seconds=self.latency.quantile(0.99),
            loop_lag_seconds=self._loop_lag,
            gauges={name: read() for name, read in self._gauges.items()},
        )

    def tick(self, late_s: float) -> None:
        """Read the processor time used since the reading before.

        Args:
            late_s: How much later than planned the event loop came to a timer since then at worst, in seconds.
        """
        self._loop_lag = max(0.0, late_s)
        now, used = self._clock.monotonic(), self._cpu_seconds()
        before, used_before = self._cpu_read
        if now > before:
            self._cpu_share = (used - used_before) / (now - before)
            self._cpu_read = (now, used)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Take a reading every second while the context lasts, by a timer of the loop: no task can be left behind.

        The loop's lateness is looked at ten times as often and the worst is told: a stall between two readings counts.
        """
        loop = asyncio.get_running_loop()

        def look(planned: float, worst_s: float, left: int) -> None:
            worst_s = max(worst_s, loop.time() - planned)
            if left:
                plan(worst_s, left - 1)
            else:
                self.tick(worst_s)
                plan(0.0, _LOOKS - 1)

        def plan(worst_s: float, left: int) -> None:
            planned = loop.time() + SAMPLE_S / _LOOKS
            self._timer = loop.call_at(planned, look, planned, worst_s, left)

        plan(0.0, _LOOKS - 1)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    @contextmanager
    def exposed(self, port: int, host: str = "127.0.0.1") -> Iterator[int]:
        """Serve the metrics to Prometheus over HTTP while the context lasts; yields the port.

        Raises:
            OSError: The port is in use. Its setting's name is not known here, so the caller words the error.
        """
        server, thread = start_http_server(port, addr=host, registry=self.registry)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _memory_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)
