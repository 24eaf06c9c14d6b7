"""The call that the running code belongs to: what logs, audit records and outgoing calls take from it."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any, NamedTuple

from quasar.rpc.caller import Caller

REQUEST_ID_KEY = "x-request-id"
"""Metadata key of the request id, in both directions."""
ON_BEHALF_KEY = "x-quasar-on-behalf-of"
"""Metadata key of the principal for whom a service calls another one; believed only of administrators."""
TRACE_KEY = "traceparent"
"""Metadata key of the W3C trace context."""


class CallContext(NamedTuple):
    """What is known of a call while it is served. A tuple, because one is made for each call."""

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


_ARRIVED: ContextVar[tuple[Any, Any]] = ContextVar("quasar_arrived", default=(None, None))


def arrive(metadata: Any) -> None:
    """Keep the metadata that the library has read to find the method: to read it again takes longer than all checks."""
    _ARRIVED.set((asyncio.current_task(), metadata))


def arrived_metadata() -> Any:
    """Return what `arrive` was given for this call, or None.

    The token is in it, so it must never be that of another call: it counts only for the task that kept it.
    """
    task, metadata = _ARRIVED.get()
    return metadata if task is asyncio.current_task() else None


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


def request_id_of_call() -> str:
    """Return the request id that belongs into the log; empty outside of calls."""
    call = _CALL.get()
    return call.request_id if call is not None else ""


def enter_call(call: CallContext) -> None:
    """Make `call` the current one for this task and the tasks it starts.

    Each call has a task of its own, so nothing resets it.
    """
    _CALL.set(call)
