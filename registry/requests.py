"""Repeated requests: the same id has the effect and the answer of the first.

Requests can hold secrets, and a plain hash of one lets whoever steals the database try guesses at them. What is stored
is a keyed hash (HMAC-SHA256, RFC 2104) under a key derived from the system context, which is not in the database.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quasar.clock import Clock
from quasar.errors import AlreadyExists, FieldViolation
from quasar.secrets import SystemContext
from registry.store.statements import SQL

KEPT = dt.timedelta(days=7)
"""How long an answer is remembered, unless the system context is rotated: that forgets all."""
_PURPOSE = "registry-requests"


@dataclass(frozen=True, slots=True)
class RequestMark:
    """What tells one request from another."""

    method: str
    request_id: str
    """Chosen by the caller; empty: the request cannot be repeated."""
    fingerprint: bytes
    """SHA-256 of what is asked for; not to be stored as it is."""


class Requests:
    """The answers that were given."""

    def __init__(self, clock: Clock, context: SystemContext) -> None:
        """Forget answers by `clock`; derive the key of what is stored from `context`."""
        self._clock = clock
        self._key = context.derive(_PURPOSE)

    async def first_answer(self, connection: Any, mark: RequestMark) -> Mapping[str, Any] | None:
        """Return the answer that the request had, or None when it is new; in a transaction, wait for its twin.

        Raises:
            AlreadyExists: The id was used for another request.
        """
        if not mark.request_id:
            return None
        await connection.execute(SQL["request_lock"], mark.method, mark.request_id)
        row = await connection.fetchrow(SQL["request_find"], mark.method, mark.request_id)
        if row is None:
            return None
        if not hmac.compare_digest(row["fingerprint"], self._stored(mark)):
            description = f"must be new for another request, was used before: {mark.request_id!r}"
            raise AlreadyExists(f"request_id {description}.", violations=[FieldViolation("request_id", description)])
        answer: Mapping[str, Any] = row["answer"]
        return answer

    async def remember(self, connection: Any, mark: RequestMark, answer: Mapping[str, Any]) -> None:
        """Keep an answer in the transaction that gives effect to the request."""
        if not mark.request_id:
            return
        now = self._clock.now()
        await connection.execute(SQL["request_prune"], now - KEPT)
        await connection.execute(
            SQL["request_insert"], mark.method, mark.request_id, self._stored(mark), dict(answer), now
        )

    def _stored(self, mark: RequestMark) -> bytes:
        """Return what may be stored of a request, and tells it from another one of the same id."""
        return hmac.digest(self._key, mark.fingerprint, hashlib.sha256)
