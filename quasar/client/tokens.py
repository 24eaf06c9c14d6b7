"""Tokens of a running platform, through the Registry's `SystemService`, as the platform's own values."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from quasar.client.channel import Channel
from quasar.ops.roles import Role
from quasar.ops.tokens import Token
from quasar.rpc.wellknown import duration, instant
from quasar_proto.ops.v1 import system_pb2, system_service_pb2_grpc
from quasar_proto.ops.v1 import system_service_pb2 as pb


class TokenClient:
    """Makes, lists and revokes tokens; the caller's own token must be an administrator's."""

    def __init__(self, channel: Channel) -> None:
        """Call the Registry through `channel`."""
        self._stub: Any = channel.stub(system_service_pb2_grpc.SystemServiceStub)

    async def create(self, name: str, role: Role, *, lifetime: dt.timedelta | None = None) -> tuple[Token, str]:
        """Make a token; return it and its bearer, which cannot be had again.

        Args:
            name: The principal of calls made with it.
            role: What it may do.
            lifetime: How long it works; None: until it is revoked.

        Raises:
            AlreadyExists: A token in force has the name.
            QuasarError: Whatever else the Registry answers.
        """
        request = pb.CreateTokenRequest(
            name=name,
            role=int(role),  # type: ignore[arg-type]  # enum values travel as plain integers
            lifetime=duration(lifetime.total_seconds()) if lifetime is not None else None,
        )
        answer = await self._stub.CreateToken(request)
        return _token(answer.token), answer.bearer

    async def list(self, *, include_inactive: bool = False) -> list[Token]:
        """Return all tokens, newest first.

        Raises:
            QuasarError: Whatever the Registry answers.
        """
        found: list[Token] = []
        request = pb.ListTokensRequest(page_size=1000, include_inactive=include_inactive)
        while True:
            answer = await self._stub.ListTokens(request)
            found += [_token(each) for each in answer.tokens]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    async def revoke(self, token: str) -> Token:
        """Revoke a token by its id or name.

        Raises:
            NotFound: There is none.
            QuasarError: Whatever else the Registry answers.
        """
        answer = await self._stub.RevokeToken(pb.RevokeTokenRequest(token=token))
        return _token(answer.token)


def _token(message: system_pb2.Token) -> Token:
    def time(field: str) -> dt.datetime | None:
        return instant(getattr(message, field)) if message.HasField(field) else None  # type: ignore[arg-type]  # names are literals below

    return Token(
        token_id=uuid.UUID(message.token_id),
        name=message.name,
        role=Role(message.role),
        create_time=instant(message.create_time),
        created_by=message.created_by,
        expire_time=time("expire_time"),
        last_used_time=time("last_used_time"),
        revoke_time=time("revoke_time"),
    )
