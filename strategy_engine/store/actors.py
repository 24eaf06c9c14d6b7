"""Who did something, as it is stored beside a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quasar.ops.actors import Actor


def actor_document(actor: Actor | None) -> dict[str, Any] | None:
    """Return an actor as it is stored."""
    if actor is None:
        return None
    return {"principal": actor.principal, "role": actor.role.word, "request_id": actor.request_id}


def actor_of(document: Mapping[str, Any] | None) -> Actor | None:
    """Return the actor that is stored."""
    if not document:
        return None
    return Actor.of(document.get("principal"), document.get("role"), document.get("request_id"))
