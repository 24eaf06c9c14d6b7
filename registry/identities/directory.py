"""Looking identities up: lists, single ones with their periods, what something stood for on a date."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from quasar import paging
from quasar.database.pool import Database
from quasar.errors import NotFound, Resource
from quasar.filters import Field
from registry.assets.catalog import get_asset
from registry.assets.groups import CLASSES, GROUPS, group_of
from registry.assets.listing import asset_class, folded, truth
from registry.assets.symbols import name_key, root_symbol
from registry.assets.words import lower_word
from registry.code.refs import CodeRef
from registry.identities.imports import Manifest, manifest
from registry.identities.rows import RejectedIdentity
from registry.matching.candidates import Candidate, Subject, Target
from registry.matching.decisions import Thresholds
from registry.matching.matcher import exact_candidates
from registry.store import assets as asset_table
from registry.store import identities as table
from registry.store.assets import Asset
from registry.store.identities import Identity
from registry.store.listing import Listing, Query, known, text
from registry.store.ordering import OrderField
from registry.store.statements import SQL
from registry.store.walks import Walk

IDENTITIES: Final = Listing(
    method="ListIdentities",
    fields={
        "identity_id": Field("i.identity_id", convert=str.upper),
        "figi": Field("coalesce(i.figi, '')", convert=str.upper),
        "composite_figi": Field("coalesce(i.composite_figi, '')", convert=str.upper),
        "share_class_figi": Field("coalesce(i.share_class_figi, '')", convert=str.upper),
        "isin": Field("coalesce(i.isin, '')", convert=str.upper),
        "cusip": Field("coalesce(i.cusip, '')", convert=str.upper),
        "exchange": Field("i.exchange", convert=str.upper),
        "symbol": Field("(upper(i.symbol) || i.aliases)", "list", convert=str.upper),
        "name": folded("i.name"),
        "asset_class": Field("i.asset_class", "enum", CLASSES, asset_class),
        "identity_group": Field("i.identity_group", "enum", GROUPS, lower_word),
        "currency": folded("i.currency"),
        "country": Field("i.country", convert=str.upper),
        "manifest": folded("i.manifest"),
        "withdrawn": truth("i.withdrawn"),
        "valid_from": Field("i.valid_from", "time"),
        "valid_to": Field("i.valid_to", "time"),
    },
    terms={
        "identity_id": known("i.identity_id"),
        "symbol": known("i.symbol"),
        "name": text("i.name"),
        "exchange": known("i.exchange"),
        "asset_class": text("i.asset_class"),
        "isin": text("coalesce(i.isin, '')"),
        "country": text("i.country"),
        "manifest": known("i.manifest"),
        "valid_from": known("i.valid_from", "timestamptz"),
    },
    default_order="symbol, exchange, valid_from",
    tie=(OrderField("i.identity_row", "bigint"),),
    walk=Walk(
        page="identity_walk",
        edge="identity_edge",
        passed="identity_passed",
        crowd="identity_crowd",
        orders=frozenset({"symbol, exchange, valid_from"}),
        lookups={
            "symbol": "i.identity_row = any (registry.identities_of_symbol({value}))",
            "identity_id": "",
            **{name: f"i.{name} = {{value}}" for name in ("figi", "composite_figi", "share_class_figi", "isin")},
        },
    ),
)

MANIFESTS: Final = Listing(
    method="ListIdentityManifests",
    fields={
        "name": folded("m.name"),
        "version": Field("m.version", "integer"),
        "current": truth("m.current"),
        "format": Field(
            "m.format", "enum", ("CSV", "YAML", "PARQUET"), lambda t: t.upper().removeprefix("MANIFEST_FORMAT_")
        ),
        "create_time": Field("m.created_at", "time"),
    },
    terms={"name": known("m.name"), "version": known("m.version", "integer")},
    default_order="name, version desc",
    tie=(),
)


@dataclass(frozen=True, slots=True)
class Sought:
    """What to look up; one of these is set."""

    symbol: str = ""
    exchange: str = ""
    asset_class: str = ""
    group: str = ""
    """Empty: that of the class, or any."""
    number: str = ""
    """A FIGI of any level, or an ISIN."""
    asset: tuple[CodeRef, str] | None = None
    common_symbol: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """An identity that fits."""

    identity: Identity
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Resolution:
    """What something stood for."""

    matches: Sequence[Match]
    """Best first."""
    ambiguous: bool
    as_of: dt.datetime


@dataclass(frozen=True, slots=True)
class Known:
    """An identity with everything about it."""

    identity: Identity
    periods: Sequence[Identity]
    assets: Sequence[Asset]
    asset_count: int
    common_symbols: Sequence[str]


async def list_identities(database: Database, query: Query, as_of: dt.datetime | None) -> tuple[list[Identity], str]:
    """Return a page of identities, one entry for each period.

    Raises:
        InvalidFilter: The filter or the order cannot be understood.
        InvalidCursor: The page token belongs to another query.
    """
    scope = (as_of.isoformat() if as_of else "",)
    page = await IDENTITIES.page(database, SQL["identity_page"], query, as_of, scope=scope)
    return [table.identity(row) for row in page.rows], page.next_page_token


async def get_identity(database: Database, identity_id: str, now: dt.datetime) -> Known:
    """Return an identity with its periods and the assets that have it.

    Raises:
        NotFound: No manifest has it.
    """
    identity_id = identity_id.strip().upper()
    async with database.transaction(isolation="repeatable_read", readonly=True) as connection:
        periods = await table.periods(connection, identity_id)
        if not periods:
            raise NotFound(
                f"There is no identity {identity_id!r}; import a manifest that has it.",
                resource=Resource("identity", identity_id),
            )
        rows = await connection.fetch(SQL["identity_assets"], identity_id)
        symbols = await connection.fetch(SQL["identity_common_symbols"], identity_id)
        return Known(
            _present(periods, now),
            periods,
            [asset_table.asset(row) for row in rows],
            await connection.fetchval(SQL["identity_asset_count"], identity_id),
            [row["symbol"] for row in symbols],
        )


def _present(periods: Sequence[Identity], now: dt.datetime) -> Identity:
    """Return the period that holds now, or the last one; a withdrawn row only where there is no other."""
    used = [each for each in periods if not each.withdrawn] or periods
    return next((each for each in used if each.holds_at(now)), used[0])


async def resolve(database: Database, sought: Sought, as_of: dt.datetime) -> Resolution:
    """Say what a symbol, a number, an asset or a common symbol stood for at an instant.

    Raises:
        NotFound: The asset or the common symbol does not exist.
    """
    async with database.transaction(isolation="repeatable_read", readonly=True) as connection:
        if sought.symbol:
            return await _by_symbol(connection, sought, as_of)
        numbers = [sought.number.upper()] if sought.number else await _numbers(connection, sought)
        matches = []
        for number in numbers:
            rows = await connection.fetch(SQL["identity_by_number"], number, as_of)
            matches += [_certain(table.identity(row)) for row in rows]
        if numbers and not matches and sought.asset is not None:
            # Its identity did not exist then, or does no more: the symbol stood for something else.
            return await _by_symbol(connection, await _symbol_of(connection, *sought.asset), as_of)
    return _resolution(matches, as_of)


async def _by_symbol(connection: Any, sought: Sought, as_of: dt.datetime) -> Resolution:
    group = sought.group or group_of(sought.asset_class)
    key = sought.symbol.strip().upper()
    found: dict[int, Identity] = {}
    for each in dict.fromkeys((key, root_symbol(sought.symbol, "currency", "", "").upper())):
        for row in await connection.fetch(SQL["identity_by_symbol"], each, group, sought.asset_class, as_of):
            found[row["identity_row"]] = table.identity(row)
    matches = []
    for of_group in {each.identity_group for each in found.values()}:
        subject = Subject(0, of_group, key, sought.exchange.strip().upper())
        members = [each for each in found.values() if each.identity_group == of_group]
        targets = [(_target(each), each.match_key != key and key in each.aliases) for each in members]
        matches += [Match(found[each.target.identity_row], each) for each in exact_candidates(subject, targets)]
    return _resolution(matches, as_of)


async def _symbol_of(connection: Any, ref: CodeRef, symbol: str) -> Sought:
    asset = await get_asset(connection, ref, symbol)
    return Sought(symbol=asset.match_key, exchange=asset.exchange, group=asset.identity_group)


async def _numbers(connection: Any, sought: Sought) -> list[str]:
    """Return the identities of an asset, or of the assets behind a common symbol."""
    if sought.asset is not None:
        asset = await get_asset(connection, *sought.asset)
        return [asset.identity_id] if asset.identity_id else []
    row = await connection.fetchrow(SQL["common_symbol_identities"], sought.common_symbol.strip())
    if row is None:
        raise NotFound(
            f"There is no common symbol {sought.common_symbol!r}.",
            resource=Resource("common symbol", sought.common_symbol),
        )
    return list(row["identities"])


def _certain(identity: Identity) -> Match:
    return Match(
        identity,
        Candidate(_target(identity), "PROVIDER_ID", 100.0, 100.0, f"{identity.identity_id} has the identifier"),
    )


def _target(identity: Identity) -> Target:
    return Target(
        identity.identity_row,
        identity.identity_id,
        identity.exchange,
        name_key(identity.name),
        identity.currency,
        identity.country,
    )


def _resolution(matches: Sequence[Match], as_of: dt.datetime) -> Resolution:
    best: dict[str, Match] = {}
    for each in sorted(matches, key=lambda match: (-match.candidate.rank, match.identity.identity_row)):
        best.setdefault(each.identity.identity_id, each)
    ranked = list(best.values())
    ambiguous = len(ranked) > 1 and ranked[0].candidate.rank - ranked[1].candidate.rank < Thresholds().margin
    return Resolution(ranked, ambiguous, as_of)


async def list_manifests(database: Database, query: Query) -> tuple[list[Manifest], str]:
    """Return a page of the versions of manifests, by name, newest first.

    Raises:
        InvalidFilter: The filter cannot be understood.
        InvalidCursor: The page token belongs to another query.
    """
    page = await MANIFESTS.page(database, SQL["identity_manifest_page"], query)
    return [manifest(row) for row in page.rows], page.next_page_token


async def list_rejections(
    database: Database, name: str, version: int, query: Query
) -> tuple[list[RejectedIdentity], str, int]:
    """Return a page of the rows of a manifest's version that were not taken, by line, and how many there are.

    Raises:
        NotFound: There is no such manifest or version.
        InvalidCursor: The page token belongs to another version.
    """
    async with database.acquire() as connection:
        row = await connection.fetchrow(SQL["identity_manifest_by_version"], name, version)
        if row is None:
            which = f"version {version} of it" if version else "it"
            raise NotFound(f"There is no manifest {name!r}, or not {which}.", resource=Resource("manifest", name))
        size = paging.page_size(query.page_size)
        marks = ("ListRejectedIdentityRows", str(row["manifest_id"]))
        key = paging.page_key(marks, query.page_token)
        rows = await connection.fetch(
            SQL["identity_rejection_page"], size + 1, row["manifest_id"], int(key[0]) if key else 0
        )
    found = [RejectedIdentity(each["line"], each["field"], each["value"], each["message"]) for each in rows[:size]]
    following = paging.page_token(marks, (rows[size - 1]["position"],)) if len(rows) > size else ""
    return found, following, row["rejected"]
