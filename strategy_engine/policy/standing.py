"""How things stand when an order is judged: what is held, what is open, what it is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from quasar.model.orders import OrderSide, OrderSpec, OrderType
from strategy_engine.policy.instrument_rules import InstrumentRules
from strategy_engine.policy.limits import Granularity, Policy, Scope, ScopeKind, TradingState
from strategy_engine.policy.sessions import Hours

ZERO, ONE = Decimal(0), Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one owner holds of one symbol."""

    account_id: str
    instance_id: str
    symbol: str
    quantity: Decimal
    """Signed."""
    price: Decimal
    """What it is valued at."""
    multiplier: Decimal = Decimal(1)

    @property
    def value(self) -> Decimal:
        """Market value, signed."""
        return self.quantity * self.price * self.multiplier


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """What is left of an order that works."""

    client_order_id: str
    account_id: str
    instance_id: str
    symbol: str
    remaining: Decimal
    """Signed: above 0 to be bought."""
    reduce_only: bool = False
    price: Decimal = ZERO
    """What its rest is valued at: its limit, else its trigger, else the newest price when it was placed."""
    multiplier: Decimal = ONE
    """Value of one unit per point of price."""
    resting_price: Decimal | None = None
    """The price at which it stands in the book; None: it does not (a market order, a stop that waits)."""


