"""How long to wait before another attempt, so that many clients that failed together do not come back together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FullJitter:
    """Waits drawn evenly between 0 and a bound that doubles with each failure.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    random: Callable[[], float]
    """Returns a number in [0, 1)."""
    first_s: float = 0.5
    longest_s: float = 30.0

    def wait_s(self, failures: int) -> float:
        """Return the seconds to wait after this many failures in a row, from 1."""
        # 2**20 is beyond every bound that makes sense.
        return self.random() * min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 20))
