"""What comes into a back-test and what it leaves, as values."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any, Protocol

import numpy as np

from quasar.model.bars import BarColumns
from quasar.model.columns import FloatArray, Int64Array
from quasar.plugins.code import CodeVersion

Document = Mapping[str, Any]
"""The JSON form of a message of the contract; only `rpc` looks into it."""


class BacktestState(Enum):
    """Where a back-test stands; the names are those of the contract."""

    PENDING = "PENDING"
    LOADING = "LOADING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSeries:
    """A series that a universe names: by provider and symbol, or by common symbol (then the provider may be empty)."""

    symbol: str
    interval: str
    provider: str = ""
    common: bool = False
    """The symbol is a common symbol."""
    alias: str = "main"
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """What is known of a series."""

    provider: str
    symbol: str
    """The provider's."""
    interval: str
    common_symbol: str = ""
    exchange: str = ""
    asset_class: str = ""
    currency: str = ""
    calendar: str = ""
    price_decimals: int | None = None
    size_decimals: int | None = None
    price_tick: Decimal | None = None
    """What the registry says of the instrument, beside the DataHub; None: nothing. The others likewise."""
    quantity_step: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    multiplier: Decimal | None = None

    @property
    def name(self) -> str:
        """What strategies call it: its common symbol, or the provider's where there is none."""
        return self.common_symbol or self.symbol


@dataclass(frozen=True, slots=True, eq=False)
class LoadedSeries:
    """A series with its bars."""

    wanted: WantedSeries
    facts: SeriesFacts
    bars: BarColumns


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTerms:
    """Which bars are read."""

    start: dt.datetime | None = None
    end: dt.datetime | None = None
    as_of: dt.datetime | None = None
    adjustment: int = 0
    """A number of the contract's `Adjustment`."""


class BarReader(Protocol):
    """Reads stored bars."""

    async def read(self, wanted: Sequence[WantedSeries], terms: ReadTerms) -> list[LoadedSeries]:
        """Return each series with its bars.

        Raises:
            NotFound: A series does not exist.
            ServiceUnavailable: The DataHub does not answer.
        """
        ...


class NewestBars(Protocol):
    """Reads the newest stored bars."""

    async def newest(self, wanted: Sequence[WantedSeries], count: int) -> list[LoadedSeries]:
        """Return the newest closed bars of each series, oldest first, `count` at most."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """An order that reached its end, or was open at the end."""

    client_order_id: str
    symbol: str
    status: str
    time: dt.datetime
    document: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRecord:
    """One execution."""

    client_order_id: str
    symbol: str
    side: str
    """`BUY` or `SELL`."""
    quantity: Decimal
    price: Decimal
    commission: Decimal
    time: dt.datetime
    document: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRecord:
    """One round trip; without exit while it is open."""

    symbol: str
    side: str
    """`LONG` or `SHORT`."""
    quantity: Decimal
    entry_time: dt.datetime
    entry_price: Decimal
    commission: Decimal
    exit_time: dt.datetime | None = None
    exit_price: Decimal | None = None
    profit: Decimal | None = None
    """Commission deducted."""
    return_ratio: float = 0.0
    bars_held: int = 0
    tag: str = ""
    document: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """A line that the strategy wrote."""

    event_time: dt.datetime | None
    level: str
    message: str
    place: str = ""


CURVES = ("equity", "cash", "net_exposure", "gross_exposure", "drawdown", "realised_pnl")
"""Columns of an equity curve that are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class EquityColumns:
    """Rows of the equity curve: int64 nanoseconds UTC, and float64 columns by name, of one length."""

    time_ns: Int64Array
    columns: Mapping[str, FloatArray]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.time_ns)

    @classmethod
    def concatenate(cls, parts: Sequence[EquityColumns]) -> EquityColumns:
        """Join parts that follow one another; a column that one of them lacks is left out."""
        if not parts:
            return cls(np.empty(0, dtype=np.int64), {"equity": np.empty(0)})
        names = [name for name in parts[0].columns if all(name in part.columns for part in parts)]
        times = np.concatenate([part.time_ns for part in parts])
        return cls(times, {name: np.concatenate([part.columns[name] for part in parts]) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the engine ended."""

    error: str = ""
    """The strategy's own error with file and line; empty when it ran to its end."""
    findings: Sequence[Document] = ()
    final_equity: Decimal | None = None
    final_cash: Decimal | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    run_s: float = 0.0
    bars_per_second: float = 0.0
    peak_memory_bytes: int = 0
    engine_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Records:
    """Some of what a running back-test tells, in the order in which it came to be."""

    bars_done: int | None = None
    bars_total: int | None = None
    equity: Sequence[EquityColumns] = ()
    orders: Sequence[OrderRecord] = ()
    fills: Sequence[FillRecord] = ()
    trades: Sequence[TradeRecord] = ()
    logs: Sequence[LogRecord] = ()
    outcome: Outcome | None = None
    """Only in the last one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """What the engine is asked to do."""

    backtest_id: uuid.UUID
    code: CodeVersion
    series: Sequence[LoadedSeries]
    parameters: Mapping[str, Any]
    terms: Document


class Engine(Protocol):
    """Runs a back-test in the process of the strategy."""

    def run(self, job: Job) -> AsyncIterator[Records]:
        """Yield progress and records; the last one holds the outcome.

        Raises:
            PluginFailed: The code could not be loaded.
            PluginUnavailable: Its process does not run.
        """
        ...
