"""What a provider's process sends, as values: batches of history and of live data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quasar import errors
from quasar.convert.wire import Buffer
from quasar.model.bars import BarColumns
from quasar.model.ticks import TickColumns, TickKind
from quasar.sdk.notices import EmptyRange, Notice, RejectedRow


@dataclass(frozen=True, slots=True)
class BarBatch:
    """Some bars of one request, or how the request ended."""

    request: int
    """Index into the requests that were given."""
    columns: BarColumns | None = None
    error: errors.QuasarError | None = None
    """Why the request failed: `UnknownSymbol`, `Unsupported`, `Throttled`, `Unauthorised`, `VendorFailed`,
    `PluginFailed` or `PluginUnavailable`. Set only in the last batch of a request."""
    done: bool = False
    """The last batch of the request, good or bad."""
    rejected: tuple[RejectedRow, ...] = ()
    """Rows that are no bars; they go to quarantine."""
    empty: tuple[EmptyRange, ...] = ()
    """Stretches for which the vendor said that it has nothing."""
    complete_until_ns: int = 0
    """In the last batch: everything before this time was sent; 0: nothing can be said."""


@dataclass(frozen=True, slots=True)
class TickBatch:
    """Some ticks of one request, or how the request ended; the fields are those of `BarBatch`."""

    request: int
    columns: TickColumns | None = None
    error: errors.QuasarError | None = None
    done: bool = False
    rejected: tuple[RejectedRow, ...] = ()
    empty: tuple[EmptyRange, ...] = ()
    complete_until_ns: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class LiveTicks:
    """Ticks of one kind of one symbol."""

    symbol: str
    series_id: int
    columns: TickColumns
    """By event time; `receive_time_ns` is set."""
    encoded: Buffer = field(repr=False)
    """The `TickChunk` as it came, for those who pass it on."""

    @property
    def kind(self) -> TickKind:
        """What the ticks tell."""
        kinds = self.columns.kind
        return TickKind.TRADE if kinds is None or not len(kinds) else TickKind(int(kinds[0]))


@dataclass(frozen=True, slots=True, eq=False)
class LiveBars:
    """Bars of one symbol and interval, pushed by the vendor."""

    symbol: str
    interval: str
    series_id: int
    columns: BarColumns
    encoded: Buffer = field(repr=False)
    """The `BarChunk` as it came."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveBatch:
    """What a live feed brought. Apply notices first, then ticks, then bars."""

    tick_chunks: Sequence[LiveTicks] = ()
    bar_chunks: Sequence[LiveBars] = ()
    notices: Sequence[Notice] = ()
    """`ConnectionNotice`, `SymbolNotice`, `GapNotice`, `RejectedRow`."""

    @property
    def ticks(self) -> Mapping[str, TickColumns]:
        """The ticks by symbol, kinds together."""
        found: dict[str, list[TickColumns]] = {}
        for chunk in self.tick_chunks:
            found.setdefault(chunk.symbol, []).append(chunk.columns)
        return {symbol: TickColumns.concatenate(parts) for symbol, parts in found.items()}

    @property
    def bars(self) -> Mapping[tuple[str, str], BarColumns]:
        """The bars by symbol and interval."""
        found: dict[tuple[str, str], list[BarColumns]] = {}
        for chunk in self.bar_chunks:
            found.setdefault((chunk.symbol, chunk.interval), []).append(chunk.columns)
        return {key: BarColumns.concatenate(parts) for key, parts in found.items()}
