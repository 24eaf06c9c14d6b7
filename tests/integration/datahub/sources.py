"""Sources of bars that do what a test tells them to, in place of providers behind processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

import numpy as np

from datahub.collection.answers import Answer
from datahub.collection.runs import Failure
from quasar.model.bars import BarColumns
from quasar.model.intervals import Interval
from quasar.sdk.requests import BarRequest


def bars_of(request: BarRequest, price: float = 100.0) -> BarColumns:
    """One bar for every slot of a request; the price follows from the time, so that the same slot has the same bar."""
    times = Interval.parse(request.interval).slots(request.start_ns, request.end_ns)
    prices = (price + (times // 60_000_000_000) % 50).astype(np.float64)
    return BarColumns(times, prices, prices + 1, prices - 1, prices, np.full(len(times), 7.0))


def part(columns: BarColumns) -> Answer:
    """Some bars."""
    return Answer(columns=columns)


DONE = Answer(columns=BarColumns.empty(), done=True)


def failed(message: str = "the vendor answered 503", **options: object) -> Answer:
    """A failure."""
    return Answer(columns=BarColumns.empty(), failure=Failure("VENDOR_FAILED", message, **options))  # type: ignore[arg-type]


Script = Callable[[BarRequest], list[Answer]]


@dataclass
class ScriptedSource:
    """Answers each request with what its script says; without one, with every bar."""

    scripts: dict[str, list[Script]] = field(default_factory=dict)
    """For each symbol the scripts of its requests, in order; the last one stays."""
    requests: list[BarRequest] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first request came."""
    hold: asyncio.Event | None = None
    """When set: answers end only after it."""
    waiting: bool = False
    """Whether it waits for leave to call the vendor."""

    async def fetch(self, request: BarRequest) -> AsyncGenerator[Answer, None]:
        """Answer a request."""
        self.requests.append(request)
        self.asked.set()
        scripts = self.scripts.get(request.symbol, [])
        script = complete if not scripts else (scripts.pop(0) if len(scripts) > 1 else scripts[0])
        for answer in script(request):
            if self.hold is not None and (answer.done or answer.failure):
                await self.hold.wait()
            yield answer


def complete(request: BarRequest) -> list[Answer]:
    """Every bar, in one part."""
    return [part(bars_of(request)), DONE]
