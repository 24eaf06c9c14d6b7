"""Policies and their limits as values, read from the JSON form of the contract."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from strategy_engine.policy.sessions import AllowedSession, session_of


class ScopeKind(Enum):
    """What a limit or a trading state is about."""

    INSTRUMENT = "INSTRUMENT"
    STRATEGY = "STRATEGY"
    ACCOUNT = "ACCOUNT"
    PLATFORM = "PLATFORM"


class TradingState(Enum):
    """Whether a scope may trade, in the order of severity."""

    ACTIVE = "ACTIVE"
    REDUCE_ONLY = "REDUCE_ONLY"
    HALTED = "HALTED"

    @property
    def severity(self) -> int:
        """0 for ACTIVE, more for what forbids more."""
        return list(TradingState).index(self)


class LossAction(Enum):
    """What is done when a limit on losses is reached."""

    REDUCE_ONLY = "REDUCE_ONLY"
    HALT = "HALT"
    FLATTEN = "FLATTEN"


class Granularity(Enum):
    """Over what limits are counted; the names are those of the contract."""

    SCOPE = "SCOPE"
    EACH_ACCOUNT = "EACH_ACCOUNT"
    EACH_STRATEGY = "EACH_STRATEGY"
    EACH_INSTRUMENT = "EACH_INSTRUMENT"


@dataclass(frozen=True, slots=True)
class Scope:
    """A symbol, an instance, an account, or all of the platform."""

    kind: ScopeKind
    id: str = ""
    symbol: str = ""
    """Within it only this instrument; empty: all. Of parts of a scope, by which limits are counted."""

    def __str__(self) -> str:
        """Return for example "account main"."""
        return f"{self.kind.value.lower()} {self.id}".strip()


_LONGEST_PACE_S: Final = 86_400.0
PLATFORM: Final = Scope(ScopeKind.PLATFORM)


@dataclass(frozen=True, slots=True)
class InstrumentMatch:
    """Instruments by what they are; an empty field fits all, and `*` in a symbol any row of characters."""

    symbol: str = ""
    currency: str = ""
    asset_class: str = ""
    """As `quasar.model.asset_classes` writes it."""
    exchange: str = ""

    def fits(
        self, symbol: str, currency: str, asset_class: str = "", exchange: str = "", *, unknown: bool = False
    ) -> bool:
        """Tell whether an instrument is meant; `unknown`: what is asked for and not known of it counts as fitting."""
        pattern = ".*".join(map(re.escape, self.symbol.split("*")))
        fits_symbol = not self.symbol or re.fullmatch(pattern, symbol, re.DOTALL) is not None
        pairs = ((self.asset_class, asset_class), (self.exchange.upper(), exchange.upper()))
        fits_kind = all(not wanted or wanted == own or (unknown and not own) for wanted, own in pairs)
        return fits_symbol and fits_kind and self.currency in ("", currency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of a policy; None: no bound."""

    currency: str = ""
    """Of the amounts; empty: that of each order."""
    max_order_quantity: Decimal | None = None
    max_order_notional: Decimal | None = None
    max_position_quantity: Decimal | None = None
    max_position_notional: Decimal | None = None
    max_gross_exposure: Decimal | None = None
    max_net_exposure: Decimal | None = None
    max_leverage: Decimal | None = None
    max_orders_per_second: Decimal | None = None
    order_burst: int | None = None
    max_open_orders: int | None = None
    price_collar: Decimal | None = None
    """Distance of a limit or trigger price from the reference price in the direction that costs, as a ratio of it."""
    max_price_age_s: float | None = None
    max_daily_loss: Decimal | None = None
    day_zone: str = ""
    """The time zone whose midnight begins the trading day; empty: UTC."""
    max_drawdown: Decimal | None = None
    """As a ratio of the highest equity."""
    loss_action: LossAction = LossAction.REDUCE_ONLY
    """What is done when one of the two is reached."""
    allowed: tuple[InstrumentMatch, ...] = ()
    forbidden: tuple[InstrumentMatch, ...] = ()
    sessions: tuple[AllowedSession, ...] = ()
    """When orders may be placed; empty: always."""
    allow_short: bool | None = None
    allow_self_trade: bool | None = None
    forbidden_order_types: frozenset[str] = frozenset()

    @property
    def guards_losses(self) -> bool:
        """Whether losses are bounded."""
        return self.max_daily_loss is not None or self.max_drawdown is not None

    @property
    def amounts(self) -> bool:
        """Whether a bound is an amount of money."""
        return any(getattr(self, name) is not None for name in _AMOUNTS)

    @property
    def bounds_exposure(self) -> bool:
        """Whether what all positions of the scope are worth is bounded."""
        return not (self.max_gross_exposure is None and self.max_net_exposure is None and self.max_leverage is None)

    def without_amounts(self) -> Limits:
        """Return the bounds that are judged without an exchange rate."""
        unset: dict[str, Any] = dict.fromkeys((*_AMOUNTS, "max_leverage"))
        return replace(self, **unset)

    @property
    def bucket(self) -> tuple[int, float]:
        """Return how many orders may come within how many seconds.

        A bucket that holds the burst and fills at the rate: so many orders fit into the time that the burst takes.
        """
        rate = self.max_orders_per_second
        if not rate:
            return 0, _LONGEST_PACE_S
        burst = self.order_burst or math.ceil(rate)
        return burst, burst / float(rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits of one scope."""

    policy_id: str
    scope: Scope
    limits: Limits
    granularity: Granularity = Granularity.SCOPE

    def part(self, account_id: str, instance_id: str, symbol: str) -> Scope | None:
        """Return the part of the scope that the limits are counted over for an owner and an instrument within it.

        None: they do not hold for it, which is so for what belongs to no strategy where they hold for each of them.
        """
        scope = self.scope
        within = scope.id if scope.kind is ScopeKind.INSTRUMENT else ""
        if self.granularity is Granularity.EACH_ACCOUNT and scope.kind in (ScopeKind.PLATFORM, ScopeKind.INSTRUMENT):
            return Scope(ScopeKind.ACCOUNT, account_id, within)
        if self.granularity is Granularity.EACH_STRATEGY and scope.kind is not ScopeKind.STRATEGY:
            return Scope(ScopeKind.STRATEGY, instance_id, within) if instance_id else None
        if self.granularity is Granularity.EACH_INSTRUMENT and not within:
            return replace(scope, symbol=symbol)
        return scope


def currencies_of(policies: Iterable[Policy]) -> set[str]:
    """Return the currencies in which amounts are bounded."""
    return {each.limits.currency for each in policies if each.limits.amounts and each.limits.currency}


def day_zones_of(policies: Iterable[Policy]) -> set[str]:
    """Return the time zones in which trading days begin, beside UTC."""
    return {each.limits.day_zone for each in policies if each.limits.max_daily_loss is not None} - {""}


def pace_window_s(policies: Iterable[Policy]) -> float:
    """Return how far back orders must be known to judge their pace, in seconds, a day at most; 0: nothing bounds it."""
    windows = [each.limits.bucket[1] for each in policies if each.limits.max_orders_per_second is not None]
    return min(_LONGEST_PACE_S, max(windows, default=0.0))


_DECIMALS: Final = (
    "max_order_quantity",
    "max_order_notional",
    "max_position_quantity",
    "max_position_notional",
    "max_gross_exposure",
    "max_net_exposure",
    "max_leverage",
    "max_orders_per_second",
    "price_collar",
    "max_daily_loss",
    "max_drawdown",
)


_AMOUNTS: Final = (
    "max_order_notional",
    "max_position_notional",
    "max_gross_exposure",
    "max_net_exposure",
    "max_daily_loss",
)
"""Bounds that are amounts of money, in the policy's currency."""


def limits_of(document: Mapping[str, Any]) -> Limits:
    """Return the limits that the JSON form of the contract's `PolicyLimits` holds."""
    found: dict[str, Any] = {name: _decimal(document.get(name)) for name in _DECIMALS}
    age = document.get("max_price_age")
    return Limits(
        **found,
        currency=str(document.get("currency", "")),
        loss_action=LossAction(str(document.get("loss_action", "REDUCE_ONLY")).removeprefix("LOSS_ACTION_")),
        day_zone=str(document.get("day_time_zone", "")),
        order_burst=document.get("order_burst"),
        max_open_orders=document.get("max_open_orders"),
        max_price_age_s=None if age is None else float(str(age).removesuffix("s")),
        allowed=_matches(document.get("allowed_instruments", ())),
        forbidden=_matches(document.get("forbidden_instruments", ())),
        sessions=tuple(map(session_of, document.get("allowed_sessions", ()))),
        allow_short=document.get("allow_short"),
        allow_self_trade=document.get("allow_self_trade"),
        forbidden_order_types=frozenset(
            str(each).removeprefix("ORDER_TYPE_") for each in document.get("forbidden_order_types", ())
        ),
    )


def _decimal(found: Mapping[str, Any] | None) -> Decimal | None:
    return None if found is None else Decimal(str(found["value"]))


def _matches(found: Any) -> tuple[InstrumentMatch, ...]:
    return tuple(
        InstrumentMatch(
            symbol=each.get("symbol", ""),
            currency=each.get("currency", ""),
            asset_class=str(each.get("asset_class", "")).removeprefix("ASSET_CLASS_").lower(),
            exchange=each.get("exchange", ""),
        )
        for each in found
    )
