"""Suggestions: pairs of assets that probably are the same instrument, of which the first has no mapping."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from quasar import paging
from quasar.errors import FailedPrecondition, FieldViolation, InvalidArgument, InvalidCursor, Resource
from quasar.ops.actors import Actor
from registry.assets.sources import find_source
from registry.code.refs import CodeRef
from registry.ground import Ground, Undone
from registry.mappings.automatic import shortest_root
from registry.mappings.editing import AssetName, Mappings, NewMapping, checked_symbol
from registry.mappings.failures import Failure, raise_all
from registry.requests import RequestMark
from registry.store import assets as asset_table
from registry.store import mappings as table
from registry.store.assets import Asset
from registry.store.mappings import Entry, Mapping
from registry.store.statements import SQL
from registry.store.texts import lowered

LEAST_SCORE: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestionQuery:
    """What to suggest."""

    source: CodeRef
    target: CodeRef | None
    search: str = ""
    min_score: float = LEAST_SCORE
    asset_classes: Sequence[str] = ()
    best_only: bool = False
    page_size: int = 0
    page_token: str = ""
    include_total: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestionScore:
    """The parts of a score."""

    identity_points: float
    external_id_points: float
    symbol_points: float
    currency_points: float
    exchange_points: float
    symbol_similarity_points: float
    name_similarity_points: float

    @property
    def total(self) -> float:
        """The sum."""
        return sum(float(getattr(self, each.name)) for each in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Two assets that probably are the same instrument."""

    source: Asset
    target: Asset
    common_symbol: str
    score: SuggestionScore
    conflict: str
    """Why applying it would fail; empty when it would not."""


@dataclass(frozen=True, slots=True)
class SuggestionPage:
    """Some suggestions."""

    suggestions: Sequence[Suggestion]
    next_page_token: str
    total: int | None


@dataclass(frozen=True, slots=True)
class AppliedSuggestion:
    """A suggestion that somebody takes."""

    source: AssetName
    target: AssetName
    common_symbol: str
    """Empty: the one that would be suggested."""


_PARTS: Final = tuple(each.name for each in fields(SuggestionScore))


def proposed_symbol(source_root: str, target_root: str, target_symbol: str) -> str:
    """Return the common symbol of a pair: the target's, else the shorter root in upper case."""
    return target_symbol or shortest_root([root for root in (source_root, target_root) if root] or ["?"]).upper()


