"""Instances and their runs as values."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Protocol

from quasar.engine.live import LiveBar, LiveTick
from quasar.model.orders import OrderIntent
from quasar.ops.actors import Actor
from quasar.plugins.code import CodeVersion
from strategy_engine.backtests.records import LoadedSeries, LogRecord, SeriesFacts
from strategy_engine.trading.orders import Changed, Held

Document = Mapping[str, Any]


class InstanceState(Enum):
    """Where an instance stands; the names are those of the contract."""

    STOPPED = "STOPPED"
    WAITING = "WAITING"
    STARTING = "STARTING"
    WARMING_UP = "WARMING_UP"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    STOPPING = "STOPPING"
    BACKING_OFF = "BACKING_OFF"
    FAILED = "FAILED"

    @property
    def still(self) -> bool:
        """Nothing runs."""
        return self in (InstanceState.STOPPED, InstanceState.FAILED, InstanceState.WAITING)


RUN_STATES: Final = (
    "STARTING",
    "WARMING_UP",
    "RUNNING",
    "PAUSED",
    "RECOVERING",
    "STOPPING",
    "COMPLETED",
    "STOPPED",
    "FAILED",
)
"""Where a run may stand; the names are those of the contract."""
TELEMETRY: Final = (
    "STATE",
    "SIGNAL",
    "INTENT",
    "ORDER",
    "FILL",
    "POSITION",
    "EQUITY",
    "LOG",
    "OBSERVATION",
    "CONFIGURATION",
    "DATA",
    "TRADING_STATE",
)
"""What an entry of a run may tell; the names are those of the contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A strategy with everything that it needs to run."""

    instance_id: str
    display_name: str
    description: str
    labels: Mapping[str, str]
    strategy: str
    code_version: int
    """0: the version that is active at each start."""
    parameters: Document
    universe: Document
    account_id: str
    capital: Decimal | None
    capital_currency: str
    seed: int
    enabled: bool = False
    state: InstanceState = InstanceState.STOPPED
    state_text: str = ""
    state_time: dt.datetime | None = None
    run_id: uuid.UUID | None = None
    last_run_id: uuid.UUID | None = None
    restart_needed: bool = False
    actor: Actor | None = None
    create_time: dt.datetime | None = None
    update_time: dt.datetime | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """What a run begins from."""

    run_id: uuid.UUID
    code: CodeVersion
    series: Sequence[LoadedSeries]
    """Without bars, or with the newest one."""
    instruments: Mapping[str, SeriesFacts]
    """By symbol what orders are held to."""
    parameters: Document
    cash: Decimal
    currency: str
    positions: Sequence[Held]
    next_intent_number: int
    seed: int
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Events that are shown to a strategy in one call."""

    time_ns: int
    bars: Sequence[LiveBar] = ()
    ticks: Sequence[LiveTick] = ()
    changes: Sequence[Changed] = ()
    warmup: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a strategy wanted and said while it handled events."""

    intents: Sequence[OrderIntent] = ()
    intent_documents: Sequence[Document] = ()
    logs: Sequence[LogRecord] = ()
    signals: Sequence[tuple[int, Document]] = ()
    """Event time in nanoseconds UTC, and the JSON form of the contract's `Signal`."""
    error: str = ""
    """An error of its code, with file and line; empty: none."""


class Session(Protocol):
    """A strategy that runs in its process."""

    warmup_bars: int
    """How many bars of history each series needs."""

    async def show(self, events: Shown) -> Said:
        """Show events and return what came of them.

        Raises:
            PluginFailed: The strategy took too long and was killed.
            PluginUnavailable: Its process ended.
        """
        ...

    async def first(self) -> Said:
        """Return what the strategy wanted while it was set up."""
        ...


class Stage(Protocol):
    """Runs strategies in processes of their own."""

    def open(self, begin: Begin) -> AbstractAsyncContextManager[Session]:
        """Begin a run; it ends with the context.

        Raises:
            PluginFailed: The strategy's set-up raised.
        """
        ...
