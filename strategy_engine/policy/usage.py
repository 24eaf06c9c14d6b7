"""How much of each limit is used: the numbers by which the next order would be judged. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from strategy_engine.policy.limits import PLATFORM, Granularity, Limits, Policy, Scope, ScopeKind
from strategy_engine.policy.standing import ZERO, Holding, Standing

_REACHED = frozenset({"MAX_DAILY_LOSS", "MAX_DRAWDOWN"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One limit and what counts against it now."""

    policy_id: str
    reason: str
    """A name of the contract's `DenialReason`, without its prefix."""
    scope: Scope
    """What it is counted over: the policy's scope, or one instrument or account of it."""
    limit: Decimal
    value: Decimal
    unit: str

    @property
    def ratio(self) -> float | None:
        """Value over limit; None where the limit is 0."""
        return float(self.value / self.limit) if self.limit else None

    @property
    def broken(self) -> bool:
        """Orders are denied by it already: it is passed, or, of losses, reached."""
        return self.value > self.limit or (self.reason in _REACHED and self.value >= self.limit)


def usages(policies: Iterable[Policy], standing: Standing, currencies: dict[str, str]) -> list[Usage]:
    """Return how much of the limits is used, most used first; a limit of 0 with something counted comes first of all.

    Limits on single orders (their size, price and age) are not among them: nothing counts against them beforehand.

    Args:
        policies: Those in force.
        standing: How things stand.
        currencies: The currency of each account.
    """
    found = [
        usage
        for policy in policies
        for part in standing.parts(policy)
        for usage in _Counter(policy, part, standing, currencies).all()
    ]
    return sorted(found, key=lambda each: (-_rank(each), each.policy_id, each.reason, each.scope.id))


def _rank(usage: Usage) -> float:
    if usage.ratio is not None:
        return usage.ratio
    return float("inf") if usage.value else 0.0