class Suggestions:
    """Finds and applies suggestions."""

    def __init__(self, ground: Ground, mappings: Mappings) -> None:
        """Make mappings through `mappings`."""
        self._ground = ground
        self._mappings = mappings

    async def find(self, query: SuggestionQuery) -> SuggestionPage:
        """Return a page of suggestions, best first.

        Raises:
            NotFound: A source does not exist.
            InvalidCursor: The page token belongs to another query.
        """
        size = paging.page_size(query.page_size)
        marks = _marks(query)
        key = paging.page_key(marks, query.page_token)
        async with self._ground.database.transaction(isolation="repeatable_read", readonly=True) as connection:
            source = await find_source(connection, query.source)
            target = await find_source(connection, query.target) if query.target else None
            limits = (
                size + 1,
                source.code_id,
                target.code_id if target else None,
                _pattern(query.search),
                list(query.asset_classes) or None,
                query.min_score,
                query.best_only,
            )
            await connection.execute(SQL["suggestion_plan"])
            rows = await connection.fetch(SQL["suggestion_page"], *limits, *_place(key))
            total = await self._total(connection, query, limits, rows, key)
            found = await self._shown(connection, rows[:size])
        following = ""
        if len(rows) > size:
            last = rows[size - 1]
            following = paging.page_token(
                marks, (repr(last["score"]), last["source_symbol"], last["kind"], last["source"], last["target_symbol"])
            )
        return SuggestionPage(found, following, total)

    async def _total(
        self, connection: Any, query: SuggestionQuery, limits: Sequence[Any], rows: Sequence[Any], key: Any
    ) -> int | None:
        if not query.include_total:
            return None
        if key is not None:
            rows = await connection.fetch(SQL["suggestion_page"], 1, *limits[1:], *_place(None))
        return int(rows[0]["total"]) if rows else 0

    async def _shown(self, connection: Any, rows: Sequence[Any]) -> list[Suggestion]:
        ids = {row["source_id"] for row in rows} | {row["target_id"] for row in rows}
        assets = await asset_table.by_ids(connection, ids)
        pairs = [(assets[row["source_id"]], assets[row["target_id"]], row) for row in rows]
        symbols = [proposed_symbol(s.root_symbol, t.root_symbol, t.common_symbol) for s, t, _ in pairs]
        claims = await table.claims(connection, symbols)
        return [
            Suggestion(
                source=source,
                target=target,
                common_symbol=symbol,
                score=SuggestionScore(**{name: float(row[name]) for name in _PARTS}),
                conflict=_conflict(source, target, symbol, claims),
            )
            for (source, target, row), symbol in zip(pairs, symbols, strict=True)
        ]

    async def apply(
        self,
        chosen: Sequence[AppliedSuggestion],
        mark: RequestMark,
        actor: Actor | None,
        *,
        validate_only: bool = False,
    ) -> list[Mapping]:
        """Make mappings from suggestions, all or none: of the source asset, and of the target where it has none.

        Raises:
            NotFound: A source or an asset does not exist.
            AlreadyExists: A source asset is mapped, or its source maps another asset to the common symbol.
            FailedPrecondition: A target is mapped to another common symbol.
        """
        found: list[Mapping] = []
        try:
            async with self._ground.database.transaction() as connection:
                await table.lock(connection)
                answer = await self._ground.requests.first_answer(connection, mark)
                if answer is not None:
                    had = await table.of_assets(connection, answer["assets"])
                    return [had[key] for key in answer["assets"] if key in had]
                new, places = await self._new(connection, chosen)
                written = await self._mappings.check_new(connection, new, "suggestions", places)
                found = await self._mappings.write_new(connection, written, actor, batch=True)
                if validate_only:
                    raise Undone
                await self._ground.requests.remember(connection, mark, {"assets": [each.asset_id for each in found]})
        except Undone:
            return found
        return found

    async def _new(self, connection: Any, chosen: Sequence[AppliedSuggestion]) -> tuple[list[NewMapping], list[int]]:
        """Return the mappings that suggestions make, in their order, and the suggestion that each comes from."""
        entries = await table.entries(connection, [asset for each in chosen for asset in (each.source, each.target)])
        failures: list[Failure] = []
        new: list[NewMapping] = []
        places: list[int] = []
        given: dict[AssetName, str] = {}
        for place, each in enumerate(chosen):
            source, target = entries[2 * place], entries[2 * place + 1]
            standing = target.common_symbol or given.get(each.target, "")
            try:
                symbol = _chosen_symbol(each, source, standing, target)
            except InvalidArgument as error:
                failures.append(Failure(place, "common_symbol", error))
                continue
            if standing and lowered(symbol.strip()) != lowered(standing):
                failures.append(Failure(place, "target", _elsewhere(each, standing)))
                continue
            reason = f"suggested by its likeness to {each.target[0].kind}/{each.target[0].name} {each.target[1]}"
            sides = [each.source] if standing else [each.source, each.target]
            given.setdefault(each.target, symbol)
            for side in sides:
                new.append(NewMapping(asset=side, common_symbol=symbol, origin="SUGGESTED", reason=reason))
                places.append(place)
        raise_all(failures, "suggestions")
        return new, places


def _chosen_symbol(each: AppliedSuggestion, source: Entry, standing: str, target: Entry) -> str:
    if each.common_symbol:
        return checked_symbol(each.common_symbol)
    return proposed_symbol(source.root_symbol or "", target.root_symbol or "", standing)


def _elsewhere(each: AppliedSuggestion, standing: str) -> FailedPrecondition:
    ref, symbol = each.target
    return FailedPrecondition(
        f"{symbol!r} of the {ref} is mapped to {standing!r}; take that common symbol, or change that mapping first.",
        resource=Resource("mapping", f"{ref.kind}/{ref.name} {symbol}"),
    )


def _conflict(source: Asset, target: Asset, symbol: str, claims: Any) -> str:
    for asset in (source, target):
        holder = claims.get((lowered(symbol), asset.code_id))
        if holder is not None and holder[0] != asset.asset_id and not (asset is target and target.common_symbol):
            return f"{asset.source_name} already maps {holder[1]} to {symbol}"
    return ""


def _pattern(search: str) -> str | None:
    """Return what finds a text anywhere in another one; its own wildcards have no meaning."""
    escaped = re.sub(r"([\\%_])", r"\\\1", search)
    return f"%{escaped}%" if search else None


def _marks(query: SuggestionQuery) -> tuple[str, ...]:
    return (
        "SuggestMappings",
        str(query.source),
        str(query.target or ""),
        query.search,
        repr(query.min_score),
        ",".join(query.asset_classes),
        str(query.best_only),
    )


def _place(key: Sequence[str | int] | None) -> tuple[Any, ...]:
    """Return the place of the last row of the page before."""
    if key is None:
        return (None,) * 5
    try:
        score, *rest = key
        if len(rest) != 4:
            raise ValueError
        return (float(score), *map(str, rest))
    except ValueError:
        description = "must be the next_page_token of the page before, unchanged"
        raise InvalidCursor(
            f"page_token {description}.", violations=[FieldViolation("page_token", description)]
        ) from None
