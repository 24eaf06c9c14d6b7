"""Leave to call a vendor, counted in one place for everything that uses one provider."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from typing import Final

from quasar import errors
from quasar.clock import Clock
from quasar.sdk.declarations import RateLimit

DEFAULT_CONCURRENCY: Final = 5
_PATIENCE_S: Final = 30.0
"""A call that has waited this long moves up one lane."""
_LEASE_S: Final = 300.0
_MOST_CALLS: Final = 1_000
"""In flight at once, whatever a plug-in declares."""


class Lane(IntEnum):
    """What a call is for; lower numbers go first. Numbered as in the contract."""

    TRADING = 1
    LIVE = 2
    INTERACTIVE = 3
    SCHEDULED = 4
    BULK = 5


@dataclass(frozen=True, slots=True)
class Grant:
    """Permits that were granted."""

    grant_id: str
    calls: int
    weight: int
    waited_s: float


@dataclass(slots=True)
class Usage:
    """What one work has used of a provider's permits; it is kept up to date while the work goes on."""

    calls: int = 0
    """Calls that were granted."""
    waited_s: float = 0.0
    """Seconds that those waited."""
    waiting: int = 0
    """Calls that wait now."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left of a provider's limits."""

    remaining: tuple[tuple[RateLimit, int], ...]
    reset_s: tuple[float, ...]
    """For each limit, the seconds until it is whole again if nothing is called."""
    in_flight: int
    concurrency: int
    waiting: int
    expected_wait_s: float
    throttled_for_s: float
    throttle_count: int


@dataclass(slots=True)
class _Window:
    """One limit: what was granted within its window, and the pace where a burst is set."""

    limit: RateLimit
    spent: deque[tuple[float, int]] = field(default_factory=deque)
    used: int = 0

    def forget(self, now: float) -> None:
        while self.spent and self.spent[0][0] <= now - self.limit.window_s:
            self.used -= self.spent.popleft()[1]

    def wait_s(self, weight: int, now: float) -> float:
        """Return the seconds until this weight fits, however large it is."""
        self.forget(now)
        weight = min(weight, self.limit.calls)
        wait = self._pace_s(now)
        free = self.limit.calls - self.used
        for time, spent in self.spent:
            if free >= weight:
                break
            free += spent
            wait = max(wait, time + self.limit.window_s - now)
        return wait

    def _pace_s(self, now: float) -> float:
        burst = self.limit.burst
        if not burst or len(self.spent) < burst:
            return 0.0
        # As many calls as the burst may come at once; each of them makes room again at the pace of the limit.
        recent = self.spent[-burst][0]
        return max(0.0, recent + burst / self.limit.calls_per_s - now)

    def spend(self, weight: int, now: float) -> None:
        self.spent.append((now, weight))
        self.used += weight

    def give_back(self, entry: tuple[float, int], count: int) -> None:
        """Take back what was spent for calls that are not made."""
        for _ in range(count):
            if entry in self.spent:
                self.spent.remove(entry)
                self.used -= entry[1]

    def left(self) -> int:
        return max(0, self.limit.calls - self.used)

    def reset_s(self, now: float) -> float:
        """Return the seconds until nothing is spent any more if nothing is called."""
        return max(0.0, self.spent[-1][0] + self.limit.window_s - now) if self.spent else 0.0


@dataclass(slots=True)
class _Open:
    """A grant whose calls have not all ended."""

    calls: int
    lease_end: float
    spent: tuple[float, int]
    """When it was granted, and the weight of each call."""


