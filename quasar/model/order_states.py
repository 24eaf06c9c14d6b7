"""The life of an order as a table: which event leads from which status to which.

The table is the whole truth about an order's life; orders move by `advance`. The inner loop of the
simulation sets the few statuses that it needs itself, and its tests hold it to this table.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from quasar import errors


class OrderStatus(enum.Enum):
    """Where an order is in its life; the names are those of the contract."""

    DENIED = "DENIED"
    """Policy said no before anything was sent."""
    PENDING_NEW = "PENDING_NEW"
    """Stored and passed by policy, not sent."""
    HELD = "HELD"
    """Kept back until the order that it protects is filled."""
    SUBMITTED = "SUBMITTED"
    """Sent; the broker has not answered."""
    ACCEPTED = "ACCEPTED"
    """The broker works it."""
    TRIGGERED = "TRIGGERED"
    """Its trigger was reached; it works as a market or limit order now."""
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    """A part is filled, the rest works."""
    FILLED = "FILLED"
    """All of it is filled."""
    PENDING_CANCEL = "PENDING_CANCEL"
    """A cancellation was sent; it may still fill."""
    CANCELLED = "CANCELLED"
    """Cancelled; what was filled before stays filled."""
    PENDING_REPLACE = "PENDING_REPLACE"
    """New terms were sent; it may still fill on the former ones."""
    REJECTED = "REJECTED"
    """The broker refused it."""
    EXPIRED = "EXPIRED"
    """Its time in force ended."""
    UNRESOLVED = "UNRESOLVED"
    """It is not known whether the broker has it."""

    @property
    def is_final(self) -> bool:
        """Whether nothing can change it any more."""
        return self in FINAL_STATUSES


class OrderEvent(enum.Enum):
    """What can happen to an order."""

    DENY = "DENY"
    """Policy denies it."""
    HOLD = "HOLD"
    """It waits for its parent."""
    RELEASE = "RELEASE"
    """Its parent was filled."""
    SUBMIT = "SUBMIT"
    """It is sent to the broker."""
    ACCEPT = "ACCEPT"
    """The broker confirms it, a replacement or a refused change: it works."""
    REJECT = "REJECT"
    """The broker refuses it."""
    TRIGGER = "TRIGGER"
    """Its trigger price is reached."""
    FILL_PART = "FILL_PART"
    """A part of what was left is filled."""
    FILL_REST = "FILL_REST"
    """All that was left is filled."""
    REQUEST_CANCEL = "REQUEST_CANCEL"
    """A cancellation is sent."""
    CANCEL = "CANCEL"
    """It is cancelled."""
    REQUEST_REPLACE = "REQUEST_REPLACE"
    """New terms are sent."""
    EXPIRE = "EXPIRE"
    """Its time is over."""
    LOSE = "LOSE"
    """The answer of the broker is lost: a timeout, a cut connection, a crash."""


_S = OrderStatus
_E = OrderEvent

FINAL_STATUSES = frozenset({_S.DENIED, _S.FILLED, _S.CANCELLED, _S.REJECTED, _S.EXPIRED})
OPEN_STATUSES = frozenset(_S) - FINAL_STATUSES

# What a broker may tell about any order that it has, or may have.
_AT_BROKER: dict[OrderEvent, OrderStatus] = {
    _E.TRIGGER: _S.TRIGGERED,
    _E.FILL_PART: _S.PARTIALLY_FILLED,
    _E.FILL_REST: _S.FILLED,
    _E.CANCEL: _S.CANCELLED,
    _E.EXPIRE: _S.EXPIRED,
    _E.LOSE: _S.UNRESOLVED,
}
_WORKING = {**_AT_BROKER, _E.REQUEST_CANCEL: _S.PENDING_CANCEL, _E.REQUEST_REPLACE: _S.PENDING_REPLACE}

_TABLE: dict[OrderStatus, dict[OrderEvent, OrderStatus]] = {
    _S.PENDING_NEW: {
        _E.DENY: _S.DENIED,
        _E.HOLD: _S.HELD,
        _E.SUBMIT: _S.SUBMITTED,
        _E.CANCEL: _S.CANCELLED,
        _E.REJECT: _S.REJECTED,
        _E.EXPIRE: _S.EXPIRED,
        _E.LOSE: _S.UNRESOLVED,
    },
    _S.HELD: {
        _E.RELEASE: _S.PENDING_NEW,
        _E.ACCEPT: _S.ACCEPTED,
        _E.CANCEL: _S.CANCELLED,
        _E.EXPIRE: _S.EXPIRED,
        _E.REJECT: _S.REJECTED,
        _E.LOSE: _S.UNRESOLVED,
    },
    _S.SUBMITTED: {
        **_AT_BROKER,
        _E.ACCEPT: _S.ACCEPTED,
        _E.REJECT: _S.REJECTED,
        _E.REQUEST_CANCEL: _S.PENDING_CANCEL,
    },
    _S.ACCEPTED: {**_WORKING, _E.ACCEPT: _S.ACCEPTED, _E.REJECT: _S.REJECTED},
    _S.TRIGGERED: {**_WORKING, _E.REJECT: _S.REJECTED},
    _S.PARTIALLY_FILLED: {**_WORKING, _E.ACCEPT: _S.PARTIALLY_FILLED},
    # A fill that crosses a cancellation leaves the cancellation under way.
    _S.PENDING_CANCEL: {
        **_AT_BROKER,
        _E.TRIGGER: _S.PENDING_CANCEL,
        _E.FILL_PART: _S.PENDING_CANCEL,
        _E.ACCEPT: _S.ACCEPTED,
    },
    _S.PENDING_REPLACE: {
        **_AT_BROKER,
        _E.TRIGGER: _S.PENDING_REPLACE,
        _E.FILL_PART: _S.PENDING_REPLACE,
        _E.ACCEPT: _S.ACCEPTED,
        _E.REQUEST_CANCEL: _S.PENDING_CANCEL,
        _E.REJECT: _S.REJECTED,
    },
    # Only what the broker says resolves it; a broker that does not know the order leads to REJECTED.
    _S.UNRESOLVED: {
        **_AT_BROKER,
        _E.ACCEPT: _S.ACCEPTED,
        _E.REJECT: _S.REJECTED,
    },
    **{status: {} for status in FINAL_STATUSES},
}

TRANSITIONS: Mapping[OrderStatus, Mapping[OrderEvent, OrderStatus]] = MappingProxyType(
    {status: MappingProxyType(events) for status, events in _TABLE.items()}
)
"""Every transition there is, by status and event."""


def advance(status: OrderStatus, event: OrderEvent) -> OrderStatus:
    """Return the status after `event`.

    Raises:
        FailedPrecondition: The event cannot happen to an order in that status.
    """
    following = TRANSITIONS[status].get(event)
    if following is None:
        raise errors.FailedPrecondition(f"order event must be possible in status {status.value}, was {event.value}")
    return following
