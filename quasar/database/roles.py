"""One login role for each service, with the least it needs.

Passwords are derived from the system context, so nobody has to keep or hand them out; the server is given a SCRAM
verifier (RFC 5802, RFC 7677) that is computed here, so a password appears in no statement and in no log.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import asyncpg

from quasar.clock import Clock, SystemClock
from quasar.database.statements import load_statements
from quasar.errors import FailedPrecondition
from quasar.secrets import SystemContext

SERVICES = ("registry", "datahub", "strategy")
"""The services that have a role."""

SEARCH_PATHS: Mapping[str, str] = {
    "registry": "registry, ops, public",
    "datahub": "datahub, registry, ops, public",
    "strategy": "strategy, datahub, registry, ops, public",
}
"""Where each service's unqualified names are looked for."""

_ITERATIONS = 4096
_ATTEMPTS = 40
_SQL = load_statements("quasar.database.store")


def role_name(service: str) -> str:
    """Return the database role of a service, for example `quasar_datahub`.

    Raises:
        ValueError: There is no such service.
    """
    if service not in SERVICES:
        raise ValueError(f"service must be one of {', '.join(SERVICES)}, was {service!r}")
    return f"quasar_{service}"


def role_password(service: str, context: SystemContext) -> str:
    """Return the password of a service's role."""
    return base64.urlsafe_b64encode(context.derive(f"database-role:{role_name(service)}")).rstrip(b"=").decode()


def service_url(owner_url: str, service: str, context: SystemContext) -> str:
    """Return the address of the same database for a service's role.

    Args:
        owner_url: The owner's address.
        service: `registry`, `datahub` or `strategy`.
        context: The system context that the roles were made with.
    """
    parts = urlsplit(owner_url)
    credentials = f"{role_name(service)}:{quote(role_password(service, context), safe='')}"
    query = [(name, value) for name, value in parse_qsl(parts.query) if name not in {"user", "password", "passfile"}]
    netloc = f"{credentials}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit((parts.scheme, netloc, parts.path, urlencode(query, quote_via=quote), ""))


async def ensure_roles(connection: Any, context: SystemContext, clock: Clock | None = None) -> None:
    """Create the services' roles or correct them: passwords, search paths, rights. Safe to repeat.

    Args:
        connection: A connection as the owner of the platform's schemas, who may create roles.
        context: Where the passwords come from.
        clock: For the pause when another process changes the same roles.

    Raises:
        FailedPrecondition: The owner may not create roles, or not change the ones that exist.
    """
    if not await connection.fetchval(_SQL["may_create_roles"]):
        raise FailedPrecondition(
            "the owner of the database must be able to create roles, one for each service; as a superuser run: "
            "ALTER ROLE <owner> CREATEROLE"
        )
    try:
        for service in SERVICES:
            await _patiently(clock or SystemClock(), partial(_ensure_role, connection, service, context))
    except asyncpg.InsufficientPrivilegeError as error:
        raise FailedPrecondition(
            f"the owner of the database must be able to change the roles {', '.join(map(role_name, SERVICES))}, which "
            f"somebody else has created ({str(error).splitlines()[0]}); as a superuser run: "
            "GRANT <role> TO <owner> WITH ADMIN OPTION"
        ) from error
    names = {service: await connection.fetchval("select quote_ident($1)", role_name(service)) for service in SERVICES}
    async with connection.transaction():
        await connection.execute(_SQL["grants"].format(**names))


async def _ensure_role(connection: Any, service: str, context: SystemContext) -> None:
    """Create or correct one role."""
    role = role_name(service)
    verifier = scram_verifier(role_password(service, context))
    exists = await connection.fetchval(_SQL["role_exists"], role)
    text = _SQL["alter_role_text"] if exists else _SQL["create_role_text"]
    async with connection.transaction():
        await connection.execute(await connection.fetchval(text, role, verifier))
        await connection.execute(await connection.fetchval(_SQL["role_setting_text"], role, SEARCH_PATHS[service]))
        grant = await connection.fetchval(_SQL["grant_connect"], role)
        if grant is not None:
            await connection.execute(grant)


async def _patiently(clock: Clock, change: Callable[[], Awaitable[None]]) -> None:
    """Repeat a change of a role that another process changes at the same time.

    Roles belong to the whole server, so the lock of one database's migrations does not keep others away.
    """
    for attempt in range(_ATTEMPTS):
        try:
            await change()
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateObjectError, asyncpg.InternalServerError) as error:
            concurrent = not isinstance(error, asyncpg.InternalServerError) or "concurrently" in str(error)
            if not concurrent or attempt == _ATTEMPTS - 1:
                raise
            await clock.sleep(0.01 * (attempt + 1))
        else:
            return


def scram_verifier(password: str, salt: bytes | None = None, iterations: int = _ITERATIONS) -> str:
    """Return what PostgreSQL stores instead of a password.

    Args:
        password: ASCII text (other text would need SASLprep first).
        salt: 16 random bytes when absent.
        iterations: PBKDF2 rounds; PostgreSQL's own default when absent.

    Returns:
        `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the keys as in RFC 5802.
    """
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"
