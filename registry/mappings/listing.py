"""What lists of mappings and common symbols may name."""

from __future__ import annotations

from typing import Final

from quasar.filters import Field
from registry.assets.groups import CLASSES
from registry.assets.listing import asset_class, folded, truth
from registry.assets.words import KINDS, STATES, lower_word, word
from registry.store.listing import Listing, known, text
from registry.store.ordering import OrderField
from registry.store.walks import SCATTERED, Walk

ORIGINS: Final = ("MANUAL", "SUGGESTED", "AUTOMATIC")


def origin(written: str) -> str:
    """Return the word of an origin."""
    return word(written).removeprefix("MAPPING_ORIGIN_")


MAPPINGS: Final = Listing(
    method="ListMappings",
    fields={
        "common_symbol": folded("d.common_symbol"),
        "source.kind": Field("d.source_kind", "enum", KINDS, lower_word),
        "source.name": folded("d.source_name"),
        "symbol": folded("d.symbol"),
        "active": truth("d.active"),
        "origin": Field("d.origin", "enum", ORIGINS, origin),
        "asset_name": folded("d.asset_name"),
        "asset_class": Field("d.asset_class", "enum", CLASSES, asset_class),
        "exchange": Field("d.exchange", convert=str.upper),
        "quote_currency": Field("d.quote_currency", convert=str.upper),
        "identity_id": Field("d.identity_id", convert=str.upper),
        "asset_state": Field("d.asset_state", "enum", STATES, word),
        "create_time": Field("d.created_at", "time"),
        "update_time": Field("d.updated_at", "time"),
    },
    terms={
        "common_symbol": known("d.common_symbol"),
        "source.kind": known("d.source_kind"),
        "source.name": known("d.source_name"),
        "symbol": known("d.symbol"),
        "active": known("d.active", "boolean"),
        "origin": known("d.origin"),
        "asset_class": text("d.asset_class"),
        "exchange": text("d.exchange"),
        "create_time": known("d.created_at", "timestamptz"),
        "update_time": known("d.updated_at", "timestamptz"),
    },
    default_order="source.name, common_symbol",
    tie=(OrderField("d.mapping_id", "bigint"),),
    walk=Walk(
        page="mapping_walk",
        edge="mapping_edge",
        passed="mapping_passed",
        crowd="mapping_crowd",
        orders=frozenset({"source.name, common_symbol", "common_symbol"}),
        look=SCATTERED,
        lookups={"common_symbol": "", "symbol": "", "identity_id": ""},
    ),
)

COMMON_SYMBOLS: Final = Listing(
    method="ListCommonSymbols",
    fields={
        "symbol": folded("s.symbol"),
        "description": folded("s.description"),
        "asset_class": Field("s.asset_class", "enum", CLASSES, asset_class),
        "identity_id": Field("coalesce(s.identity_id, '')", convert=str.upper),
        "mapping_count": Field("s.mapping_count", "integer"),
        "provider_count": Field("s.provider_count", "integer"),
        "broker_count": Field("s.broker_count", "integer"),
        "index_count": Field("s.index_count", "integer"),
        "explicit": truth("s.explicit"),
        "index": Field("s.indices", "list"),
        "create_time": Field("s.created_at", "time"),
    },
    terms={
        "symbol": known("s.symbol"),
        "mapping_count": known("s.mapping_count", "bigint"),
        "provider_count": known("s.provider_count", "bigint"),
        "broker_count": known("s.broker_count", "bigint"),
        "index_count": known("s.index_count", "bigint"),
        "create_time": known("s.created_at", "timestamptz"),
    },
    default_order="symbol",
    tie=(OrderField("s.common_symbol_id", "integer"),),
    walk=Walk(
        page="common_symbol_walk",
        edge="common_symbol_edge",
        passed="common_symbol_passed",
        crowd="common_symbol_crowd",
        orders=frozenset({"symbol", "symbol desc"}),
        look=SCATTERED,
        sorted=20_000,
        lookups={"symbol": "", "index": "s.common_symbol_id = any (registry.symbols_of_index({value}))"},
    ),
)
