"""Bars that vendors push beside their ticks: which of them are over, and whether ours say the same.

A vendor's bar is over when it says so, when a later one comes, or when its time has been over for a while. It is stored
beside the one built from ticks, and read in its place. Where both are there and differ, that is told as an event.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final

from datahub.live.bars import BuiltBar
from datahub.series.series import Series
from quasar import errors, logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.model.bars import Bar, BarColumns, BarOrigin, BarState
from quasar.model.instants import from_ns
from quasar.ops.events import Events, Severity

SETTLE_NS: Final = 2_000_000_000
"""So long after both bars are there they are compared: vendors and late trades correct them for a moment."""
KEPT: Final = 64
"""Bars of a series that wait to be compared."""
TELL_S: Final = 2.0
"""Events are recorded so often at most."""

_EQUAL: Final = 1e-9
"""Relative difference that rounding explains."""
_log = logs.get(__name__)


@dataclass(slots=True)
class _Pair:
    """What both sides say of one slot."""

    own: Bar | None = None
    pushed: Bar | None = None
    since_ns: int = 0
    """When the second of them came, or changed."""


@dataclass(slots=True)
class _Pushed:
    """What one series was pushed."""

    series: Series
    forming: Bar | None = None
    told: Bar | None = None
    """The forming bar as readers were told of it last."""
    since_ns: int = 0
    """Since when no bar was missed; 0: since the next one that comes."""
    until_ns: int = 0
    """End of the last bar that is over."""
    pairs: OrderedDict[int, _Pair] = field(default_factory=OrderedDict)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A slot of which the vendor's bar and ours differ."""

    series: Series
    own: Bar
    pushed: Bar


class VendorBars:
    """The pushed bars of all feeds of this process."""

    def __init__(self, clock: Clock, tell: Callable[[Disagreement], None]) -> None:
        """Tell of disagreements by `tell`."""
        self._clock = clock
        self._tell = tell
        self._series: dict[int, _Pushed] = {}

    def push(self, series: Series, columns: BarColumns) -> list[BuiltBar]:
        """Take bars as the vendor pushed them; return those that are over, or changed after it."""
        pushed = self._series.setdefault(series.series_id, _Pushed(series))
        over: list[Bar] = []
        for bar in columns.bars():
            pushed.since_ns = pushed.since_ns or bar.open_time_ns
            over += _ended(pushed, bar)
        return [self._built(pushed, bar) for bar in over]

    def own(self, built: Iterable[BuiltBar]) -> None:
        """Take our own bars of the same series."""
        for one in built:
            pushed = self._series.get(one.series_id)
            if pushed is not None and one.origin is BarOrigin.LIVE_TICKS:
                self._pair(pushed, one.bar.open_time_ns).own = one.bar

    def advance(self, now_ns: int) -> list[BuiltBar]:
        """Return bars whose time is over although no later one came, and compare what has settled."""
        over: list[BuiltBar] = []
        for pushed in self._series.values():
            bar = pushed.forming
            if bar is not None and bar.close_time_ns is not None and now_ns >= bar.close_time_ns + SETTLE_NS:
                pushed.forming = None
                over.append(self._built(pushed, bar))
            self._compare(pushed, now_ns)
        return over

    def forming(self, wanted: Set[int]) -> list[BuiltBar]:
        """Return the forming bars of some series that changed since they were last returned."""
        found: list[BuiltBar] = []
        for series_id in wanted & self._series.keys():
            pushed = self._series[series_id]
            if pushed.forming is not None and pushed.forming != pushed.told:
                pushed.told = pushed.forming
                bar = replace(pushed.forming, state=BarState.FORMING)
                found.append(BuiltBar(series_id, pushed.series.interval, bar, origin=BarOrigin.LIVE_PROVIDER))
        return found

    def forming_now(self, wanted: Set[int]) -> list[BuiltBar]:
        """Return the forming bars of some series, told or not."""
        return [
            BuiltBar(series_id, pushed.series.interval, pushed.forming, origin=BarOrigin.LIVE_PROVIDER)
            for series_id in wanted & self._series.keys()
            if (pushed := self._series[series_id]).forming is not None
        ]

    def interrupted(self, series_ids: Iterable[int]) -> None:
        """Note that bars may be missed; what was forming is given up, and comes again as the vendor has it."""
        for series_id in series_ids:
            if (pushed := self._series.get(series_id)) is not None:
                pushed.since_ns, pushed.forming = 0, None

    def stretch(self, series_id: int) -> tuple[int, int] | None:
        """Return since when and until when a series was pushed without a hole; None: it is not pushed."""
        pushed = self._series.get(series_id)
        return (pushed.since_ns, pushed.until_ns) if pushed is not None and pushed.since_ns else None

    def forget(self, series_ids: Iterable[int]) -> None:
        """Forget series that are not followed any more."""
        for series_id in series_ids:
            self._series.pop(series_id, None)

    def _built(self, pushed: _Pushed, bar: Bar) -> BuiltBar:
        pair = self._pair(pushed, bar.open_time_ns)
        state = BarState.CLOSED if pair.pushed is None else BarState.REVISED
        pair.pushed = replace(bar, state=state)
        pushed.until_ns = max(pushed.until_ns, bar.close_time_ns or bar.open_time_ns)
        series = pushed.series
        return BuiltBar(series.series_id, series.interval, pair.pushed, origin=BarOrigin.LIVE_PROVIDER)

    def _pair(self, pushed: _Pushed, open_ns: int) -> _Pair:
        pair = pushed.pairs.setdefault(open_ns, _Pair())
        pair.since_ns = self._clock.time_ns()
        while len(pushed.pairs) > KEPT:
            pushed.pairs.popitem(last=False)
        return pair

    def _compare(self, pushed: _Pushed, now_ns: int) -> None:
        for pair in pushed.pairs.values():
            if pair.own is None or pair.pushed is None or not pair.since_ns or now_ns < pair.since_ns + SETTLE_NS:
                continue
            pair.since_ns = 0  # compared; again when one of them changes
            if not agree(pair.own, pair.pushed):
                self._tell(Disagreement(pushed.series, pair.own, pair.pushed))


