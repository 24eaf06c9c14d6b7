"""Built-in code: entries that come with the platform, written at each start of the registry."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from quasar import logs
from quasar.errors import DatabaseUnavailable, DeadlineExceeded
from registry.code.archives import SourceFile
from registry.code.changes import Ground, record
from registry.code.refs import CodeRef
from registry.store import code_table

RETRY_S = 1.0
_log = logs.get("registry.code.built_ins")


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A class of the platform's own build."""

    ref: CodeRef
    manifest: Mapping[str, Any]
    file: SourceFile
    """The module that holds the class."""


async def install(ground: Ground, built_ins: Sequence[BuiltIn]) -> None:
    """Write the entries of built-in code; safe to repeat and to do from several processes at once.

    Where somebody uploaded code under a name that the platform later took for its own, the uploaded code keeps it.
    """
    for built_in in sorted(built_ins, key=lambda one: str(one.ref)):
        await _install_one(ground, built_in)


async def install_patiently(ground: Ground, built_ins: Sequence[BuiltIn]) -> None:
    """Write the entries as soon as the database and its schema are there."""
    while True:
        try:
            await install(ground, built_ins)
        except (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError) as error:
            _log.info("built-in code waits for the database", problem=str(error))
            await ground.clock.sleep(RETRY_S)
        else:
            return


async def _install_one(ground: Ground, built_in: BuiltIn) -> None:
    now = ground.clock.now()
    async with ground.database.transaction() as connection:
        held = await code_table.claim(connection, built_in.ref, None, now, built_in=True)
        if not held.built_in and not held.deleted:
            _log.warning("built-in code is hidden by an upload", kind=str(built_in.ref.kind), name=built_in.ref.name)
            return
        if held.deleted:
            await code_table.revive(connection, held.code_id, built_in.ref.name, None, now)
        changed = await code_table.put_built_in(
            connection,
            held.code_id,
            sha256=hashlib.sha256(built_in.file.content).digest(),
            file_name=built_in.file.path.rsplit("/", 1)[-1],
            size_bytes=len(built_in.file.content),
            manifest=built_in.manifest,
            now=now,
        )
        if changed:
            await code_table.touch(connection, held.code_id, now)
            data = {"after": {"version": 1}}
            message = f"{built_in.ref} came with the platform."
            await record(ground, connection, "CodeInstalled", message, built_in.ref, data, None)
