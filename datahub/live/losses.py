"""Losses of live data as operators see them: events, figures, and a part of the service that says what is wrong.

What is left out where a disk, the bus or the database is away for too long is counted where it happens; here the
counts are looked at. A loss that goes on is one event a minute, with what was lost since the event before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from quasar import errors, logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.ops.events import Events, Severity

LOOK_S: Final = 2.0
"""Counts are looked at so often."""
AGAIN_S: Final = 60.0
"""Two events of one place are at least so far apart."""
SHOWN_S: Final = 300.0
"""How long a loss is shown as the state of the service after it has ended."""
LOST: Final = "LiveDataLost"
NOT_KEPT: Final = "LiveLogNotKept"

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere live data can be lost."""

    name: str
    """For programs ("bus"); names the figure, too."""
    what: str
    """What happens to those that are counted, to stand behind a number: "rows were left out because …"."""
    count: Callable[[], int]
    """How many were lost since the start; only grows."""
    problem: Callable[[], str] = lambda: ""
    """Why nothing is kept there at all; empty while something is."""


Gauge = Callable[[str, str, Callable[[], float]], None]
"""Adds a figure to the metrics: name, what it is, how it is read."""


class Losses:
    """Looks at the places and tells."""

    def __init__(
        self, places: Sequence[Place], database: Database, events: Events, clock: Clock, show: Callable[[str], None]
    ) -> None:
        """Tell of `places`.

        Args:
            places: Where data can be lost.
            database: Where events are recorded.
            events: Records them.
            clock: The time.
            show: Hears what is wrong now, in words for people; empty: nothing is.
        """
        self._places = places
        self._database = database
        self._events = events
        self._clock = clock
        self._show = show
        self._seen: dict[str, int] = {}
        self._grew_s: dict[str, float] = {}
        self._told: dict[str, tuple[int, float]] = {}
        """What the last event said was lost so far, and when, by place."""
        self._told_problems: dict[str, str] = {}

    def expose(self, gauge: Gauge) -> None:
        """Add the counts to the metrics."""
        for place in self._places:
            gauge(f"live_lost_{place.name}", f"Since the start, {place.what}", place.count)

    async def run(self) -> None:
        """Look and tell for ever; while the database is away events wait."""
        while True:
            self.look()
            try:
                await self.write()
            except (errors.DatabaseUnavailable, errors.DeadlineExceeded) as error:
                _log.warning("losses of live data wait for the database", problem=str(error))
            await self._clock.sleep(LOOK_S)

    def look(self) -> None:
        """Show what is wrong now."""
        now, wrong = self._clock.monotonic(), []
        for place in self._places:
            count = place.count()
            if count > self._seen.get(place.name, 0):
                self._seen[place.name], self._grew_s[place.name] = count, now
            if problem := place.problem():
                wrong.append(problem)
            elif place.name in self._grew_s and now - self._grew_s[place.name] < SHOWN_S:
                wrong.append(f"{count:,} {place.what}")
        self._show(" ".join(wrong))

    async def write(self) -> None:
        """Record what was not told so far.

        Raises:
            DatabaseUnavailable: The database is away; it is told later.
            DeadlineExceeded: It is too slow; it is told later.
        """
        now = self._clock.monotonic()
        counts = {place: place.count() for place in self._places if self._is_due(place, now)}
        problems = {place: place.problem() for place in self._places}
        news = {place: text for place, text in problems.items() if text and text != self._told_problems.get(place.name)}
        if counts or news:
            async with self._database.transaction() as connection:
                for place, count in counts.items():
                    await self._record_loss(connection, place, count)
                for place, text in news.items():
                    await self._record(connection, NOT_KEPT, text, {"place": place.name})
        self._told.update({place.name: (count, now) for place, count in counts.items()})
        self._told_problems = {place.name: text for place, text in problems.items()}

    def _is_due(self, place: Place, now: float) -> bool:
        before, told_s = self._told.get(place.name, (0, -AGAIN_S))
        return place.count() > before and now - told_s >= AGAIN_S

    async def _record_loss(self, connection: Any, place: Place, count: int) -> None:
        new = count - self._told.get(place.name, (0, 0.0))[0]
        facts = {"place": place.name, "lost": new, "lost_total": count}
        await self._record(connection, LOST, f"{new:,} {place.what}", facts)

    async def _record(self, connection: Any, kind: str, text: str, facts: dict[str, Any]) -> None:
        await self._events.record(
            connection, kind, text, subject_type="live_data", subject_name=facts["place"], severity=Severity.ERROR,
            data=facts,
        )  # fmt: skip
