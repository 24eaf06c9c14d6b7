"""Finds the caller of a bearer token, with a short memory so that the database is not asked at each call."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from quasar.clock import Clock
from quasar.errors import QuasarError, Unauthenticated
from quasar.ops.bearers import ServiceBearers
from quasar.ops.tokens import Token, Tokens
from quasar.rpc.caller import ADMIN, Caller

REMEMBERED_S = 5.0
"""A revoked token is refused after this time at the latest, also where the database's notification was lost."""
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the database said of a bearer."""

    until: float
    token: Token | None
    refusal: str = ""


class TokenAuthenticator:
    """Knows the bearers of tokens (by asking the database) and of services (by computing).

    Implements `quasar.rpc.caller.Authenticator`.
    """

    def __init__(self, tokens: Tokens, services: ServiceBearers, clock: Clock) -> None:
        """Ask `tokens` for what `services` does not know."""
        self._tokens = tokens
        self._services = services
        self._clock = clock
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._asking: dict[bytes, asyncio.Future[_Answer | None]] = {}

    async def authenticate(self, bearer: str) -> Caller:
        """Return the caller.

        Raises:
            Unauthenticated: The bearer is unknown, revoked or expired.
            DatabaseUnavailable: The bearer is not remembered and the database does not answer.
        """
        if (service := self._services.service(bearer)) is not None:
            name, expiry = service
            return Caller(f"service:{name}", ADMIN, dt.datetime.fromtimestamp(expiry, dt.UTC))
        answer = await self._answer(bearer)
        token = answer.token
        if token is None or not token.in_force(self._clock.now()):
            raise Unauthenticated(answer.refusal or None)
        return Caller(token.name, int(token.role), token.expire_time)

    def forget(self, _payload: str = "") -> None:
        """Forget all answers: a token was revoked, or hints may have been lost. Fits as a callback of a `Listener`."""
        self._answers.clear()
        self._asking.clear()

    async def _answer(self, bearer: str) -> _Answer:
        """Return what the database says; calls that come with the same bearer at once share one question."""
        key = hashlib.sha256(bearer.encode()).digest()  # no bearer stays in memory
        while True:
            remembered = self._answers.get(key)
            if remembered is not None and remembered.until > self._clock.monotonic():
                return remembered
            asked = self._asking.get(key)
            if asked is None:
                return await self._ask(key, bearer)
            if (answer := await asyncio.shield(asked)) is not None:
                return answer

    async def _ask(self, key: bytes, bearer: str) -> _Answer:
        asked: asyncio.Future[_Answer | None] = asyncio.get_running_loop().create_future()
        self._asking[key] = asked
        answer, failure = None, None
        try:
            answer = await self._verified(bearer)
        except QuasarError as error:
            failure = error
            raise
        finally:
            # An answer that was on its way while everything was forgotten may be from before the revocation.
            if self._asking.get(key) is asked:
                del self._asking[key]
                self._remember(key, answer)
            if failure is None:
                asked.set_result(answer)  # None: this call was cancelled, and one of those who wait asks again
            else:
                asked.set_exception(failure)
                asked.exception()  # marks it as seen, for nobody may be waiting
        return answer

    async def _verified(self, bearer: str) -> _Answer:
        until = self._clock.monotonic() + REMEMBERED_S  # from before the question: the answer may be that old
        try:
            return _Answer(until, await self._tokens.verify(bearer))
        except Unauthenticated as error:
            return _Answer(until, None, error.message)

    def _remember(self, key: bytes, answer: _Answer | None) -> None:
        if answer is None:
            return
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)
