"""The patience that providers with a vendor's own client have."""

from __future__ import annotations

import asyncio

import pytest

from quasar import errors
from quasar.provider import Context, Throttled
from quasar.sdk.attempts import Attempts, Failure
from quasar.testing.clock import FakeClock


class Vendor:
    """Fails as it is told to, then answers."""

    def __init__(self, *failures: Failure) -> None:
        self.failures = list(failures)
        self.asked = 0

    async def ask(self) -> str:
        self.asked += 1
        if self.failures:
            raise RuntimeError
        return "answer"

    def judge(self, error: Exception) -> Failure:
        return self.failures.pop(0)


def attempts(clock: FakeClock) -> Attempts:
    context = Context(clock=clock)
    return Attempts(context.permits.call, clock, context.jitter, most=3)


async def test_the_vendor_is_left_alone_for_as_long_as_it_asks() -> None:
    clock, vendor = FakeClock(), Vendor(Failure(Throttled("busy", retry_after_s=30.0), may_pass=True, http_status=429))
    making = asyncio.create_task(attempts(clock).make(vendor.ask, vendor.judge))
    await clock.wait_for_sleepers(1)
    await clock.advance(29.9)
    assert vendor.asked == 1
    await clock.advance(0.2)
    assert await making == "answer"
    assert vendor.asked == 2


@pytest.mark.parametrize(
    "failure",
    [
        Failure(Throttled("busy until tomorrow", retry_after_s=86_400.0), may_pass=True, http_status=429),
        Failure(errors.VendorFailed("no"), may_pass=False, http_status=400),
    ],
)
async def test_what_does_not_pass_soon_ends_at_once(failure: Failure) -> None:
    vendor = Vendor(failure)
    with pytest.raises(type(failure.error)):
        await attempts(FakeClock()).make(vendor.ask, vendor.judge)
    assert vendor.asked == 1


async def test_a_vendor_that_keeps_failing_is_given_up() -> None:
    vendor = Vendor(
        *[Failure(errors.VendorFailed(f"failure {n}", retry_after_s=0.0), may_pass=True) for n in (1, 2, 3)]
    )
    with pytest.raises(errors.VendorFailed, match="failure 3"):
        await attempts(FakeClock()).make(vendor.ask, vendor.judge)
    assert vendor.asked == 3
