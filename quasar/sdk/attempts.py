"""Calls that a vendor's own client makes: each with a permit, and made again when the vendor is busy or fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar

from quasar import errors
from quasar.clock import Clock
from quasar.sdk.jitter import FullJitter
from quasar.sdk.permits import CallOutcome

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error of a vendor's client means."""

    error: errors.QuasarError
    """What is raised in the end; `retry_after_s` says how long the vendor wants to be left alone."""
    may_pass: bool
    """Whether another attempt may go better."""
    http_status: int = 0
    """What the vendor answered with; 0: nothing."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """Makes calls as patiently as the HTTP client of the SDK does."""

    permit: Callable[[], AbstractAsyncContextManager[CallOutcome]]
    """Waits for a permit: the provider's `permit`."""
    clock: Clock
    jitter: FullJitter
    most: int = 5
    """Attempts in all."""
    longest_wait_s: float = 120.0
    """A vendor that asks to wait longer ends the call."""

    async def make(self, ask: Callable[[], Awaitable[T]], judge: Callable[[Exception], Failure]) -> T:
        """Make a call and return its answer.

        Args:
            ask: Makes one attempt.
            judge: Says what an error of it means; raises the errors that are not the vendor's.

        Raises:
            QuasarError: What `judge` made of the last error.
        """
        for attempt in range(1, self.most + 1):
            async with self.permit() as outcome:
                started = self.clock.monotonic()
                try:
                    answer = await ask()
                except Exception as error:
                    failure = judge(error)
                else:
                    outcome.failed, outcome.http_status = False, 200
                    return answer
                finally:
                    outcome.elapsed_s = self.clock.monotonic() - started
                outcome.failed, outcome.http_status = failure.http_status == 0, failure.http_status
                outcome.retry_after_s = failure.error.retry_after_s
            wait = outcome.retry_after_s if outcome.retry_after_s is not None else self.jitter.wait_s(attempt)
            if attempt == self.most or not failure.may_pass or wait > self.longest_wait_s:
                raise failure.error
            await self.clock.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")
