"""The views: which rows each shows, under which key and command."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tui import rows
from tui.store import Store


@dataclass(frozen=True, slots=True)
class View:
    """One screen of the console."""

    key: str
    """The digit that opens it."""
    alias: str
    """What is typed after a colon."""
    title: str
    columns: tuple[str, ...]
    build: Callable[[Store, dt.datetime], rows.Rows]
    source: str
    """What must have been loaded before an empty table means that there is nothing."""
    empty: str
    actions: str = ""
    """Keys that act on the row, for the footer."""


VIEWS: Final = (
    View(
        "1",
        "pulse",
        "Pulse",
        ("Service", "State", "Up", "Version", "Memory", "CPU", "p50/p99 ms", "In flight", "Calls/s"),
        rows.pulse_rows,
        "systems",
        "No service answers.",
    ),
    View(
        "2",
        "prov",
        "Providers",
        ("Name", "Code", "State", "Feed", "Last row", "Symbols", "Memory", "Restarts", "Detail"),
        rows.provider_rows,
        "codes",
        "No provider is there.",
        "t restart",
    ),
    View(
        "3",
        "subs",
        "Subscriptions",
        ("Symbol", "Provider", "Interval", "Collects", "State", "Last bar", "Bars", "Gaps", "Next run"),
        rows.subscription_rows,
        "subscriptions",
        "Nothing is subscribed yet.",
        "e pause/resume · ctrl-d remove",
    ),
    View(
        "4",
        "jobs",
        "Runs",
        ("State", "Series", "Provider", "Why", "New", "Changed", "Bad", "Tries", "Started", "Took", "Error"),
        rows.run_rows,
        "runs",
        "No run yet.",
        "x cancel · R retry",
    ),
    View(
        "5",
        "ticks",
        "Live ticks",
        # What a narrow window has no room for stands on the right.
        (
            *("Symbol", "Last", "Bid", "Ask", "Change", "Recent", "High", "Low", "VWAP", "Trades", "Age", "Feed"),
            *("Provider", "Spread"),
        ),
        rows.tick_rows,
        "prices",
        "No live symbol: subscribe to one with live data.",
    ),
    View(
        "6",
        "gaps",
        "Gaps",
        ("Series", "Provider", "From", "To", "Missing", "State", "Cause", "Evidence"),
        rows.gap_rows,
        "gaps",
        "No gaps.",
        "b back-fill",
    ),
    View(
        "7",
        "strat",
        "Strategies",
        ("Name", "Strategy", "Mode", "State", "Equity", "P&L", "Pos", "Fills", "Denied", "Curve", "Data"),
        rows.strategy_rows,
        "instances",
        "No instance runs a strategy.",
        "s start · S stop",
    ),
    View(
        "8",
        "ord",
        "Orders and positions",
        ("Kind", "Symbol", "Account", "Order", "Quantity", "Price", "P&L", "State", "Age"),
        rows.order_rows,
        "orders",
        "No orders and no positions.",
        "x cancel",
    ),
    View(
        "9",
        "logs",
        "Logs",
        ("Time", "Service", "Level", "Logger", "Event", "Fields"),
        rows.log_rows,
        "logs",
        "No log lines yet.",
    ),
    View(
        "0",
        "ev",
        "Events",
        ("Time", "Severity", "Event", "About", "Message", "By"),
        rows.event_rows,
        "events",
        "Nothing has been recorded yet.",
    ),
)


def view_of(alias: str) -> View | None:
    """Return the view that a command names: its alias, its digit, or the beginning of its title."""
    wanted = alias.strip().lower()
    for view in VIEWS:
        if wanted in (view.alias, view.key) or (wanted and view.title.lower().startswith(wanted)):
            return view
    return None
