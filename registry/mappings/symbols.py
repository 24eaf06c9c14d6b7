"""Common symbols: creating, renaming, deleting, reading."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from quasar.database.pool import Database
from quasar.errors import AlreadyExists, FailedPrecondition, FieldViolation, InvalidArgument, NotFound, Resource
from quasar.ops.actors import Actor
from registry.ground import Ground, Happening, Undone, require_etag
from registry.mappings.editing import checked_symbol
from registry.mappings.renames import naming_subscriptions, rename_in_subscriptions
from registry.requests import RequestMark
from registry.store import mappings as table
from registry.store.mappings import CommonSymbol, Mapping
from registry.store.statements import SQL


@dataclass(frozen=True, slots=True)
class Membership:
    """That an index holds a common symbol now."""

    index: str
    weight: float | None
    row: Any


@dataclass(frozen=True, slots=True)
class KnownSymbol:
    """A common symbol and what belongs to it."""

    symbol: CommonSymbol
    mappings: Sequence[Mapping]
    memberships: Sequence[Membership]


@dataclass(frozen=True, slots=True)
class Renamed:
    """What followed a rename."""

    symbol: CommonSymbol
    mappings: int
    memberships: int
    subscriptions: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """What went with a common symbol, or holds it."""

    mappings: Sequence[Mapping]
    indices: Sequence[str]
    subscriptions: Sequence[str]


async def get_symbol(database: Database, name: str) -> KnownSymbol:
    """Return a common symbol with its mappings and the indices that hold it.

    Raises:
        NotFound: It does not exist.
    """
    async with database.transaction(isolation="repeatable_read", readonly=True) as connection:
        found = await _read(connection, name)
        mappings = await connection.fetch(SQL["mappings_of_common_symbol"], found.common_symbol_id)
        members = await connection.fetch(SQL["common_symbol_memberships"], found.common_symbol_id)
    return KnownSymbol(
        found,
        [table.mapping(row) for row in mappings],
        [Membership(row["index_name"], row["weight"], row) for row in members],
    )


async def create_symbol(
    ground: Ground, symbol: str, description: str, mark: RequestMark, actor: Actor | None, *, validate_only: bool
) -> CommonSymbol:
    """Create a common symbol that stays without mappings; one that exists because of mappings becomes explicit.

    Raises:
        InvalidArgument: It is blank.
        AlreadyExists: It was created before, or differs from another one by case only.
    """
    name = checked_symbol(symbol)
    now = ground.clock.now()
    found: CommonSymbol | None = None
    with suppress(Undone):
        async with ground.database.transaction() as connection:
            await table.lock(connection)
            answer = await ground.requests.first_answer(connection, mark)
            if answer is not None:
                return await _read(connection, answer["symbol"])
            there = await connection.fetchrow(SQL["common_symbol_lock"], name)
            if there is not None:
                _require_implicit(there, name)
                number = there["common_symbol_id"]
                await connection.execute(SQL["common_symbol_make_explicit"], number, description, now)
            else:
                await connection.execute(SQL["common_symbol_insert"], name, description, now)
            found = await _read(connection, name)
            happening = _happening("CommonSymbolCreated", f"The common symbol {name} was created.", name)
            await ground.record(connection, happening, actor)
            if validate_only:
                raise Undone
            await ground.requests.remember(connection, mark, {"symbol": name})
    assert found is not None
    return found


def _require_implicit(there: Any, name: str) -> None:
    if there["symbol"] != name:
        raise AlreadyExists(
            f"The common symbol {there['symbol']!r} differs from {name!r} by case only; use it, or rename it.",
            resource=Resource("common symbol", there["symbol"]),
        )
    if there["explicit"]:
        raise AlreadyExists(f"The common symbol {name!r} exists already.", resource=Resource("common symbol", name))


async def rename_symbol(
    ground: Ground, old: str, new: str, etag: str, actor: Actor | None, *, validate_only: bool
) -> Renamed:
    """Rename a common symbol; mappings, members with their history, and subscriptions follow.

    Raises:
        NotFound: It does not exist.
        EtagMismatch: It changed since it was read.
        AlreadyExists: The new name is taken.
        InvalidArgument: The new name is blank or the same.
    """
    name = checked_symbol(new)
    renamed: Renamed | None = None
    with suppress(Undone):
        async with ground.database.transaction() as connection:
            await table.lock(connection)
            there = await _lock(connection, old, etag)
            if there["symbol"] == name:
                description = f"must differ from the present name, was {name!r}"
                raise InvalidArgument(
                    f"new_symbol {description}.", violations=[FieldViolation("new_symbol", description)]
                )
            renamed = await _rename(ground, connection, there, name, actor)
            if validate_only:
                raise Undone
    assert renamed is not None
    return renamed


async def _rename(ground: Ground, connection: Any, there: Any, name: str, actor: Actor | None) -> Renamed:
    now, number = ground.clock.now(), there["common_symbol_id"]
    try:
        async with connection.transaction():
            await connection.execute(SQL["common_symbol_rename"], number, name, now)
    except asyncpg.UniqueViolationError:
        raise AlreadyExists(
            f"There is a common symbol {name!r} already; map its assets to this one instead, or choose another name.",
            resource=Resource("common symbol", name),
        ) from None
    usage = await connection.fetchrow(SQL["common_symbol_usage"], number)
    subscriptions = await rename_in_subscriptions(connection, there["symbol"], name, now, index=False)
    data = {
        "before": {"symbol": there["symbol"]},
        "after": {"symbol": name},
        "mappings": usage["mappings"],
        "memberships": usage["memberships"],
        "subscriptions": subscriptions,
    }
    message = f"The common symbol {there['symbol']} is called {name} now."
    await ground.record(connection, _happening("CommonSymbolRenamed", message, name, data), actor)
    await ground.tell(connection, "mappings")
    found = await _read(connection, name)
    return Renamed(found, usage["mappings"], usage["memberships"], subscriptions)


async def delete_symbol(
    ground: Ground, name: str, etag: str, actor: Actor | None, *, force: bool, validate_only: bool
) -> Deleted:
    """Delete a common symbol with its mappings.

    Raises:
        NotFound: It does not exist.
        EtagMismatch: It changed since it was read.
        FailedPrecondition: An index holds or held it, a subscription names it, or it has mappings without `force`.
    """
    deleted = Deleted((), (), ())
    with suppress(Undone):
        async with ground.database.transaction() as connection:
            await table.lock(connection)
            there = await _lock(connection, name, etag)
            number, symbol = there["common_symbol_id"], there["symbol"]
            rows = await connection.fetch(SQL["mappings_of_common_symbol"], number)
            mappings = [table.mapping(row) for row in rows]
            indices = [row["name"] for row in await connection.fetch(SQL["common_symbol_indices"], number)]
            subscriptions = await naming_subscriptions(connection, symbol, index=False)
            deleted = Deleted(mappings, indices, subscriptions)
            if validate_only:
                raise Undone
            _require_free(symbol, deleted, force=force)
            deleted = Deleted(mappings, (), ())
            await table.delete(connection, [mapping.asset_id for mapping in mappings])
            await connection.execute(SQL["common_symbol_delete"], number)
            data = {"before": {"symbol": symbol, "mappings": [mapping.label for mapping in mappings][:1000]}}
            happening = _happening("CommonSymbolDeleted", f"The common symbol {symbol} was deleted.", symbol, data)
            await ground.record(connection, happening, actor)
            await ground.tell(connection, "mappings")
    return deleted


def _require_free(symbol: str, deleted: Deleted, *, force: bool) -> None:
    reasons = []
    if deleted.indices:
        reasons.append(f"the indices {', '.join(deleted.indices[:10])} hold it or held it")
    if deleted.subscriptions:
        reasons.append(f"the subscriptions {', '.join(deleted.subscriptions[:10])} name it")
    if deleted.mappings and not force:
        reasons.append(f"it has {len(deleted.mappings)} mappings (set force to delete them with it)")
    if reasons:
        raise FailedPrecondition(
            f"The common symbol {symbol!r} cannot be deleted: {'; '.join(reasons)}.",
            resource=Resource("common symbol", symbol),
        )


async def _lock(connection: Any, name: str, etag: str) -> Any:
    there = await connection.fetchrow(SQL["common_symbol_lock"], name.strip())
    if there is None:
        raise _unknown(name)
    require_etag(etag, there["revision"], Resource("common symbol", there["symbol"]))
    return there


async def _read(connection: Any, name: str) -> CommonSymbol:
    row = await connection.fetchrow(SQL["common_symbol_one"], name.strip())
    if row is None:
        raise _unknown(name)
    return table.common_symbol(row)


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"There is no common symbol {name!r}; list what there is with ListCommonSymbols.",
        resource=Resource("common symbol", name),
    )


def _happening(kind: str, message: str, name: str, data: Any = None) -> Happening:
    return Happening(
        kind=kind,
        message=message,
        subject_type="common symbol",
        subject_name=name,
        data=data or {"after": {"symbol": name}},
    )
