"""Access tokens: made, listed, revoked and checked. A token is shown once; what is kept is its SHA-256."""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from quasar import logs, paging
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.database.statements import load_statements
from quasar.errors import (
    AlreadyExists,
    DatabaseUnavailable,
    DeadlineExceeded,
    FieldViolation,
    InvalidArgument,
    NotFound,
    Resource,
    Unauthenticated,
)
from quasar.ops.actors import Actor
from quasar.ops.bearers import UserBearer, new_user_bearer
from quasar.ops.events import Events
from quasar.ops.roles import Role

CHANNEL = "quasar_tokens"
"""NOTIFY channel: the payload is the id of a token that was revoked."""

_SQL = load_statements("quasar.ops.store")
_LIST = ("ListTokens",)
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret."""

    token_id: uuid.UUID
    name: str
    """Given at creation; the principal of calls made with it."""
    role: Role
    create_time: dt.datetime
    created_by: str
    expire_time: dt.datetime | None = None
    last_used_time: dt.datetime | None = None
    revoke_time: dt.datetime | None = None

    def in_force(self, now: dt.datetime) -> bool:
        """Whether calls with it are let in."""
        return self.revoke_time is None and (self.expire_time is None or self.expire_time > now)


class Tokens:
    """The tokens of the platform."""

    def __init__(
        self,
        database: Database,
        events: Events,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """Keep tokens in `database` and tell `events` of changes; `random` makes secrets."""
        self._database = database
        self._events = events
        self._clock = clock
        self._random = random

    async def create(
        self, name: str, role: Role, *, actor: Actor, lifetime: dt.timedelta | None = None
    ) -> tuple[Token, str]:
        """Make a token.

        Args:
            name: The principal of calls made with it.
            role: What it may do.
            actor: Who makes it.
            lifetime: How long it works; None: until it is revoked.

        Returns:
            The token, and the bearer, which cannot be had again.

        Raises:
            AlreadyExists: A token in force has the name.
            InvalidArgument: The lifetime ends after the year 9999.
        """
        bearer = new_user_bearer(self._random)
        parts = UserBearer.parse(bearer)
        assert parts is not None
        expiry = None if lifetime is None else self._expiry(lifetime)
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["end_expired_namesake"], name)
            try:
                row = await connection.fetchrow(
                    _SQL["insert_token"], parts.token_id, name, parts.hash, role.word, actor.principal, expiry
                )
            except asyncpg.UniqueViolationError as error:
                raise AlreadyExists(
                    f"A token named {name!r} is in force; revoke it first, or choose another name.",
                    resource=Resource("token", name),
                ) from error
            await self._record(connection, "TokenCreated", f"The token {name} was created.", _token(row), actor)
        return _token(row), bearer

    def _expiry(self, lifetime: dt.timedelta) -> dt.datetime:
        try:
            return self._clock.now() + lifetime
        except OverflowError as error:
            description = f"must end before the year 10000, was {lifetime.days} days; leave it out for no end"
            violation = FieldViolation("lifetime", description)
            raise InvalidArgument(f"lifetime {description}.", violations=[violation]) from error

    async def list(
        self, *, page_size: int = 0, page_token: str = "", include_inactive: bool = False
    ) -> tuple[list[Token], str]:
        """Return a page of tokens, newest first, and the token of the next page ("" on the last).

        Raises:
            InvalidCursor: The page token belongs to no page before.
        """
        size = paging.page_size(page_size)
        query = (*_LIST, str(include_inactive))
        key = paging.page_key(query, page_token)
        before = (dt.datetime.fromisoformat(str(key[0])), uuid.UUID(str(key[1]))) if key else (None, None)
        rows = await self._database.fetch(_SQL["tokens_newest_first"], include_inactive, *before, size + 1)
        tokens = [_token(row) for row in rows[:size]]
        if len(rows) <= size:
            return tokens, ""
        last = tokens[-1]
        return tokens, paging.page_token(query, (last.create_time.isoformat(), str(last.token_id)))

    async def revoke(self, token: str, *, actor: Actor) -> Token:
        """End a token for good, by its id or the name of the token in force; ending it again changes nothing.

        Raises:
            NotFound: No token has the id, and none in force has the name.
        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_SQL["revoke_token"], token, actor.principal)
            if row is not None:
                await connection.execute(_SQL["notify_tokens"], str(row["id"]))
                message = f"The token {row['name']} was revoked."
                await self._record(connection, "TokenRevoked", message, _token(row), actor)
            else:
                row = await connection.fetchrow(_SQL["revoked_token"], token)
        if row is None:
            raise NotFound(f"No token has the id or name {token!r}.", resource=Resource("token", token))
        return _token(row)

    async def verify(self, bearer: str) -> Token:
        """Return the token that a bearer stands for, and note that it was used.

        Raises:
            Unauthenticated: It has not the form of a bearer, is unknown, was revoked or has expired.
        """
        parts = UserBearer.parse(bearer)
        if parts is None:
            raise Unauthenticated
        row = await self._database.fetchrow(_SQL["token_by_id"], parts.token_id)
        if row is None or not parts.matches(row["hash"]):
            raise Unauthenticated
        token = _token(row)
        if not token.in_force(self._clock.now()):
            ended = "was revoked" if token.revoke_time is not None else "has expired"
            raise Unauthenticated(f"The token {token.name!r} {ended}; create another one with `quasar token create`.")
        if token.last_used_time is None or self._clock.now() - token.last_used_time >= dt.timedelta(minutes=1):
            await self._touch(token)
        return token

    async def _touch(self, token: Token) -> None:
        """Note that a token was used. A disk that is full keeps nobody out who may come in."""
        try:
            await self._database.execute(_SQL["touch_token"], token.token_id)
        except (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError) as error:
            _log.warning("use of a token not noted", name=token.name, problem=str(error))

    async def _record(self, connection: Any, kind: str, message: str, token: Token, actor: Actor) -> None:
        await self._events.record(
            connection,
            kind,
            message,
            subject_type="token",
            subject_name=token.name,
            data={"token_id": str(token.token_id), "role": token.role.word},
            actor=actor,
        )


def _token(row: Any) -> Token:
    return Token(
        token_id=row["id"],
        name=row["name"],
        role=Role.of(row["role"]),
        create_time=row["created_at"],
        created_by=row["created_by"],
        expire_time=row["expires_at"],
        last_used_time=row["last_used_at"],
        revoke_time=row["revoked_at"],
    )
