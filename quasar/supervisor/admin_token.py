"""The local administrator's token: made at the first start, kept in a file that only its owner can read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import NotFound, Unauthenticated
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from quasar.ops.roles import Role
from quasar.ops.tokens import Tokens
from quasar.private_files import write_private

NAME = "admin"
SUPERVISOR = Actor("service:supervisor", Role.ADMIN)


async def ensure_admin_token(url: str, path: Path, clock: Clock) -> bool:
    """Make sure that the file holds a token that works; tell whether a new one was made.

    A file that was lost, or is of another database, is replaced, and the token that it held before is revoked.

    Args:
        url: The owner's address of the database.
        path: The file.
        clock: The time.

    Raises:
        OSError: The file cannot be written.
    """
    async with await Database.open(url, application_name="quasar-up", max_size=2) as database:
        tokens = Tokens(database, Events(database, "supervisor", clock), clock)
        if await _works(tokens, path):
            return False
        with suppress(NotFound):  # as on every first start
            await tokens.revoke(NAME, actor=SUPERVISOR)
        _, bearer = await tokens.create(NAME, Role.ADMIN, actor=SUPERVISOR)
        write_private(path, bearer)
        return True


async def _works(tokens: Tokens, path: Path) -> bool:
    try:
        await tokens.verify(_read(path))
    except Unauthenticated:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
