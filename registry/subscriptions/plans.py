"""Checking what somebody wants to subscribe to: everything that can be told without looking at assets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from quasar.errors import FailedPrecondition, FieldViolation, InvalidArgument, InvalidFilter, NotFound, Resource
from quasar.model.intervals import Interval
from quasar.schedule import Schedule
from registry.code.declarations import Declaration
from registry.subscriptions.selections import Selection
from registry.subscriptions.tick_kinds import spoken
from registry.violations import refused

_EVERY_MINUTE = "* * * * *"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A subscription that somebody wants: what the caller decides."""

    provider: str
    selection: Selection
    interval: str = ""
    """As written; empty: ticks only."""
    historical: bool = False
    live: bool = False
    store_ticks: bool = False
    tick_kinds: tuple[str, ...] = ()
    """Words of `TickKind`, in the order of the contract; empty: trades."""
    cron: str = ""
    time_zone: str = ""
    backfill_start: dt.datetime | None = None
    note: str = ""
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFacts:
    """What is known of a provider."""

    code_id: int
    name: str
    active: bool
    declaration: Declaration
    preferences: Mapping[str, Any]
    """What holds, by path."""
    has_assets: bool

    @property
    def knows_symbols(self) -> bool:
        """Whether its assets are all that it has: it can list them and did."""
        return self.has_assets and self.declaration.can("SYMBOLS")

    @property
    def delay(self) -> dt.timedelta:
        """How long after its close a bar is fetched."""
        hours = self.preferences.get("scheduling.delay_hours") or 0
        return self.declaration.publication_delay + dt.timedelta(hours=hours)


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked wish: the interval in canonical form, defaults filled in."""

    provider: ProviderFacts
    wish: Wish

    @property
    def key(self) -> tuple[int, str, bytes]:
        """Equal for subscriptions that select the same of the same provider at the same interval."""
        return self.provider.code_id, self.wish.interval, self.wish.selection.key

    @property
    def schedule(self) -> Schedule | None:
        """When bars of the past are fetched; None: they are not, or not by time."""
        if not self.wish.historical:
            return None
        cron = self.wish.cron or Interval.parse(self.wish.interval).cron or _EVERY_MINUTE
        return Schedule(cron, self.wish.time_zone or "UTC", self.provider.delay)


FilterCheck = Callable[[str], object]
"""Raises `InvalidFilter` for a filter on assets that cannot be understood."""


def unknown_provider(name: str) -> NotFound:
    """Return the error for a provider that does not exist."""
    return NotFound(
        f"There is no provider {name!r}; list what there is with ListCode.",
        resource=Resource("provider", name),
        violations=[FieldViolation("provider", f"must be a provider that exists, was {name!r}")],
    )


def plan(wish: Wish, provider: ProviderFacts, now: dt.datetime, check_filter: FilterCheck) -> Plan:
    """Check a wish.

    Raises:
        InvalidArgument: An interval, cron expression, time zone or start that cannot be taken.
        InvalidFilter: The filter of the selection cannot be understood.
        FailedPrecondition: The provider cannot do what is asked for.
    """
    wish = replace(wish, provider=provider.name, interval=_canonical(wish.interval))
    wish = _with_defaults(wish, provider)
    _check_ability(wish, provider)
    _check_interval(wish, provider)
    _check_schedule(wish)
    if wish.backfill_start is not None and wish.backfill_start > now:
        raise _invalid("backfill_start", f"must not be in the future, was {wish.backfill_start.isoformat()}")
    if wish.selection.assets is not None and wish.selection.assets.filter:
        try:
            check_filter(wish.selection.assets.filter)
        except InvalidFilter as error:
            found = [FieldViolation("selector.assets.filter", v.description) for v in error.violations]
            raise InvalidFilter(error.message, violations=found) from error
    return Plan(provider, wish)


def _canonical(interval: str) -> str:
    return Interval.parse(interval).code if interval.strip() else ""


def _with_defaults(wish: Wish, provider: ProviderFacts) -> Wish:
    """Set what the provider can do where nothing is asked for."""
    if wish.historical or wish.live:
        return wish
    if wish.interval and provider.declaration.can("HISTORICAL"):
        return replace(wish, historical=True)
    return replace(wish, live=True)


def _check_ability(wish: Wish, provider: ProviderFacts) -> None:
    declared, named = provider.declaration, f"provider {provider.name!r}"
    problem = ""
    if wish.historical and not declared.can("HISTORICAL"):
        problem = f"{named} has no history; subscribe to its live feed"
    elif wish.live and not declared.can("LIVE"):
        able = "it can fetch history" if declared.can("HISTORICAL") else "it has neither history nor a live feed"
        problem = f"{named} has no live feed; {able}"
    elif (wish.store_ticks or not wish.interval) and wish.live and not declared.streams_ticks:
        problem = f"{named} streams no ticks; leave store_ticks out and name an interval"
    elif wish.live and (lacking := [kind for kind in wish.tick_kinds if kind not in declared.tick_kinds]):
        has = spoken(declared.tick_kinds) if declared.tick_kinds else "no ticks"
        problem = f"{named} streams no {spoken(lacking)}; it streams {has}"
    if problem:
        raise FailedPrecondition(f"{problem}.", resource=Resource("provider", provider.name))
    if wish.tick_kinds and not wish.live:
        raise _invalid("tick_kinds", "must come with live, for a live feed is asked for them, was set without it")
    if wish.store_ticks and not wish.live:
        raise _invalid("store_ticks", "must come with live, for ticks are stored of a live feed, was true without it")
    if wish.historical and not wish.interval:
        raise _invalid("interval", "must be set to fetch history, was empty")


def _check_interval(wish: Wish, provider: ProviderFacts) -> None:
    if not wish.interval:
        return
    declared = provider.declaration
    made_of_ticks = declared.streams_ticks and not wish.historical
    if declared.intervals and wish.interval not in declared.intervals and not made_of_ticks:
        offered = ", ".join(declared.intervals)
        raise _invalid("interval", f"must be one that {provider.name!r} offers ({offered}), was {wish.interval!r}")
    if wish.historical and not declared.intervals and not Interval.parse(wish.interval).is_time:
        raise _invalid("interval", f"must be cut by time to fetch history, was {wish.interval!r}")


def _check_schedule(wish: Wish) -> None:
    if not wish.cron and not wish.time_zone:
        return
    try:
        Schedule(wish.cron or _EVERY_MINUTE, wish.time_zone or "UTC")
    except InvalidArgument as error:
        names = {"timezone": "time_zone"}
        found = [FieldViolation(names.get(v.field, v.field), v.description) for v in error.violations]
        raise refused(found) from error


def _invalid(field: str, description: str) -> InvalidArgument:
    return refused([FieldViolation(field, description)])
