"""Profit and loss by groups: what fills realised and cost, and how what is held moved. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from quasar.model.instants import from_ns
from strategy_engine.trading.orders import ZERO, StoredFill
from strategy_engine.trading.round_trips import round_trips

Key = tuple[str, ...]
"""The names of a group, in the order of its dimensions."""


@dataclass(slots=True, kw_only=True)
class Earned:
    """What one group earned, in one currency."""

    realised: Decimal = ZERO
    """Commission not deducted."""
    unrealised_change: Decimal | None = None
    """None: nothing tells it."""
    commission: Decimal = ZERO
    notional: Decimal = ZERO
    fills: int = 0
    trades: int = 0
    winning_trades: int = 0
    end_equity: Decimal | None = None
    """Of a day: equity at its end."""
    start_equity: Decimal | None = None
    """Of a day: equity at its start."""

    @property
    def net(self) -> Decimal:
        """Realised and what is known of the unrealised, commission deducted."""
        return self.realised + (self.unrealised_change or ZERO) - self.commission


@dataclass(frozen=True, slots=True)
class OwnFill:
    """A fill with the value of one unit per point of price."""

    stored: StoredFill
    multiplier: Decimal


@dataclass(frozen=True, slots=True)
class DayMark:
    """How an owner stood at the end of a day."""

    owner: str
    day: str
    equity: Decimal
    unrealised: Decimal


def day_of(time: dt.datetime, zone: ZoneInfo) -> str:
    """Return the trading day of an instant, "YYYY-MM-DD": it begins at local midnight."""
    return time.astimezone(zone).date().isoformat()


def row_of(fill: OwnFill, zone: ZoneInfo) -> dict[str, str]:
    """Return what a fill is grouped and filtered by."""
    stored = fill.stored
    return {
        "day": day_of(from_ns(stored.fill.fill_time_ns), zone),
        "symbol": stored.fill.symbol,
        "instance_id": stored.instance_id,
        "account_id": stored.account_id,
        "currency": stored.fill.currency,
        "tag": stored.fill.tag,
    }


def earned(fills: Sequence[OwnFill], keys: Sequence[Key | None]) -> dict[Key, Earned]:
    """Return what each group earned.

    Args:
        fills: All of the scope, oldest first: what is left out could be the entry of a round trip.
        keys: The group of each; None: it does not count.
    """
    found: dict[Key, Earned] = {}
    group_of: dict[str, Key] = {}
    owners: dict[tuple[str, str], list[OwnFill]] = {}
    for fill, key in zip(fills, keys, strict=True):
        stored = fill.stored
        owners.setdefault((stored.account_id, stored.instance_id), []).append(fill)
        if key is None:
            continue
        group_of[stored.fill.fill_id] = key
        own = found.setdefault(key, Earned())
        own.realised += stored.realised_pnl or ZERO
        own.commission += stored.fill.commission
        own.notional += stored.fill.quantity * stored.fill.price * fill.multiplier
        own.fills += 1
    for each in owners.values():
        multipliers = {fill.stored.fill.symbol: fill.multiplier for fill in each}
        for trip in round_trips([fill.stored.fill for fill in each], multipliers):
            closed_by = None if trip.exit is None else group_of.get(trip.exit.fill_id)
            if closed_by is not None:
                found[closed_by].trades += 1
                found[closed_by].winning_trades += trip.net_profit > 0
    return found


def add_days(found: dict[Key, Earned], marks: Sequence[DayMark], starts: Mapping[str, Decimal], place: int) -> None:
    """Add to groups by day what the marks of equity say, owner by owner.

    Args:
        found: Groups whose first name is the day, or the day and its owner; days without a fill are added.
        marks: The last mark of each owner and day, by owner and day, ascending.
        starts: Equity of each owner at its start.
        place: Where the owner stands among the names of a group; 0: the groups are of days only.
    """
    before: dict[str, tuple[Decimal, Decimal]] = {}
    for mark in marks:
        equity, unrealised = before.get(mark.owner, (starts.get(mark.owner, ZERO), ZERO))
        key = (mark.day, mark.owner) if place else (mark.day,)
        own = found.setdefault(key, Earned())
        own.unrealised_change = (own.unrealised_change or ZERO) + mark.unrealised - unrealised
        own.start_equity = (own.start_equity or ZERO) + equity
        own.end_equity = (own.end_equity or ZERO) + mark.equity
        before[mark.owner] = (mark.equity, mark.unrealised)


def total(groups: Sequence[Earned]) -> Earned:
    """Return the sum of groups; its unrealised change is that of those that have one."""
    known = [each.unrealised_change for each in groups if each.unrealised_change is not None]
    return Earned(
        realised=sum((each.realised for each in groups), ZERO),
        unrealised_change=sum(known, ZERO) if known else None,
        commission=sum((each.commission for each in groups), ZERO),
        notional=sum((each.notional for each in groups), ZERO),
        fills=sum(each.fills for each in groups),
        trades=sum(each.trades for each in groups),
        winning_trades=sum(each.winning_trades for each in groups),
    )
