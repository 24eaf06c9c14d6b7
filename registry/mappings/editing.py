"""Mappings by hand, one or many at once, all or none."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from quasar.errors import AlreadyExists, FieldViolation, InvalidArgument, NotFound, QuasarError, Resource
from quasar.ops.actors import Actor
from registry.assets.catalog import unknown_asset
from registry.code.refs import CodeKind, CodeRef
from registry.ground import Ground, Undone, require_etag
from registry.mappings.failures import Failure, raise_all
from registry.mappings.happenings import batch_changed, created, deleted, updated
from registry.requests import RequestMark
from registry.store import mappings as table
from registry.store.mappings import Entry, Mapping, Written
from registry.store.texts import lowered

LONGEST: Final = 200
AssetName = tuple[CodeRef, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMapping:
    """A mapping to make."""

    asset: AssetName
    common_symbol: str
    active: bool = True
    origin: str = "MANUAL"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingChange:
    """A change of a mapping; None leaves as it is."""

    asset: AssetName
    common_symbol: str | None = None
    active: bool | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Removed:
    """What went with deleted mappings."""

    deleted: int
    common_symbols: Sequence[str]


class Mappings:
    """Makes, changes and deletes mappings."""

    def __init__(self, ground: Ground) -> None:
        """Work on `ground`."""
        self._ground = ground

    async def create(
        self,
        new: Sequence[NewMapping],
        mark: RequestMark,
        actor: Actor | None,
        *,
        batch: str = "",
        validate_only: bool = False,
    ) -> list[Mapping]:
        """Make mappings, all or none, with the common symbols that do not exist.

        Args:
            new: What to make.
            mark: Tells a repeated request.
            actor: Who does it.
            batch: The field that holds them, for messages; empty for a single one.
            validate_only: Check only.

        Raises:
            NotFound: A source or an asset does not exist.
            AlreadyExists: An asset is mapped, or its source maps another asset to the common symbol.
            InvalidArgument: A symbol is blank, or two entries contradict each other.
        """
        found: list[Mapping] = []
        with suppress(Undone):
            async with self._ground.database.transaction() as connection:
                await table.lock(connection)
                answer = await self._ground.requests.first_answer(connection, mark)
                if answer is not None:
                    return await self._again(connection, answer)
                written = await self.check_new(connection, new, batch)
                found = await self.write_new(connection, written, actor, batch=bool(batch))
                if validate_only:
                    raise Undone
                await self._ground.requests.remember(connection, mark, {"assets": [each.asset_id for each in found]})
        return found

    async def _again(self, connection: Any, answer: MappingOf[str, Any]) -> list[Mapping]:
        """Return the mappings of a repeated request, as far as they are still there."""
        found = await table.of_assets(connection, answer["assets"])
        return [found[asset_id] for asset_id in answer["assets"] if asset_id in found]

    async def write_new(
        self, connection: Any, written: Sequence[Written], actor: Actor | None, *, batch: bool = False
    ) -> list[Mapping]:
        """Store checked mappings in the caller's transaction; each has its event, and a batch one with its counts."""
        await table.insert(connection, written, actor, self._ground.clock.now())
        found = await table.of_assets(connection, [each.asset_id for each in written])
        made = [found[each.asset_id] for each in written]
        happenings = [created(each) for each in made]
        await self._ground.record_all(connection, batch_changed("created", happenings) if batch else happenings, actor)
        await self._ground.tell(connection, "mappings")
        return made

    async def check_new(
        self, connection: Any, new: Sequence[NewMapping], batch: str, places: Sequence[int] | None = None
    ) -> list[Written]:
        """Return mappings that can be made, in the order of the request; in a transaction that holds the lock.

        Args:
            connection: Inside that transaction.
            new: What to make.
            batch: The field that holds the entries, for messages.
            places: The entry that each one comes from; one each when absent.
        """
        symbols, failures = _symbols([each.common_symbol for each in new])
        entries = await table.entries(connection, [each.asset for each in new])
        claims = await table.claims(connection, symbols)
        taken: dict[tuple[str, int], int] = {}
        mapped: dict[int, int] = {}
        written = []
        for place, (each, entry, symbol) in enumerate(zip(new, entries, symbols, strict=True)):
            problem = _unknown(each.asset, entry) or _is_mapped(each.asset, entry)
            if problem is None and entry.asset_id is not None and entry.code_id is not None:
                problem = _twice(mapped, entry.asset_id, place, "asset", batch) or _claimed(
                    each.asset, symbol, entry.code_id, claims, taken, place, batch
                )
                written.append(
                    Written(
                        asset_id=entry.asset_id,
                        code_id=entry.code_id,
                        common_symbol=symbol,
                        active=each.active,
                        origin=each.origin,
                        reason=each.reason,
                    )
                )
            if problem is not None:
                failures.append(Failure(place, *problem))
        named = [Failure(places[each.place] if places else each.place, each.field, each.error) for each in failures]
        raise_all(sorted(named, key=lambda failure: failure.place), batch)
        return written

    async def update(
        self, changes: Sequence[MappingChange], actor: Actor | None, *, batch: str = "", validate_only: bool = False
    ) -> list[Mapping]:
        """Change mappings, all or none; symbols may be swapped. What somebody changes becomes MANUAL.

        Raises:
            NotFound: A source or a mapping does not exist.
            EtagMismatch: A mapping changed since it was read.
            AlreadyExists: A source maps another asset to the common symbol.
            InvalidArgument: A symbol is blank, or a mapping is named twice.
        """
        found: list[Mapping] = []
        with suppress(Undone):
            async with self._ground.database.transaction() as connection:
                await table.lock(connection)
                entries = await self._present(connection, [each.asset for each in changes], batch)
                written = await self._checked(connection, changes, entries, batch)
                former = await table.of_assets(connection, [each.asset_id for each in written])
                await table.update(connection, written, actor, self._ground.clock.now())
                await table.sweep(connection, {each.common_symbol_id for each in former.values()})
                after = await table.of_assets(connection, list(former))
                found = [after[each.asset_id] for each in written]
                happenings = [updated(former[each.asset_id], each) for each in found]
                told = batch_changed("updated", happenings) if batch else happenings
                await self._ground.record_all(connection, told, actor)
                await self._ground.tell(connection, "mappings")
                if validate_only:
                    raise Undone
        return found

    async def _checked(
        self, connection: Any, changes: Sequence[MappingChange], entries: Sequence[Entry], batch: str
    ) -> list[Written]:
        wanted = [
            each.common_symbol if each.common_symbol is not None else entry.common_symbol or ""
            for each, entry in zip(changes, entries, strict=True)
        ]
        symbols, failures = _symbols(wanted)
        claims = await table.claims(connection, symbols)
        moving = {entry.asset_id for entry in entries}
        standing = {key: claim for key, claim in claims.items() if claim[0] not in moving}
        taken: dict[tuple[str, int], int] = {}
        written = []
        for place, (each, entry, symbol) in enumerate(zip(changes, entries, symbols, strict=True)):
            assert entry.asset_id is not None
            assert entry.code_id is not None
            try:
                require_etag(each.etag, entry.revision or 0, _resource(each.asset))
            except QuasarError as error:
                failures.append(Failure(place, "mapping.etag", error))
            problem = _claimed(each.asset, symbol, entry.code_id, standing, taken, place, batch)
            if problem is not None:
                failures.append(Failure(place, f"mapping.{problem[0]}", problem[1]))
            active = bool(entry.active if each.active is None else each.active)
            written.append(
                Written(
                    asset_id=entry.asset_id,
                    code_id=entry.code_id,
                    common_symbol=symbol,
                    active=active,
                    origin="MANUAL",
                )
            )
        raise_all(sorted(failures, key=lambda failure: failure.place), batch)
        return written

    async def delete(
        self,
        doomed: Sequence[tuple[AssetName, str]],
        actor: Actor | None,
        *,
        batch: str = "",
        validate_only: bool = False,
    ) -> Removed:
        """Delete mappings, all or none, each given with its etag; common symbols that nothing holds go with them.

        Raises:
            NotFound: A source or a mapping does not exist.
            EtagMismatch: A mapping changed since it was read.
            InvalidArgument: A mapping is named twice.
        """
        gone: list[str] = []
        with suppress(Undone):
            async with self._ground.database.transaction() as connection:
                await table.lock(connection)
                entries = await self._present(connection, [asset for asset, _ in doomed], batch)
                _require_etags(doomed, entries, batch)
                asset_ids = [entry.asset_id for entry in entries if entry.asset_id is not None]
                former = await table.of_assets(connection, asset_ids)
                await table.delete(connection, asset_ids)
                gone = await table.sweep(connection, {each.common_symbol_id for each in former.values()})
                happenings = [deleted(former[key]) for key in asset_ids]
                told = batch_changed("deleted", happenings, common_symbols_removed=len(gone)) if batch else happenings
                await self._ground.record_all(connection, told, actor)
                await self._ground.tell(connection, "mappings")
                if validate_only:
                    raise Undone
        return Removed(len(doomed), gone)

    async def _present(self, connection: Any, assets: Sequence[AssetName], batch: str) -> list[Entry]:
        """Return what there is about assets that have to be mapped, each named once."""
        entries = await table.entries(connection, assets)
        seen: dict[int, int] = {}
        failures = []
        for place, (asset, entry) in enumerate(zip(assets, entries, strict=True)):
            problem = _unknown(asset, entry)
            if problem is None and entry.mapping_id is None:
                problem = ("asset", _unmapped(asset))
            if problem is None and entry.asset_id is not None:
                problem = _twice(seen, entry.asset_id, place, "asset", batch)
            if problem is not None:
                failures.append(Failure(place, *problem))
        raise_all(failures, batch)
        return entries


