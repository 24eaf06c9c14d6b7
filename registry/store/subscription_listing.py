"""What lists of subscriptions and of series may be filtered and ordered by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quasar.filters import Field
from registry.store.code_listing import CLASSES
from registry.store.listing import Listing, known
from registry.store.ordering import OrderField
from registry.store.walks import Walk

_TRUTH: Final = ("false", "true")


def _truth(sql: str) -> Field:
    return Field(f"({sql})::text", "enum", _TRUTH)


def _named(*kinds: str) -> Field:
    """Return the field of what selections of some kinds name."""
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return Field(f"(CASE WHEN s.selection_kind IN ({listed}) THEN s.selection_names ELSE '{{}}' END)", "list")


FIELDS: Final[Mapping[str, Field]] = {
    "provider": Field("s.provider"),
    "symbol": _named("symbol", "symbols"),
    "common_symbol": _named("common_symbol", "common_symbols"),
    "index": _named("index"),
    "selection": Field(
        "s.selection_kind", "enum", ("symbol", "symbols", "common_symbol", "common_symbols", "index", "assets")
    ),
    "interval": Field("s.interval"),
    "historical": _truth("s.historical"),
    "live": _truth("s.live"),
    "store_ticks": _truth("s.store_ticks"),
    "tick_kinds": Field("s.tick_kinds", "list"),
    "state": Field("s.state", "enum", ("ACTIVE", "PAUSED")),
    "backfill_start": Field("s.backfill_start", "time"),
    "note": Field("s.note"),
    "create_time": Field("s.created_at", "time"),
    "update_time": Field("s.updated_at", "time"),
}

SUBSCRIPTIONS: Final = Listing(
    method="ListSubscriptions",
    fields=FIELDS,
    terms={
        "provider": known("s.provider"),
        "symbol": known("s.selection_name"),
        "interval": known("s.interval"),
        "state": known("s.state"),
        "create_time": known("s.created_at", "timestamptz"),
        "update_time": known("s.updated_at", "timestamptz"),
    },
    default_order="provider, symbol, interval",
    tie=(OrderField("s.subscription_id", "uuid"),),
)

UNRESOLVED: Final = ("UNKNOWN_SYMBOL", "VANISHED", "UNKNOWN_COMMON_SYMBOL", "UNMAPPED", "UNKNOWN_INDEX")

SERIES: Final = Listing(
    method="ListSubscribedSeries",
    fields={
        "provider": Field("s.provider"),
        "symbol": Field("s.symbol"),
        "interval": Field("s.interval"),
        "common_symbol": Field("s.common_symbol"),
        "exchange": Field("s.exchange"),
        "asset_class": Field("upper(s.asset_class)", "enum", CLASSES),
        "active": _truth("s.active"),
        "historical": _truth("s.historical"),
        "live": _truth("s.live"),
        "store_ticks": _truth("s.store_ticks"),
        "unresolved": Field("s.unresolved", "enum", UNRESOLVED),
    },
    terms={"provider": known("s.provider")},
    default_order="provider",
    tie=(OrderField("s.place", "integer"), OrderField("s.name"), OrderField("s.interval")),
    walk=Walk(
        page="series_walk",
        edge="series_edge",
        passed="series_passed",
        crowd="series_passed",
        orders=frozenset({"provider", "provider desc"}),
        look=3_000,
        grouped=4,
        lookups={"symbol": "s.name = {value}"},
    ),
)

PROVIDER: Final = {"provider": Field("c.name")}
"""What tells from a filter of series which providers it is about."""
