"""Changing the system context: everything that was sealed with the former one is sealed again with the new one.

The new one is written beside the former one first, then the envelopes are changed in one transaction, then the new one
takes the former one's place. Whenever that is cut off, doing it again finishes it: an envelope that the new one has
sealed is left as it is.
"""

from __future__ import annotations

from pathlib import Path

from quasar.database.pool import Database
from quasar.database.statements import load_statements
from quasar.errors import SecretsUnreadable
from quasar.secrets import Binding, SystemContext, rotate, write_system_context

_SQL = load_statements("quasar.ops.store")


def pending_file(system_context: Path) -> Path:
    """Return where the new system context is while a rotation is under way."""
    return system_context.with_name(f"{system_context.name}.next")


def demand_no_rotation(system_context: Path) -> None:
    """Refuse to go on while a rotation was cut off.

    Raises:
        SecretsUnreadable: One was; the message says how to finish it.
    """
    if pending_file(system_context).exists():
        raise SecretsUnreadable("A rotation of the system context was cut off; finish it with `quasar secrets rotate`.")


async def rotate_system_context(database: Database, file: Path) -> int:
    """Replace the system context in `file` and seal all secrets again; return how many there are.

    Answers to repeated requests are forgotten: the same request_id is a new request afterwards.

    Args:
        database: As its owner.
        file: Of the system context; its folder must be writable.

    Raises:
        SecretsUnreadable: A secret cannot be opened with the present one, and nothing was changed; or the file cannot
            be written.
    """
    former = SystemContext.from_file(file)
    pending = pending_file(file)
    following = SystemContext.load_or_create(pending)
    async with database.transaction() as connection:
        rows = await connection.fetch(_SQL["sealed_secrets"])
        for row in rows:
            binding = Binding(row["kind"], row["name"], row["version"])
            await connection.execute(
                _SQL["replace_sealed"], row["code_id"], rotate(former, following, row["sealed"], binding)
            )
        await connection.execute(_SQL["forget_requests"])
    write_system_context(file, following)
    pending.unlink()
    return len(rows)
