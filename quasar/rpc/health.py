"""Whether a process can do its work: its parts, and what follows from them for the whole.

`grpc.health.v1` and `SystemService` both tell what stands here. A process serves when each of its parts does; a
degraded part is told but does not take the process out of service.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
from collections.abc import AsyncGenerator

from quasar.clock import Clock


class PartState(enum.IntEnum):
    """Whether a part can do its work; the numbers are those of `quasar.ops.v1.PartState`."""

    SERVING = 1
    DEGRADED = 2
    NOT_SERVING = 3
    STARTING = 4
    DRAINING = 5


_FROM_BEST_TO_WORST = (
    PartState.SERVING,
    PartState.DEGRADED,
    PartState.STARTING,
    PartState.NOT_SERVING,
    PartState.DRAINING,
)


class Part:
    """One thing that readiness follows; made by `Health.part`, told about by whoever owns it."""

    def __init__(self, name: str, health: Health) -> None:
        """Begin as starting."""
        self.name = name
        self.state = PartState.STARTING
        self.detail = ""
        """What is wrong and what helps; empty when nothing is."""
        self._health = health
        self.since: dt.datetime = health.clock.now()
        """Since when the state is what it is."""

    def serving(self) -> None:
        """Say that the part does its work."""
        self._set(PartState.SERVING, "")

    def degraded(self, detail: str) -> None:
        """Say that the part works with a restriction."""
        self._set(PartState.DEGRADED, detail)

    def not_serving(self, detail: str) -> None:
        """Say that the part does not work, why, and what helps."""
        self._set(PartState.NOT_SERVING, detail)

    def _set(self, state: PartState, detail: str) -> None:
        if (state, detail) == (self.state, self.detail):
            return
        if state is not self.state:
            self.since = self._health.clock.now()
        self.state, self.detail = state, detail
        self._health.changed()


class Health:
    """The parts of one process and what follows from them."""

    def __init__(self, clock: Clock) -> None:
        """Begin without parts."""
        self.clock = clock
        self._parts: dict[str, Part] = {}
        self._draining = False
        self._change = asyncio.Event()
        self._watchers: set[object] = set()
        self._untold: set[object] = set()
        self._all_told = asyncio.Event()
        self._all_told.set()

    def part(self, name: str) -> Part:
        """Return the part with this name; it is made, as starting, when there is none."""
        if name not in self._parts:
            self._parts[name] = Part(name, self)
            self.changed()
        return self._parts[name]

    def parts(self) -> tuple[Part, ...]:
        """Return all parts in the order in which they were made."""
        return tuple(self._parts.values())

    def state(self) -> PartState:
        """Return the state of the worst part; draining once `drain` was called."""
        if self._draining:
            return PartState.DRAINING
        return max((p.state for p in self._parts.values()), key=_FROM_BEST_TO_WORST.index, default=PartState.SERVING)

    @property
    def ready(self) -> bool:
        """Whether the process should be sent calls."""
        return self.state() in (PartState.SERVING, PartState.DEGRADED)

    def drain(self) -> None:
        """Say that the process is stopping; there is no way back."""
        self._draining = True
        self.changed()

    def changed(self) -> None:
        """Wake everyone who watches."""
        change, self._change = self._change, asyncio.Event()
        self._untold = set(self._watchers)
        if self._untold:
            self._all_told.clear()
        change.set()

    async def told(self) -> None:
        """Wait until everyone who watches knows the present state."""
        await self._all_told.wait()

    async def watch(self) -> AsyncGenerator[bool]:
        """Yield `ready` at once and again each time it differs, without end."""
        last: bool | None = None
        me = object()
        self._watchers.add(me)
        try:
            while True:
                change = self._change
                ready = self.ready
                if ready is not last:
                    last = ready
                    yield ready
                else:
                    self._tell(me)
                    await change.wait()
        finally:
            self._watchers.discard(me)
            self._tell(me)

    def _tell(self, watcher: object) -> None:
        self._untold.discard(watcher)
        if not self._untold:
            self._all_told.set()
