"""Who is calling, as the record of a change and as a message."""

from __future__ import annotations

from quasar.ops.actors import Actor
from quasar.ops.roles import Role
from quasar.rpc.context import current_call
from quasar_proto.common.v1 import values_pb2


def calling_actor() -> Actor:
    """Return who makes the present call.

    Raises:
        LookupError: The code does not run inside a call.
    """
    call = current_call()
    role = Role(call.caller.role) if call.caller else Role.VIEWER
    return Actor(call.principal, role, call.request_id)


def actor_message(actor: Actor | None) -> values_pb2.Actor | None:
    """Return an actor as a message; None stays absent."""
    if actor is None:
        return None
    return values_pb2.Actor(principal=actor.principal, role=int(actor.role), request_id=actor.request_id)  # type: ignore[arg-type]  # enum values travel as plain integers