Problem = tuple[str, QuasarError]


def checked_symbol(text: str) -> str:
    """Return a common symbol without the blanks around it.

    Raises:
        InvalidArgument: It is blank, longer than 200 characters, or has control characters.
    """
    symbol = text.strip()
    description = ""
    if not symbol:
        description = f"must not be blank, was {text[:80]!r}"
    elif len(symbol) > LONGEST:
        description = f"must have at most {LONGEST} characters, had {len(symbol)}"
    elif any(ord(character) < 32 or ord(character) == 127 for character in symbol):
        description = f"must have no control characters, was {symbol[:80]!r}"
    if description:
        raise InvalidArgument(
            f"common_symbol {description}.", violations=[FieldViolation("common_symbol", description)]
        )
    return symbol


def _symbols(texts: Sequence[str]) -> tuple[list[str], list[Failure]]:
    symbols, failures = [], []
    for place, text in enumerate(texts):
        try:
            symbols.append(checked_symbol(text))
        except InvalidArgument as error:
            symbols.append("")
            failures.append(Failure(place, "common_symbol", error))
    return symbols, failures


def _resource(asset: AssetName) -> Resource:
    ref, symbol = asset
    return Resource("mapping", f"{ref.kind}/{ref.name} {symbol}")


def _unknown(asset: AssetName, entry: Entry) -> Problem | None:
    ref, symbol = asset
    if entry.code_id is None or ref.kind is CodeKind.STRATEGY:
        return "asset.source", ref.not_found()
    return None if entry.asset_id is not None else ("asset.symbol", unknown_asset(ref, symbol))


