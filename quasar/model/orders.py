"""Orders and what comes of them, as exact and frozen values; names and rules are those of the contract."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field
from decimal import Decimal

from quasar import errors
from quasar.model.order_states import OrderStatus


class OrderSide(enum.Enum):
    """Which way an order trades."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is OrderSide.BUY else -1

    @property
    def opposite(self) -> OrderSide:
        """The other side."""
        return OrderSide.SELL if self is OrderSide.BUY else OrderSide.BUY


class OrderType(enum.Enum):
    """What makes an order trade, and at which price."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_LIMIT = "STOP_LIMIT"
    TRAILING_STOP = "TRAILING_STOP"
    MARKET_IF_TOUCHED = "MARKET_IF_TOUCHED"
    LIMIT_IF_TOUCHED = "LIMIT_IF_TOUCHED"


class TimeInForce(enum.Enum):
    """How long an order works."""

    GTC = "GTC"
    DAY = "DAY"
    IOC = "IOC"
    FOK = "FOK"
    GTD = "GTD"
    AT_OPEN = "AT_OPEN"
    AT_CLOSE = "AT_CLOSE"


class LiquiditySide(enum.Enum):
    """Which side of a trade provided the liquidity."""

    MAKER = "MAKER"
    TAKER = "TAKER"
    AUCTION = "AUCTION"


class Contingency(enum.Enum):
    """How orders that belong together act on each other."""

    OCO = "OCO"
    """As soon as one trades, the others are cancelled."""
    OUO = "OUO"
    """What one trades is taken from the others."""
    OTO = "OTO"
    """The children are held until the parent trades."""


LIMIT_TYPES = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED})
TRIGGER_TYPES = frozenset(
    {OrderType.STOP, OrderType.STOP_LIMIT, OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BracketLeg:
    """One exit of a bracket: exactly one of `price`, `offset` and `offset_ratio` is set."""

    price: Decimal | None = None
    """The price itself."""
    offset: Decimal | None = None
    """Distance from the entry's average price, above 0."""
    offset_ratio: Decimal | None = None
    """Distance from the entry's average price as a ratio of it, above 0 and below 1."""
    limit_price: Decimal | None = None
    """Stop-loss only: makes it a stop-limit order."""
    trailing: bool = False
    """Stop-loss only: follow the best price at the distance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """The exits that come to life with the fills of their entry; the two are linked by OUO and only reduce."""

    stop_loss: BracketLeg | None = None
    take_profit: BracketLeg | None = None
    exit_time_in_force: TimeInForce = TimeInForce.GTC


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSpec:
    """The terms of an order. Prices that its type does not use are absent."""

    symbol: str
    side: OrderSide
    type: OrderType
    quantity: Decimal | None = None
    """Units of the instrument, above 0. Either this or `notional`."""
    notional: Decimal | None = None
    """Quote currency, above 0; becomes a quantity by the reference price, rounded down."""
    limit_price: Decimal | None = None
    trigger_price: Decimal | None = None
    trailing_offset: Decimal | None = None
    trailing_ratio: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_time_ns: int | None = None
    """For GTD only: nanoseconds UTC."""
    reduce_only: bool = False
    post_only: bool = False
    bracket: Bracket | None = None
    group: str = ""
    group_contingency: Contingency | None = None
    tag: str = ""


def _flag(found: list[errors.FieldViolation], name: str, rule: str, was: object) -> None:
    found.append(errors.FieldViolation(field=name, description=f"{name} must be {rule}, was {was}"))


def _check_presence(spec: OrderSpec, found: list[errors.FieldViolation]) -> None:
    kind = spec.type
    for name, wanted in (
        ("limit_price", kind in LIMIT_TYPES),
        ("trigger_price", kind in TRIGGER_TYPES),
        ("expire_time_ns", spec.time_in_force is TimeInForce.GTD),
    ):
        value = getattr(spec, name)
        optional = name == "trigger_price" and kind is OrderType.TRAILING_STOP
        if wanted and value is None:
            _flag(found, name, f"set for {kind.value} {spec.time_in_force.value}", "absent")
        elif not wanted and not optional and value is not None:
            _flag(found, name, f"absent for {kind.value} {spec.time_in_force.value}", value)
    trails = (spec.trailing_offset is not None) + (spec.trailing_ratio is not None)
    if trails != (kind is OrderType.TRAILING_STOP):
        _flag(
            found, "trailing", f"set exactly once for TRAILING_STOP only, with type {kind.value}", f"set {trails} times"
        )


def check_spec(spec: OrderSpec) -> None:
    """Hold the terms of an order to the rules of the contract.

    Raises:
        InvalidArgument: With one violation per broken rule.
    """
    found: list[errors.FieldViolation] = []
    if (spec.quantity is None) == (spec.notional is None):
        _flag(found, "size", "either quantity or notional", f"quantity {spec.quantity}, notional {spec.notional}")
    for name in ("quantity", "notional", "limit_price", "trigger_price", "trailing_offset", "trailing_ratio"):
        value = getattr(spec, name)
        if value is not None and not value.is_finite():
            _flag(found, name, "a finite number", value)
        elif value is not None and value <= 0 and name not in {"limit_price", "trigger_price"}:
            _flag(found, name, "above 0", value)
    _check_presence(spec, found)
    if spec.post_only and spec.type is not OrderType.LIMIT:
        _flag(found, "post_only", "false for all types but LIMIT", "true")
    if bool(spec.group) != (spec.group_contingency is not None):
        _flag(found, "group_contingency", "set if and only if group is set", spec.group_contingency)
    if found:
        raise errors.InvalidArgument(found[0].description, violations=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChange:
    """New terms of an open order; what is absent stays."""

    quantity: Decimal | None = None
    """The new total, what is filled included."""
    limit_price: Decimal | None = None
    trigger_price: Decimal | None = None
    expire_time_ns: int | None = None


@dataclass(frozen=True, slots=True)
class OrderTarget:
    """Names an order by the intent that placed it."""

    intent_number: int
    leg: int = 0
    """0: the order itself; 1: its stop-loss; 2: its take-profit."""


@dataclass(frozen=True, slots=True)
class PlaceIntent:
    """Place one order, with its bracket if it has one."""

    order: OrderSpec


@dataclass(frozen=True, slots=True)
class CancelIntent:
    """Cancel one open order; of an entry with held exits, the exits too."""

    target: OrderTarget


@dataclass(frozen=True, slots=True)
class CancelAllIntent:
    """Cancel all open orders of the strategy."""

    symbol: str = ""
    """Only those of this symbol; empty: of every symbol."""


@dataclass(frozen=True, slots=True)
class ReplaceIntent:
    """Change the terms of one open order."""

    target: OrderTarget
    change: OrderChange


IntentAction = PlaceIntent | CancelIntent | CancelAllIntent | ReplaceIntent


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderIntent:
    """What a strategy asks for: a wish, which policy judges before it becomes an order."""

    intent_number: int
    """Counts the intents of one run from 1, without holes."""
    decide_time_ns: int
    """The event time of what the strategy was shown last."""
    action: IntentAction


def client_order_id(run_id: uuid.UUID, intent_number: int, leg: int = 0) -> str:
    """Return the id of an order in paper and live trading: the same run asked twice can never make two orders.

    It is UUID version 5 (RFC 9562) of the name "<intent_number>/<leg>" in the name space of the run's id.
    """
    return str(uuid.uuid5(run_id, f"{intent_number}/{leg}"))


def backtest_order_id(intent_number: int, leg: int = 0) -> str:
    """Return the id of an order in a back-test, unique within it: "17", or "17/1" for its stop-loss."""
    return f"{intent_number}/{leg}" if leg else str(intent_number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order as it stands at one moment."""

    client_order_id: str
    spec: OrderSpec
    status: OrderStatus
    intent_number: int = 0
    leg: int = 0
    status_text: str = ""
    """Why it is there, for people."""
    filled_quantity: Decimal = Decimal(0)
    average_fill_price: Decimal | None = None
    parent_client_order_id: str = ""
    broker_order_id: str = ""
    """Empty until the broker has answered."""

    @property
    def remaining_quantity(self) -> Decimal:
        """What is still worked: 0 in a final status."""
        if self.status.is_final or self.spec.quantity is None:
            return Decimal(0)
        return self.spec.quantity - self.filled_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution of an order."""

    fill_id: str
    client_order_id: str
    symbol: str
    side: OrderSide
    quantity: Decimal
    price: Decimal
    commission: Decimal
    """What was paid, in `currency`; negative for a rebate."""
    fill_time_ns: int
    currency: str = ""
    liquidity_side: LiquiditySide | None = None
    position_after: Decimal | None = None
    """The signed position of the same owner after this fill."""
    bar_index: int | None = None
    """In a back-test, the index of the bar in its series."""
    tag: str = ""
    broker_fill_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What is held of one instrument."""

    symbol: str
    quantity: Decimal
    """Signed: above 0 long, below 0 short."""
    average_price: Decimal | None = None
    mark_price: Decimal | None = None
    currency: str = ""
    multiplier: Decimal = Decimal(1)

    @property
    def market_value(self) -> Decimal | None:
        """Quantity times mark price times multiplier, signed; absent without a mark price."""
        return None if self.mark_price is None else self.quantity * self.mark_price * self.multiplier

    @property
    def unrealised_pnl(self) -> Decimal | None:
        """Profit of what is held against its average price; absent without a mark or while flat."""
        if self.mark_price is None or self.average_price is None:
            return None
        return self.quantity * (self.mark_price - self.average_price) * self.multiplier


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountBalance:
    """What an account holds of one currency."""

    currency: str
    total: Decimal
    locked: Decimal = Decimal(0)
    borrowed: Decimal = Decimal(0)

    @property
    def available(self) -> Decimal:
        """What can be used."""
        return self.total - self.locked


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """What a broker tells about an account."""

    account_id: str
    balances: tuple[AccountBalance, ...] = field(default=())
    equity: Decimal | None = None
    """Balances and positions at their marks, in the account's currency; absent when the broker does not say."""
