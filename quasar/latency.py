"""Latencies of the last minute: rate, share of failures and quantiles, in constant memory."""

from __future__ import annotations

from bisect import bisect_left

from quasar.clock import Clock

WINDOW_S = 60
_RATE_S = 10
"""The rate is that of the last ten seconds: a minute would hide what happens now."""

# Each bucket ends 12 % above the one before: from 50 µs to over a minute in 128 steps, an error of at most 6 %.
_BOUNDS = tuple(50e-6 * 1.12**step for step in range(127))


class _Second:
    """What ended within one second."""

    __slots__ = ("buckets", "count", "failed", "index")

    def __init__(self) -> None:
        self.restart(-1)

    def restart(self, index: int) -> None:
        self.index = index
        self.count = 0
        self.failed = 0
        self.buckets = [0] * (len(_BOUNDS) + 1)


class LatencyWindow:
    """A ring of one histogram for each of the last sixty seconds."""

    def __init__(self, clock: Clock) -> None:
        """Begin empty at the clock's present time."""
        self._clock = clock
        self._seconds = [_Second() for _ in range(WINDOW_S)]
        self._started = clock.monotonic()

    def observe(self, now: float, seconds: float, *, failed: bool) -> None:
        """Count a call that ended at the monotonic time `now` after `seconds`."""
        index = int(now)
        second = self._seconds[index % WINDOW_S]
        if second.index != index:
            second.restart(index)
        second.count += 1
        second.failed += failed
        second.buckets[bisect_left(_BOUNDS, seconds)] += 1

    def per_second(self) -> float:
        """Return the calls a second over the last ten whole seconds, or since the start when that is later."""
        now = self._clock.monotonic()
        last = int(now)
        calls = sum(s.count for s in self._seconds if last - _RATE_S <= s.index < last)
        covered = min(_RATE_S, last - int(self._started))
        return calls / covered if covered else 0.0

    def failed_share(self) -> float:
        """Return the share of the last minute's calls that failed through the server's fault, 0 to 1."""
        recent = self._recent()
        calls = sum(s.count for s in recent)
        return sum(s.failed for s in recent) / calls if calls else 0.0

    def quantile(self, share: float) -> float:
        """Return the latency in seconds that `share` of the last minute's calls stayed within; 0 without calls."""
        recent = self._recent()
        wanted = share * sum(s.count for s in recent)
        if not wanted:
            return 0.0
        seen = 0
        for bucket, bound in enumerate(_BOUNDS):
            seen += sum(s.buckets[bucket] for s in recent)
            if seen >= wanted:
                return bound
        return _BOUNDS[-1]

    def _recent(self) -> list[_Second]:
        oldest = int(self._clock.monotonic()) - WINDOW_S
        return [s for s in self._seconds if s.index > oldest]
