"""How long to wait before something that died is started again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Waits that double while a process keeps dying, and begin anew once it has stayed up."""

    first_s: float = 0.2
    longest_s: float = 30.0
    stable_s: float = 60.0
    """A process that ran for this long is taken for healthy."""
    failures: int = 0

    def after(self, uptime_s: float) -> float:
        """Return the seconds to wait after a process died that had been up for `uptime_s`."""
        if uptime_s >= self.stable_s:
            self.failures = 0
        # 2**20 is beyond every longest wait that makes sense; the bound keeps the power small after years of failures.
        wait = min(self.longest_s, self.first_s * 2.0 ** min(self.failures, 20))
        self.failures += 1
        return wait