class _Counter:
    """Counts for one policy over one part of its scope."""

    def __init__(self, policy: Policy, part: Scope, standing: Standing, currencies: dict[str, str]) -> None:
        self._policy = policy
        self._part = part
        self._shown = Scope(part.kind, part.id)
        if policy.granularity is Granularity.EACH_INSTRUMENT and part.symbol:
            self._shown = Scope(ScopeKind.INSTRUMENT, part.symbol)
        self._limits: Limits = policy.limits
        self._standing = standing
        self._currencies = currencies

    def all(self) -> Iterator[Usage]:
        yield from self._positions()
        yield from self._exposure()
        yield from self._pace()
        yield from self._losses()

    def _usage(self, reason: str, limit: Decimal, value: Decimal, unit: str, scope: Scope | None = None) -> Usage:
        return Usage(
            policy_id=self._policy.policy_id,
            reason=reason,
            scope=scope or self._shown,
            limit=limit,
            value=value,
            unit=unit,
        )

    def _unit(self) -> str | None:
        """Return the currency that amounts are counted in; None: there is no rate to it from all that counts."""
        unit = self._limits.currency or self._currency()
        rates = [self._standing.rate(self._standing.currency(each), unit) for each in self._accounts()]
        return None if None in rates else unit

    def _currency(self) -> str:
        known = sorted({self._currencies.get(account_id, "") for account_id in self._accounts()} - {""})
        return known[0] if len(known) == 1 else ""

    def _accounts(self) -> list[str]:
        return self._standing.accounts_of(self._part)

    def _holdings(self) -> list[Holding]:
        inside = self._standing.values(self._part)
        return [each for each in self._standing.holdings if (each.account_id, each.instance_id, each.symbol) in inside]

    def _positions(self) -> Iterator[Usage]:
        """Open orders count as if they were filled, the side that would make the position greater."""
        limits, scope, unit = self._limits, self._part, self._unit()
        if limits.max_position_quantity is None and limits.max_position_notional is None:
            return
        held = self._holdings()
        for symbol in sorted({each.symbol for each in held}):
            own = [each for each in held if each.symbol == symbol]
            quantity = sum((each.quantity for each in own), ZERO)
            after = max(abs(quantity + self._standing.waiting(scope, symbol, sign)) for sign in (1, -1))
            about = Scope(ScopeKind.INSTRUMENT, symbol)
            if limits.max_position_quantity is not None:
                yield self._usage("MAX_POSITION_QUANTITY", limits.max_position_quantity, after, "units", about)
            if limits.max_position_notional is not None and unit is not None:
                rate = self._standing.rate(self._standing.currency(own[0].account_id), unit) or ZERO
                worth = after * own[0].price * own[0].multiplier * rate
                yield self._usage("MAX_POSITION_NOTIONAL", limits.max_position_notional, worth, unit, about)

    def _exposure(self) -> Iterator[Usage]:
        limits, scope, unit = self._limits, self._part, self._unit()
        if unit is None or not limits.bounds_exposure:
            return
        rows = self._standing.exposed(scope, unit).values()
        gross = sum((each.worst for each in rows), ZERO)
        net = max(abs(sum((each.with_side(sign) for each in rows), ZERO)) for sign in (1, -1))
        if limits.max_gross_exposure is not None:
            yield self._usage("MAX_GROSS_EXPOSURE", limits.max_gross_exposure, gross, unit)
        if limits.max_net_exposure is not None:
            yield self._usage("MAX_NET_EXPOSURE", limits.max_net_exposure, net, unit)
        if limits.max_leverage is not None:
            equity = sum(
                (self._standing.worth(each, self._standing.funds[each].equity, unit) for each in self._accounts()), ZERO
            )
            if equity > 0:
                yield self._usage("MAX_LEVERAGE", limits.max_leverage, gross / equity, "ratio")

    def _pace(self) -> Iterator[Usage]:
        limits, scope = self._limits, self._part
        if limits.max_open_orders is not None:
            count = Decimal(self._standing.open_count(scope))
            yield self._usage("MAX_OPEN_ORDERS", Decimal(limits.max_open_orders), count, "orders")
        if limits.max_orders_per_second is not None:
            burst, window_s = limits.bucket
            recent = sum(age < window_s for age in self._standing.recent_orders.get(scope, ()))
            yield self._usage("MAX_ORDER_RATE", Decimal(burst), Decimal(recent), "orders")

    def _losses(self) -> Iterator[Usage]:
        limits = self._limits
        for account_id in self._accounts():
            funds = self._standing.funds_of(self._part, account_id)
            assert funds is not None  # those of `accounts_of` are there
            each_strategy = self._policy.granularity is Granularity.EACH_STRATEGY
            about = self._shown if each_strategy else Scope(ScopeKind.ACCOUNT, account_id)
            unit = limits.currency or self._currencies.get(account_id, "")
            rate = self._standing.rate(self._standing.currency(account_id), unit)
            if limits.max_daily_loss is not None and rate is not None:
                yield self._usage(
                    "MAX_DAILY_LOSS", limits.max_daily_loss, funds.lost_today(limits.day_zone) * rate, unit, about
                )
            if limits.max_drawdown is not None:
                yield self._usage("MAX_DRAWDOWN", limits.max_drawdown, funds.drawdown, "ratio", about)


def concerns(policy: Policy, scope: Scope, account_of: dict[str, str]) -> bool:
    """Tell whether a policy would apply to orders of a scope.

    Args:
        policy: A policy.
        scope: A symbol, an instance, an account or the platform.
        account_of: The account of each instance.
    """
    if scope == PLATFORM or policy.scope in (PLATFORM, scope):
        return True
    if policy.scope.kind is ScopeKind.INSTRUMENT or scope.kind is ScopeKind.INSTRUMENT:
        return policy.scope.kind is not scope.kind
    if scope.kind is ScopeKind.STRATEGY:
        return policy.scope == Scope(ScopeKind.ACCOUNT, account_of.get(scope.id, ""))
    return policy.scope.kind is ScopeKind.STRATEGY and account_of.get(policy.scope.id) == scope.id
