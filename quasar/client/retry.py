"""Which failed calls are made again, and when."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any, Final

from quasar import errors

# These read only; the contract names methods by the rules of AIP-131 to 136.
_READS: Final = re.compile(
    r"(Get|List|BatchGet|Search|Check|Count|Find|Read|Query|Preview|Validate|Describe|Suggest)([A-Z]|$)"
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and after which pauses a call is made again."""

    attempts: int = 4
    """Calls made in all; 1: no retry."""
    first_pause_s: float = 0.1
    """Upper bound of the first pause; it doubles with each further one."""
    longest_pause_s: float = 5.0

    def pause_s(self, attempt: int, error: errors.QuasarError) -> float:
        """Return how long to wait after the failed `attempt` (from 1).

        The whole pause is random up to its bound ("full jitter"), so that clients that failed together do not return
        together. What the server asked for with `RetryInfo` is waited for in any case.
        """
        bound = min(self.longest_pause_s, self.first_pause_s * 2 ** (attempt - 1))
        return (error.retry_after_s or 0.0) + random.uniform(0.0, bound)  # noqa: S311  # no secret depends on it


def is_safe(method: str, request: Any, error: errors.QuasarError) -> bool:
    """Tell whether a failed call may be made again without doing its work twice.

    Args:
        method: `package.Service/Method`.
        request: Its request message.
        error: Why it failed.
    """
    if isinstance(error, errors.Draining | errors.TooManyCalls):
        return True  # refused before the method began
    if not isinstance(error, errors.Unavailable | errors.Aborted) or isinstance(error, errors.EtagMismatch):
        return False
    reads = _READS.match(method.rpartition("/")[2]) is not None
    return reads or bool(getattr(request, "request_id", ""))  # a request id makes a creation idempotent (AIP-155)