def _unmapped(asset: AssetName) -> NotFound:
    ref, symbol = asset
    return NotFound(f"{symbol!r} of the {ref} has no mapping.", resource=_resource(asset))


def unmapped(asset: AssetName) -> NotFound:
    """Return the error for an asset without a mapping."""
    return _unmapped(asset)


def _is_mapped(asset: AssetName, entry: Entry) -> Problem | None:
    if entry.mapping_id is None:
        return None
    ref, symbol = asset
    message = f"{symbol!r} of the {ref} is mapped to {entry.common_symbol!r} already; change that mapping instead."
    return "asset", AlreadyExists(message, resource=_resource(asset))


def _twice(seen: dict[int, int], key: int, place: int, field: str, batch: str) -> Problem | None:
    first = seen.setdefault(key, place)
    if first == place:
        return None
    description = f"must be named once, was named in {batch}[{first}] too"
    return field, InvalidArgument(f"{field} {description}.", violations=[FieldViolation(field, description)])


def _claimed(
    asset: AssetName,
    symbol: str,
    code_id: int,
    claims: MappingOf[tuple[str, int], tuple[int, str]],
    taken: dict[tuple[str, int], int],
    place: int,
    batch: str,
) -> Problem | None:
    """Return why a source cannot map one more asset to a common symbol."""
    ref, _ = asset
    key = (lowered(symbol), code_id)
    first = taken.setdefault(key, place)
    if key in claims:
        other = f"{claims[key][1]!r}"
    elif first != place:
        other = f"the asset of {batch}[{first}]"
    else:
        return None
    message = f"The {ref} maps {other} to {symbol!r} already; a source has one asset for a common symbol."
    return "common_symbol", AlreadyExists(message, resource=Resource("common symbol", symbol))


def _require_etags(doomed: Sequence[tuple[AssetName, str]], entries: Sequence[Entry], batch: str) -> None:
    failures = []
    for place, ((asset, etag), entry) in enumerate(zip(doomed, entries, strict=True)):
        try:
            require_etag(etag, entry.revision or 0, _resource(asset))
        except QuasarError as error:
            failures.append(Failure(place, "etag", error))
    raise_all(failures, batch)
