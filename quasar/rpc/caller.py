"""Who is calling: a principal with a role, found from the bearer token of a call."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final, Protocol

from quasar import errors

VIEWER: Final = 1
"""`quasar.common.v1.Role.ROLE_VIEWER`: may read."""
OPERATOR: Final = 2
"""`quasar.common.v1.Role.ROLE_OPERATOR`: may also run things."""
ADMIN: Final = 3
"""`quasar.common.v1.Role.ROLE_ADMIN`: may also change code, secrets, policies and tokens."""

ROLE_NAMES: Final = {VIEWER: "viewer", OPERATOR: "operator", ADMIN: "admin"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token a call carries and what it may do."""

    principal: str
    """Name of the token."""
    role: int
    """A value of `quasar.common.v1.Role`."""
    expire_time: dt.datetime | None = None
    """When the token stops working; None: never."""


class Authenticator(Protocol):
    """Finds the caller that a bearer token stands for."""

    async def authenticate(self, bearer: str) -> Caller:
        """Return the caller.

        Args:
            bearer: The token, without the word `Bearer`.

        Raises:
            quasar.errors.Unauthenticated: The token is unknown, revoked or expired.
        """
        ...


def bearer_of(header: str | bytes | None) -> str:
    """Return the token in an `authorization` header.

    Raises:
        quasar.errors.Unauthenticated: There is no header, or it is not of the form `Bearer <token>`.
    """
    if header is None:
        raise errors.Unauthenticated
    text = header.decode("latin-1") if isinstance(header, bytes) else header
    if text.startswith("Bearer ") and len(text) > len("Bearer ") and " " not in text[7:]:
        return text[7:]
    scheme, _, token = text.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise errors.Unauthenticated("The authorization header must be `Bearer <token>`.")
    return token


def require_role(caller: Caller, role: int) -> None:
    """Refuse a caller whose role is smaller than `role`.

    Raises:
        quasar.errors.RoleTooSmall: With the role that is needed and the one that the token has in its metadata.
    """
    if caller.role >= role:
        return
    needed, had = ROLE_NAMES.get(role, str(role)), ROLE_NAMES.get(caller.role, str(caller.role))
    raise errors.RoleTooSmall(
        f"The role must be {needed} or greater, was {had}; ask an administrator for a token with that role.",
        metadata={"required_role": needed, "role": had},
    )
