"""What a provider's process sends, as values: batches of history and of live data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, overload

from quasar import errors
from quasar.convert.wire import Buffer
from quasar.model.bars import BarColumns
from quasar.model.instruments import Instrument
from quasar.model.ticks import TickColumns, TickKind
from quasar.sdk.notices import EmptyRange, Notice, RejectedRow
from quasar.sdk.permits import Tally
from quasar.sdk.requests import Constituent
from quasar_proto.datahub.v1 import provider_pb2

T = TypeVar("T")


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
    tally: Tally = field(default_factory=Tally)
    """In the last batch: the calls to the vendor for the request, and how long they waited for permits."""


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
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class _Answer(Sequence[T]):
    """Rows of an answer, with those that are none beside them."""

    rows: tuple[T, ...]
    rejected: tuple[RejectedRow, ...] = ()
    """Rows of the vendor that are none."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...

    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        return self.rows[place]


@dataclass(frozen=True, slots=True)
class SymbolPage(_Answer[Instrument]):
    """Some of the symbols that a vendor knows."""

    told: tuple[provider_pb2.ProviderSymbol, ...] = field(default=(), repr=False)
    """The same symbols as the plug-in wrote them, for those who pass them on."""
    total: int | None = None
    """How many there are in all, when the vendor says so."""


@dataclass(frozen=True, slots=True)
class Members(_Answer[Constituent]):
    """The members of an index."""

    effective_date: str = ""
    """The date that the vendor says they hold for, YYYY-MM-DD; empty: not told."""


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
