"""What a provider tells beside its rows: empty stretches, rows it could not read, how feeds and symbols are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from quasar.model.bars import Bar, BarColumns
from quasar.model.ticks import Tick, TickColumns


@dataclass(frozen=True, slots=True)
class EmptyRange:
    """A stretch for which the vendor said that it has nothing; without it, silence counts as a gap."""

    start_ns: int
    end_ns: int
    no_trade: bool = False
    """The vendor said that nothing was traded, and not only that it has no data."""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row of the vendor that is no bar, tick, symbol or constituent. It goes to quarantine; the others are kept."""

    detail: str
    """What is wrong, with the value: "close is null"."""
    payload: Mapping[str, object]
    """The row as it came, without secrets."""
    time_ns: int = 0
    """Its open or event time; 0: none that can be read."""
    symbol: str = ""
    """The symbol that the row names, where it is not the one that was asked for."""


class SymbolState(IntEnum):
    """Where the subscription of a symbol stands with the vendor; numbered as in the contract."""

    SUBSCRIBED = 1
    UNSUBSCRIBED = 2
    REFUSED = 3
    RESYNCING = 4
    CHECKSUM_FAILED = 5
    HALTED = 6


@dataclass(frozen=True, slots=True)
class SymbolNotice:
    """What the vendor said about a symbol of a live feed."""

    symbol: str
    state: SymbolState
    message: str = ""
    """The vendor's words, when it refuses."""


class ConnectionState(IntEnum):
    """Where a connection stands; numbered as in the contract."""

    CONNECTING = 1
    CONNECTED = 2
    DISCONNECTED = 3
    REFUSED = 4


@dataclass(frozen=True, slots=True)
class ConnectionNotice:
    """What happened to the connection of a live feed."""

    state: ConnectionState
    connection: int = 1
    """Counts the connections of the feed from 1."""
    host: str = ""
    last_receive_ns: int = 0
    """When anything was last received; 0: nothing yet."""
    ping_s: float | None = None
    """Round trip of the last ping."""
    error: str = ""
    """Why it ended or was refused."""
    next_attempt_ns: int = 0
    """When the next attempt is made; 0: none is due."""
    bytes_received: int = 0


class GapCause(IntEnum):
    """Why rows of a feed are missing; the part of the contract's `GapCause` that a provider can tell."""

    UNSPECIFIED = 0
    FEED_INTERRUPTED = 1
    """The connection broke or was silent."""
    SEQUENCE_BROKEN = 2
    """The venue's sequence numbers or checksums showed a loss."""
    OVERLOAD = 7
    """The reader was too slow."""


@dataclass(frozen=True, slots=True)
class GapNotice:
    """A hole in a live feed that the provider knows of."""

    symbol: str = ""
    """Empty: every symbol of the feed."""
    start_ns: int = 0
    """Event time of the last row before it; 0: not known."""
    end_ns: int = 0
    """Event time of the first row after it; 0: still open."""
    cause: GapCause = GapCause.UNSPECIFIED
    detail: str = ""
    """For people: "sequence 1041 after 1037"."""
    last_trade_id: int | None = None


HistoryItem = Bar | BarColumns | EmptyRange | RejectedRow
"""What `bars` of a provider yields."""
TickItem = Tick | TickColumns | EmptyRange | RejectedRow
"""What `ticks` of a provider yields."""
Notice = SymbolNotice | ConnectionNotice | GapNotice | RejectedRow
LiveItem = tuple[str, Tick | TickColumns] | tuple[str, str, Bar | BarColumns] | Notice
"""What a live feed brings: (symbol, ticks), (symbol, interval, bars), or a notice."""