@dataclass(slots=True, eq=False)
class _Waiter:
    lane: Lane
    number: int
    since: float
    calls: int
    weight: int
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def rank(self, now: float) -> tuple[float, int]:
        return (self.lane - (now - self.since) // _PATIENCE_S, self.number)


class PermitDesk:
    """The permits of one provider."""

    def __init__(self, clock: Clock, limits: Sequence[RateLimit] = (), concurrency: int = 0) -> None:
        """Begin with full budgets.

        Args:
            clock: Tells the time and waits.
            limits: All of them hold at once.
            concurrency: Calls in flight at most; 0: five.
        """
        self._clock = clock
        self._windows: list[_Window] = []
        self._concurrency = DEFAULT_CONCURRENCY
        self._waiters: list[_Waiter] = []
        self._numbers = count(1)
        self._open: dict[str, _Open] = {}
        self._throttled_until = 0.0
        self._throttles = 0
        self.works: dict[str, Lane] = {}
        """The lane of each work that is going on."""
        self.usages: dict[str, Usage] = {}
        """What each of them has used, where somebody wants to know."""
        self.declare(limits, concurrency)

    def declare(self, limits: Sequence[RateLimit], concurrency: int) -> None:
        """Take the limits of another version; what was spent under an equal limit stays spent."""
        known = {window.limit: window for window in self._windows}
        self._windows = [known.get(limit) or _Window(limit) for limit in limits]
        self._concurrency = min(concurrency, _MOST_CALLS) if concurrency > 0 else DEFAULT_CONCURRENCY
        self._wake()

    async def acquire(
        self,
        calls: int = 1,
        weight: int = 1,
        *,
        lane: Lane = Lane.SCHEDULED,
        max_wait_s: float | None = None,
        allow_partial: bool = False,
        usage: Usage | None = None,
    ) -> Grant:
        """Wait until the limits and the concurrency allow calls, grant them, and count them in `usage`.

        Raises:
            QuotaExceeded: It would take longer than `max_wait_s`.
        """
        calls = min(calls, self._concurrency)
        waiter = _Waiter(lane, next(self._numbers), self._clock.monotonic(), calls, max(1, weight))
        self._waiters.append(waiter)
        usage = usage if usage is not None else Usage()
        usage.waiting += 1
        try:
            while True:
                now = self._clock.monotonic()
                if max_wait_s is not None:
                    self._refuse_if_late(waiter, max_wait_s, now)
                wait = self._wait_s(waiter, now, 1 if allow_partial else calls)
                if wait == 0.0:
                    grant = self._grant(waiter, now, allow_partial)
                    usage.calls += grant.calls
                    usage.waited_s += grant.waited_s
                    return grant
                left = 0.0 if max_wait_s is None else waiter.since + max_wait_s - now
                longest = left if left > 0.0 else _PATIENCE_S
                await self._pause(waiter, longest if wait is None else min(wait, longest))
        finally:
            usage.waiting -= 1
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            self._wake()

    def _refuse_if_late(self, waiter: _Waiter, max_wait_s: float, now: float) -> None:
        left = waiter.since + max_wait_s - now
        expected = self.expected_wait_s(waiter.calls * waiter.weight)
        if expected > left:
            raise errors.QuotaExceeded(
                f"the rate limit allows the call in {expected:.1f} s, which is later than {max_wait_s:g} s",
                retry_after_s=expected,
            )

    def _wait_s(self, waiter: _Waiter, now: float, calls: int) -> float | None:
        """Return the seconds until the waiter may go; None: until something changes."""
        if min(self._waiters, key=lambda one: one.rank(now)) is not waiter:
            return None
        self._end_leases(now)
        if self._in_flight() + calls > self._concurrency:
            return None
        return self._room_s(calls * waiter.weight, now)

    def _room_s(self, weight: int, now: float) -> float:
        waits = [window.wait_s(weight, now) for window in self._windows]
        return max([0.0, self._throttled_until - now, *waits])

    async def _pause(self, waiter: _Waiter, wait: float) -> None:
        waiter.changed.clear()
        longest = min(wait, _PATIENCE_S)
        async with asyncio.TaskGroup() as group:
            tasks = {group.create_task(waiter.changed.wait()), group.create_task(self._clock.sleep(longest))}
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()

    def _grant(self, waiter: _Waiter, now: float, allow_partial: bool) -> Grant:
        calls = waiter.calls
        if allow_partial:
            calls = min(calls, self._concurrency - self._in_flight())
            while calls > 1 and self._room_s(calls * waiter.weight, now):
                calls -= 1
        self._waiters.remove(waiter)
        for window in self._windows:
            for _ in range(calls):
                window.spend(waiter.weight, now)
        grant = Grant(f"g{waiter.number}", calls, waiter.weight, now - waiter.since)
        self._open[grant.grant_id] = _Open(calls, now + _LEASE_S, (now, waiter.weight))
        return grant

    def release(
        self,
        grant_id: str,
        ended: int,
        retry_after_s: float | None = None,
        *,
        unused: int = 0,
        vendor_remaining: int | None = None,
    ) -> float:
        """Free places of a grant; return for how many seconds everything of the provider is held back.

        Releasing twice changes nothing.

        Args:
            grant_id: The grant.
            ended: Calls that have ended.
            retry_after_s: The vendor asked to wait so long; None: it did not.
            unused: Calls that will not be made; their permits go back to the budget.
            vendor_remaining: What the vendor says is left of its limit; it lowers the count here and never raises it.
        """
        now = self._clock.monotonic()
        if (held := self._open.get(grant_id)) is not None:
            unused = min(unused, held.calls)
            for window in self._windows:
                window.give_back(held.spent, unused)
            held.calls -= ended + unused
            if held.calls <= 0:
                del self._open[grant_id]
        if vendor_remaining is not None:
            self._lower(vendor_remaining, now)
        if retry_after_s is not None:
            self._throttles += 1
            self._throttled_until = max(self._throttled_until, now + retry_after_s)
        self._wake()
        return max(0.0, self._throttled_until - now)

    def _lower(self, remaining: int, now: float) -> None:
        """Take over what a vendor says is left, for the shortest of the limits that it can be said of."""
        possible = [window for window in self._windows if window.limit.calls >= remaining]
        if possible:
            window = min(possible, key=lambda one: one.limit.window_s)
            window.forget(now)
            if (more := window.left() - max(0, remaining)) > 0:
                window.spend(more, now)

    def release_all(self) -> None:
        """Free every grant: the process that held them has ended."""
        self._open.clear()
        self._wake()

    def expected_wait_s(self, weight: int = 1) -> float:
        """Return how long a call that came now would wait for the limits, the calls that wait already included."""
        ahead = sum(one.calls * one.weight for one in self._waiters[:-1])
        return self._room_s(weight + ahead, self._clock.monotonic())

    def budget(self) -> Budget:
        """Return what is left."""
        now = self._clock.monotonic()
        for window in self._windows:
            window.forget(now)
        return Budget(
            remaining=tuple((window.limit, window.left()) for window in self._windows),
            reset_s=tuple(window.reset_s(now) for window in self._windows),
            in_flight=self._in_flight(),
            concurrency=self._concurrency,
            waiting=len(self._waiters),
            expected_wait_s=self._room_s(1 + sum(one.calls * one.weight for one in self._waiters), now),
            throttled_for_s=max(0.0, self._throttled_until - now),
            throttle_count=self._throttles,
        )

    def _in_flight(self) -> int:
        return sum(held.calls for held in self._open.values())

    def _end_leases(self, now: float) -> None:
        for grant_id in [key for key, held in self._open.items() if held.lease_end <= now]:
            del self._open[grant_id]

    def _wake(self) -> None:
        """Have the one whose turn it is look again; when it has gone, it wakes the next."""
        if self._waiters:
            now = self._clock.monotonic()
            min(self._waiters, key=lambda one: one.rank(now)).changed.set()