def _ended(pushed: _Pushed, bar: Bar) -> list[Bar]:
    """Return what is over now that a bar came."""
    former = pushed.forming
    if former is not None and bar.open_time_ns > former.open_time_ns:
        pushed.forming = None
        return [former, *_ended(pushed, bar)]
    known = pushed.pairs.get(bar.open_time_ns)
    before = known.pushed if known is not None else None
    if bar.state is not BarState.FORMING:
        if former is not None and former.open_time_ns == bar.open_time_ns:
            pushed.forming = None
    elif before is None and (former is None or former.open_time_ns == bar.open_time_ns):
        pushed.forming = bar
        return []
    # It was over before, or is older than what forms: a correction, or a repetition.
    return [] if before is not None and _figures(before) == _figures(bar) else [bar]


def agree(own: Bar, pushed: Bar) -> bool:
    """Tell whether two bars have the same prices and volume; what one of them does not tell is no difference."""
    return all(
        mine is None or theirs is None or math.isclose(mine, theirs, rel_tol=_EQUAL)
        for mine, theirs in zip(_figures(own).values(), _figures(pushed).values(), strict=True)
    )


def _figures(bar: Bar) -> Mapping[str, float | None]:
    return {"open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close, "volume": bar.volume}


class Disagreements:
    """Records disagreements as events: at most one of a series each time, with how many there were."""

    def __init__(self, database: Database, events: Events, clock: Clock) -> None:
        """Record into `database`."""
        self._database = database
        self._events = events
        self._clock = clock
        self._waiting: dict[int, tuple[Disagreement, int]] = {}

    def tell(self, found: Disagreement) -> None:
        """Take a disagreement; it is recorded soon."""
        _, count = self._waiting.get(found.series.series_id, (found, 0))
        self._waiting[found.series.series_id] = found, count + 1

    async def run(self) -> None:
        """Record for ever."""
        while True:
            await self._clock.sleep(TELL_S)
            try:
                await self.write()
            except (errors.DatabaseUnavailable, errors.DeadlineExceeded) as error:
                _log.warning("disagreements of bars wait for the database", problem=str(error))

    async def write(self) -> None:
        """Record what waits.

        Raises:
            DatabaseUnavailable: The database is away; what waits stays.
            DeadlineExceeded: It is too slow; what waits stays.
        """
        if not self._waiting:
            return
        waiting = dict(self._waiting)
        async with self._database.transaction() as connection:
            for found, count in waiting.values():
                await self._record(connection, found, count)
        self._waiting = {key: value for key, value in self._waiting.items() if waiting.get(key) != value}

    async def _record(self, connection: Any, found: Disagreement, count: int) -> None:
        name = str(found.series.name)
        at = from_ns(found.pushed.open_time_ns)
        own, theirs = _figures(found.own), _figures(found.pushed)
        differ = [key for key in own if own[key] is not None and theirs[key] is not None and own[key] != theirs[key]]
        await self._events.record(
            connection,
            "LiveBarsDisagreed",
            f"{name}: the provider's bar of {at:%Y-%m-%d %H:%M:%S} UTC and the one built from its ticks differ in "
            f"{', '.join(differ)}.",
            subject_type="series",
            subject_name=name,
            severity=Severity.WARNING,
            data={"open_time": at.isoformat(), "built": dict(own), "provider": dict(theirs), "bars": count},
        )
