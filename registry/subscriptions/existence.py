"""Whether what a selection names on its own exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quasar.errors import FieldViolation, NotFound, Resource
from registry.store import subscription_table as table
from registry.subscriptions.plans import Plan
from registry.subscriptions.selections import SelectionKind


async def missing_subjects(connection: Any, plans: Mapping[int, Plan]) -> dict[int, NotFound]:
    """Return an error for each plan that names one symbol, common symbol or index which does not exist.

    A symbol of a provider that cannot list its symbols, or never did, is taken as it is: nobody knows better.
    """
    problems: dict[int, NotFound] = {}
    symbols = [p for p, one in plans.items() if _is(one, SelectionKind.SYMBOL) and one.provider.knows_symbols]
    if symbols:
        pairs = [(plans[place].provider.code_id, plans[place].wish.selection.names[0]) for place in symbols]
        for at in await table.unknown_symbols(connection, pairs):
            problems[symbols[at]] = _unknown_symbol(plans[symbols[at]])
    common = [place for place, one in plans.items() if _is(one, SelectionKind.COMMON_SYMBOL)]
    if common:
        named = [plans[place].wish.selection.names[0] for place in common]
        for at in await table.unknown_common_symbols(connection, named):
            problems[common[at]] = _unknown("common_symbol", "common symbol", "ListCommonSymbols", named[at])
    indices = [place for place, one in plans.items() if _is(one, SelectionKind.INDEX)]
    if indices:
        named = [plans[place].wish.selection.names[0] for place in indices]
        for at in await table.unknown_indices(connection, named):
            problems[indices[at]] = _unknown("index", "index", "ListIndices", named[at])
    return problems


def _is(one: Plan, kind: SelectionKind) -> bool:
    return one.wish.selection.kind is kind


def _unknown_symbol(one: Plan) -> NotFound:
    symbol, provider = one.wish.selection.names[0], one.provider.name
    told = f"must be a symbol that {provider} lists, was {symbol!r}"
    return NotFound(
        f"Provider {provider!r} has no symbol {symbol!r}; "
        "search its assets with ListAssets, or sync them if it is new.",
        resource=Resource("asset", f"provider/{provider}/{symbol}"),
        violations=[FieldViolation("selector.symbol", told)],
    )


def _unknown(field: str, noun: str, method: str, name: str) -> NotFound:
    return NotFound(
        f"There is no {noun} {name!r}; list what there is with {method}.",
        resource=Resource(field, name),
        violations=[FieldViolation(f"selector.{field}", f"must be an existing {noun}, was {name!r}")],
    )