PositionKey = tuple[str, str, str]
"""Account, instance and symbol."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """The value of one position, and what the open orders of each side would make of it; signed."""

    value: Decimal = ZERO
    bought: Decimal = ZERO
    """What orders to buy would add, at least 0."""
    sold: Decimal = ZERO
    """What orders to sell would add, at most 0."""

    def with_side(self, sign: int) -> Decimal:
        """Return the value once the orders of one side are filled."""
        return self.value + (self.bought if sign > 0 else self.sold)

    @property
    def worst(self) -> Decimal:
        """The greatest absolute value that the orders of one side can lead to."""
        return max(abs(self.value), abs(self.with_side(1)), abs(self.with_side(-1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """The money of one account."""

    equity: Decimal
    start_of_day: Decimal
    """Equity at the begin of the day in UTC."""
    peak: Decimal
    """Highest equity so far."""
    leverage: Decimal = Decimal(1)
    """How much of its equity may be held."""
    trading_enabled: bool = True
    allow_short: bool = True
    currency: str = ""
    """Of its cash; empty: not told."""
    limited: bool = False
    """Of an instance: it was given a capital, and may use no more than that with its own profits and losses."""

    day_starts: Mapping[str, Decimal] = field(default_factory=dict)
    """The same in other time zones, by their names."""

    def lost_today(self, zone: str = "") -> Decimal:
        """Return what was lost since the day began in a time zone, at least 0; empty: UTC."""
        return max(ZERO, self.day_starts.get(zone, self.start_of_day) - self.equity)

    @property
    def drawdown(self) -> Decimal:
        """Fall from the highest equity as a ratio of it, at least 0."""
        return max(ZERO, 1 - self.equity / self.peak) if self.peak > 0 else ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An order that somebody wants to place."""

    account_id: str
    instance_id: str
    spec: OrderSpec
    known: bool
    """The instrument is known."""
    currency: str
    """Of its prices."""
    price: Decimal | None
    """The reference price: the newest one that is known."""
    price_age_s: float = 0.0
    multiplier: Decimal = ONE
    rules: InstrumentRules = field(default_factory=InstrumentRules)
    """What its broker holds orders of the instrument to."""
    asset_class: str = ""
    exchange: str = ""
    hours: Hours | None = None
    """What the time is; None: not known, then it is in no session."""
    commission: Decimal = ZERO
    """Estimated."""
    closing: bool = False
    """The engine closes a position with it: that passes where trading is halted."""
    running: bool = True
    """False: a wish of a strategy that does not trade now; it is denied and kept."""
    filled: Decimal = ZERO
    """Of a change of an order: what is filled already, beyond the quantity of `spec`."""

    @property
    def quantity(self) -> Decimal | None:
        """Units; a notional becomes as many as fit, 0 where it is too small; None where it has no price."""
        if self.spec.quantity is not None:
            return self.spec.quantity
        if self.spec.notional is None or not self.price:
            return None
        return self.rules.floor(self.spec.notional / (self.price * self.multiplier))

    @property
    def work_price(self) -> Decimal | None:
        """What the order is valued at: its limit, else the reference price."""
        return self.spec.limit_price if self.spec.limit_price is not None else self.price


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Everything that a judgement looks at beside the order."""

    holdings: Sequence[Holding] = ()
    open_orders: Sequence[OpenOrder] = ()
    funds: Mapping[str, Funds] = field(default_factory=dict)
    """By account."""
    strategy_funds: Mapping[str, Funds] = field(default_factory=dict)
    """By instance: its own worth, of those that were asked for."""
    states: Mapping[Scope, TradingState] = field(default_factory=dict)
    recent_orders: Mapping[Scope, Sequence[float]] = field(default_factory=dict)
    """Seconds since each order of late, by scope."""
    rates: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)
    """What one unit of the first currency is worth in the second."""

    def rate(self, source: str, target: str) -> Decimal | None:
        """Return what one unit of a currency is worth in another; None: not known. An untold one counts as the same."""
        return ONE if source == target or not (source and target) else self.rates.get((source, target))

    def currency(self, account_id: str) -> str:
        """Return the currency of an account; empty: not told."""
        return self.funds[account_id].currency if account_id in self.funds else ""

    def currencies(self, scope: Scope, account_id: str) -> set[str]:
        """Return the currencies of an account, and of those that hold or want something within a scope."""
        keep = _within(scope)
        rows: Iterable[Holding | OpenOrder] = (*self.holdings, *self.open_orders)
        accounts = {one.account_id for one in rows if keep(one.account_id, one.instance_id, one.symbol)}
        if scope.kind is ScopeKind.PLATFORM:
            accounts |= self.funds.keys()
        return {self.currency(each) for each in {*accounts, account_id}}

    def worth(self, account_id: str, amount: Decimal, target: str) -> Decimal:
        """Return an amount of an account's currency in one that there is a rate to; empty: as it is."""
        return amount * (self.rate(self.currency(account_id), target) or ZERO)

    def position(self, scope: Scope, proposal: Proposal) -> Decimal:
        """Return what a scope holds of the symbol, signed."""
        keep = _within(scope)
        symbol = proposal.spec.symbol
        held = (one for one in self.holdings if one.symbol == symbol and keep(one.account_id, one.instance_id, symbol))
        return sum((one.quantity for one in held), ZERO)

    def waiting(self, scope: Scope, symbol: str, sign: int) -> Decimal:
        """Return what open orders of one side would add to the position, signed."""
        keep = _within(scope)
        orders = (
            one.remaining
            for one in self.open_orders
            if one.symbol == symbol and not one.reduce_only and keep(one.account_id, one.instance_id, symbol)
        )
        return sum((each for each in orders if (each > 0) == (sign > 0)), ZERO)

    def open_count(self, scope: Scope) -> int:
        """Return how many orders of a scope work."""
        keep = _within(scope)
        return sum(keep(one.account_id, one.instance_id, one.symbol) for one in self.open_orders)

    def met(self, proposal: Proposal) -> OpenOrder | None:
        """Return an open order of the same account that an order would trade against, or None.

        A limit order meets what its limit reaches; a market order what stands at the reference price or better. Stops
        and orders that only ever rest (post-only) meet nothing when they are placed.
        """
        spec = proposal.spec
        if spec.post_only or spec.type not in (OrderType.MARKET, OrderType.LIMIT) or proposal.work_price is None:
            return None
        sign, price = (1 if spec.side is OrderSide.BUY else -1), proposal.work_price
        for one in self.open_orders:
            same = one.account_id == proposal.account_id and one.symbol == spec.symbol
            resting = one.resting_price if same and one.remaining * sign < 0 else None
            if resting is not None and (price - resting) * sign >= 0:
                return one
        return None

    def values(self, scope: Scope, currency: str = "") -> dict[PositionKey, Decimal]:
        """Return the market value of each position of a scope, in a currency with rates to it; empty: its own."""
        keep = _within(scope)
        return {
            (one.account_id, one.instance_id, one.symbol): self.worth(one.account_id, one.value, currency)
            for one in self.holdings
            if keep(one.account_id, one.instance_id, one.symbol)
        }

    def exposed(self, scope: Scope, currency: str = "") -> dict[PositionKey, Exposed]:
        """Return the value of each position of a scope with the open orders that may enlarge it, as `values` does."""
        keep = _within(scope)
        found = {key: Exposed(value) for key, value in self.values(scope, currency).items()}
        for one in self.open_orders:
            if one.reduce_only or not keep(one.account_id, one.instance_id, one.symbol):
                continue
            key = (one.account_id, one.instance_id, one.symbol)
            before = found.get(key, Exposed())
            worth = self.worth(one.account_id, one.remaining * one.price * one.multiplier, currency)
            if one.remaining > 0:
                found[key] = replace(before, bought=before.bought + worth)
            else:
                found[key] = replace(before, sold=before.sold + worth)
        return found

    def equity(self, scope: Scope, account_id: str, currency: str = "") -> Decimal:
        """Return the equity that a scope's leverage is measured by, as `values` does."""
        if scope.kind is ScopeKind.PLATFORM:
            return sum((self.worth(name, each.equity, currency) for name, each in self.funds.items()), ZERO)
        found = self.funds_of(scope, account_id)
        return self.worth(account_id, found.equity, currency) if found else ZERO

    def funds_of(self, scope: Scope, account_id: str) -> Funds | None:
        """Return the money by which a scope's losses are measured: a strategy's own, else that of the account."""
        own = self.strategy_funds.get(scope.id) if scope.kind is ScopeKind.STRATEGY else None
        return own or self.funds.get(account_id)

    def parts(self, policy: Policy) -> list[Scope]:
        """Return the parts of a policy's scope that something is held, wanted or owned in."""
        if policy.granularity is Granularity.SCOPE:
            return [policy.scope]
        keep = _within(policy.scope)
        rows: Iterable[Holding | OpenOrder] = (*self.holdings, *self.open_orders)
        owners = {(one.account_id, one.instance_id, one.symbol) for one in rows}
        found = {policy.part(*owner) for owner in owners if keep(*owner)}
        if policy.granularity is Granularity.EACH_ACCOUNT:
            found |= {policy.part(account_id, "", "") for account_id in self.accounts_of(policy.scope)}
        return sorted((part for part in found if part is not None), key=lambda part: (part.id, part.symbol))

    def accounts_of(self, scope: Scope) -> list[str]:
        """Return the accounts whose losses count against a scope."""
        if scope.kind is ScopeKind.ACCOUNT:
            return [scope.id] if scope.id in self.funds else []
        if scope.kind is ScopeKind.PLATFORM:
            return sorted(self.funds)
        return sorted({account_id for account_id, _, _ in self.values(scope)} & self.funds.keys())


def _within(scope: Scope) -> Callable[[str, str, str], bool]:
    tests: dict[ScopeKind, Callable[[str, str, str], bool]] = {
        ScopeKind.PLATFORM: lambda _account, _instance, _symbol: True,
        ScopeKind.ACCOUNT: lambda account, _instance, _symbol: account == scope.id,
        ScopeKind.STRATEGY: lambda _account, instance, _symbol: instance == scope.id,
        ScopeKind.INSTRUMENT: lambda _account, _instance, symbol: symbol == scope.id,
    }
    test = tests[scope.kind]
    if not scope.symbol:
        return test
    return lambda account, instance, symbol: symbol == scope.symbol and test(account, instance, symbol)


def scopes_of(proposal: Proposal) -> list[Scope]:
    """Return the scopes that an order falls under, the narrowest first."""
    found = [Scope(ScopeKind.INSTRUMENT, proposal.spec.symbol)]
    if proposal.instance_id:
        found.append(Scope(ScopeKind.STRATEGY, proposal.instance_id))
    return [*found, Scope(ScopeKind.ACCOUNT, proposal.account_id), Scope(ScopeKind.PLATFORM)]
