"""Identities in the database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

from registry.identities.rows import IdentityRow, RejectedIdentity
from registry.store.statements import SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One thing in one period of validity, as one manifest tells it."""

    identity_row: int
    identity_id: str
    figi: str | None
    composite_figi: str | None
    share_class_figi: str | None
    isin: str | None
    cusip: str | None
    exchange: str
    symbol: str
    aliases: Sequence[str]
    name: str
    asset_class: str
    identity_group: str
    currency: str
    country: str
    valid_from: dt.datetime | None
    """None: since ever."""
    valid_to: dt.datetime | None
    """None: still valid."""
    manifest: str
    manifest_version: int
    withdrawn: bool
    name_key: str
    match_key: str

    def holds_at(self, instant: dt.datetime) -> bool:
        """Tell whether the period holds at an instant."""
        begun = self.valid_from is None or self.valid_from <= instant
        return begun and (self.valid_to is None or instant < self.valid_to)


_COLUMNS = tuple(each.name for each in fields(Identity))


@dataclass(frozen=True, slots=True)
class MergedIdentities:
    """What an import changed."""

    added: int
    updated: int
    unchanged: int
    withdrawn: int


def identity(row: Any) -> Identity:
    """Return the identity that a row holds."""
    return Identity(**{name: row[name] for name in _COLUMNS})


async def merge(
    connection: Any, manifest: str, version: int, rows: Sequence[IdentityRow], now: dt.datetime, *, snapshot: bool
) -> MergedIdentities:
    """Merge the rows of a manifest's version in the caller's transaction.

    Args:
        connection: Inside a transaction that holds the manifest's name.
        manifest: The name of the manifest.
        version: The version that is being made.
        rows: No key twice.
        now: The time of the change.
        snapshot: Withdraw what the rows lack.
    """
    await connection.execute(SQL["identity_stage"])
    await connection.copy_records_to_table("staged_identities", records=rows, columns=IdentityRow._fields)
    await connection.execute(SQL["identity_prepare_staged"])
    await connection.execute(SQL["identity_analyze_staged"])
    counts = await connection.fetchrow(SQL["identity_merge"], manifest, version, now, snapshot)
    unchanged = counts["known"] - counts["updated"]
    return MergedIdentities(counts["added"], counts["updated"], unchanged, counts["withdrawn"])


async def keep_rejections(connection: Any, manifest_id: int, rejections: Sequence[RejectedIdentity]) -> None:
    """Store the rows that were not taken."""
    records = (
        (manifest_id, position, each.line, each.field, each.value, each.message)
        for position, each in enumerate(rejections, start=1)
    )
    columns = ("manifest_id", "position", "line", "field", "value", "message")
    await connection.copy_records_to_table(
        "identity_rejections", records=records, columns=columns, schema_name="registry"
    )


async def by_rows(connection: Any, identity_rows: Collection[int]) -> dict[int, Identity]:
    """Return identities by the numbers of their rows."""
    if not identity_rows:
        return {}
    found = await connection.fetch(SQL["identity_rows"], list(identity_rows))
    return {row["identity_row"]: identity(row) for row in found}


async def periods(connection: Any, identity_id: str) -> list[Identity]:
    """Return every period of an identity, newest first."""
    return [identity(row) for row in await connection.fetch(SQL["identity_periods"], identity_id)]


async def groups_of(connection: Any, identity_id: str) -> set[str]:
    """Return the groups of an identity that is in use; empty when there is none."""
    return {row["identity_group"] for row in await connection.fetch(SQL["identity_groups"], identity_id)}


async def holder(connection: Any, code_id: int, identity_id: str, but: int) -> str | None:
    """Return the symbol of another asset of a source that has an identity, or None."""
    found: str | None = await connection.fetchval(SQL["asset_identity_holder"], code_id, identity_id, but)
    return found
