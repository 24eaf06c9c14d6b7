"""Secrets of code: sealed and bound to kind, name and replacement; written and never shown."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quasar.errors import FieldViolation, SecretsUnreadable
from quasar.ops.actors import Actor
from quasar.secrets import Binding, SystemContext
from registry.code.changes import Change, Ground, changing, read_entry
from registry.code.entries import Entry
from registry.code.owners import ApplyOutcome, CodeChange
from registry.code.refs import CodeRef
from registry.store import code_table
from registry.store.code_table import SealedSecrets
from registry.violations import refused

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
_MOST = 64
_MOST_CHARACTERS = 65536


@dataclass(frozen=True, slots=True)
class SecretName:
    """A secret's name, and what is known of it. Its value is not."""

    name: str
    stored: bool
    declared: bool
    required: bool = False
    description: str = ""


def seal(context: SystemContext, ref: CodeRef, version: int, secrets: Mapping[str, str]) -> bytes:
    """Return the envelope of an entry's secrets: a JSON object of names and values."""
    text = json.dumps(dict(secrets), ensure_ascii=False, separators=(",", ":")).encode()
    return context.seal(text, Binding(str(ref.kind), ref.name, version))


def unseal(context: SystemContext, ref: CodeRef, sealed: SealedSecrets) -> dict[str, str]:
    """Open an envelope.

    Raises:
        SecretsUnreadable: It was sealed with another system context, is damaged, or belongs to something else.
    """
    opened = context.open(sealed.sealed, Binding(str(ref.kind), ref.name, sealed.version))
    try:
        found = json.loads(opened)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise SecretsUnreadable(f"The stored secrets of {ref} are damaged; replace them.", resource=ref.resource)
    return found


def check(ref: CodeRef, secrets: Mapping[str, str], required: Sequence[str]) -> None:
    """Refuse secrets that cannot be stored. No message holds any part of a value.

    Raises:
        InvalidArgument: There are none or too many, a name is not legal, a value is empty or too long, or one that the
            class cannot run without is missing.
    """
    violations = [violation for name, value in secrets.items() for violation in _violations(name, value)]
    if not secrets or len(secrets) > _MOST:
        violations.append(FieldViolation("secrets", f"must hold 1 to {_MOST} secrets, held {len(secrets)}"))
    violations += [
        FieldViolation(f'secrets["{name}"]', f"must be given too, for {ref} cannot run without it")
        for name in required
        if name not in secrets
    ]
    if violations:
        raise refused(violations)


def _violations(name: str, value: str) -> list[FieldViolation]:
    field, found = f'secrets["{name[:100]}"]', []
    if _NAME.fullmatch(name) is None:
        rule = "must have a name of letters, digits, '_', '.' and '-' that starts with a letter or '_'"
        found.append(FieldViolation(field, f"{rule}, at most 100 characters"))
    if not value:
        found.append(FieldViolation(field, "must have a value, was empty"))
    elif len(value) > _MOST_CHARACTERS:
        found.append(FieldViolation(field, f"must have at most {_MOST_CHARACTERS} characters, had {len(value)}"))
    return found


async def store(change: Change, secrets: Mapping[str, str]) -> None:
    """Replace the secrets of the entry that a transaction holds, with the event that names them."""
    ref, connection = change.entry.ref, change.connection
    version = await code_table.next_secret_version(connection, change.entry.code_id)
    sealed = SealedSecrets(version, seal(change.ground.context, ref, version, secrets), tuple(sorted(secrets)))
    await code_table.put_secrets(connection, change.entry.code_id, sealed, change.actor, change.now)
    await change.record(
        "SecretsReplaced",
        f"The secrets of {ref} were replaced: {', '.join(sealed.names)}.",
        before={"names": list(change.entry.secret_names)},
        after={"names": list(sealed.names)},
    )


async def replace(
    ground: Ground, ref: CodeRef, secrets: Mapping[str, str], etag: str, actor: Actor | None
) -> tuple[list[SecretName], ApplyOutcome]:
    """Replace all secrets of an entry and hand them to the running process.

    Raises:
        NotFound: There is no such code.
        EtagMismatch: The entry changed since it was read.
        InvalidArgument: See `check`.
    """
    async with changing(ground, ref, etag, actor) as change:
        required = [secret.name for secret in change.entry.declaration.secrets if secret.required]
        check(change.entry.ref, secrets, required)
        await store(change, secrets)
        await code_table.touch(change.connection, change.entry.code_id, change.now)
        entry = await change.present()
    outcome = await ground.owners.apply(CodeChange(entry.ref, entry.active_version or 0, secrets_changed=True))
    return names_of(entry), outcome


async def names(ground: Ground, ref: CodeRef) -> tuple[list[SecretName], dt.datetime | None]:
    """Return the names of the secrets that are stored or declared, and when they were last replaced.

    Raises:
        NotFound: There is no such code.
        SecretsUnreadable: What is stored cannot be opened with the present system context.
    """
    entry = await read_entry(ground, ref)
    sealed = await _sealed(ground, entry.code_id)
    if sealed is None:
        return names_of(entry), None
    unseal(ground.context, entry.ref, sealed)
    return names_of(entry), sealed.update_time


async def opened(ground: Ground, ref: CodeRef) -> dict[str, str]:
    """Return the secrets of a name, for validation; none where there are none."""
    async with ground.database.acquire() as connection:
        found = await code_table.secrets_of(connection, ref)
    return {} if found is None else unseal(ground.context, *found)


def names_of(entry: Entry) -> list[SecretName]:
    """Return the declared secrets in the order of the class, then the others by name."""
    stored = frozenset(entry.secret_names)
    declared = entry.declaration.secrets
    known = [SecretName(s.name, s.name in stored, True, s.required, s.description) for s in declared]
    others = sorted(stored - {secret.name for secret in declared})
    return known + [SecretName(name, stored=True, declared=False) for name in others]


async def _sealed(ground: Ground, code_id: int) -> Any:
    async with ground.database.acquire() as connection:
        return await code_table.secrets(connection, code_id)
