"""The call that the running code belongs to: what logs, audit records and outgoing calls take from it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from quasar.rpc.caller import Caller

REQUEST_ID_KEY = "x-request-id"
"""Metadata key of the request id, in both directions."""
ON_BEHALF_KEY = "x-quasar-on-behalf-of"
"""Metadata key of the principal for whom a service calls another one; believed only of administrators."""
TRACE_KEY = "traceparent"
"""Metadata key of the W3C trace context."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """What is known of a call while it is served."""

    request_id: str
    """Given by the client in `x-request-id`, or made by the server."""
    method: str
    """`package.Service/Method`."""
    caller: Caller | None = None
    """Who calls; None for the methods that are open to everyone."""
    deadline: float | None = None
    """When the call must end, on the monotonic clock of the server; None: never."""
    on_behalf_of: str = ""
    """The principal that caused the call when a service makes it; else empty."""
    traceparent: str = ""
    """W3C trace context to hand on; empty when the call is not traced."""

    @property
    def principal(self) -> str:
        """Who is answerable for the call: the one behind the calling service, else the caller; empty when open."""
        return self.on_behalf_of or (self.caller.principal if self.caller else "")


_CALL: ContextVar[CallContext | None] = ContextVar("quasar_call", default=None)


def current_call() -> CallContext:
    """Return the call that the running code serves.

    Raises:
        LookupError: The code does not run inside a call.
    """
    call = _CALL.get()
    if call is None:
        raise LookupError("current_call() must be used while a call is served.")
    return call


def find_call() -> CallContext | None:
    """Return the call that the running code serves, or None outside of calls."""
    return _CALL.get()


def enter_call(call: CallContext) -> None:
    """Make `call` the current one for this task and the tasks it starts. Each call has a task of its own, so nothing resets it."""
    _CALL.set(call)
