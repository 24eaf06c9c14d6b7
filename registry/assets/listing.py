"""What lists and counts of assets may name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quasar.filters import Field
from quasar.model.asset_classes import normalise_asset_class
from registry.assets.words import (
    CLASSES,
    GROUPS,
    IDENTITY_STATES,
    KINDS,
    METHODS,
    ORIGINS,
    STATES,
    TRUTH,
    lower_word,
    word,
)
from registry.store.listing import Listing, known, optional, text
from registry.store.ordering import OrderField
from registry.store.texts import lowered
from registry.store.walks import Walk


def folded(sql: str) -> Field:
    """Return a text field that is compared without regard to case."""
    return Field(f"lower({sql})", convert=lowered)


def truth(sql: str) -> Field:
    """Return a field that is true or false."""
    return Field(f"(case when {sql} then 'true' else 'false' end)", "enum", TRUTH, str.lower)


def asset_class(text_: str) -> str:
    """Return the canonical class of a word or an alias ("stock"); empty for an empty one."""
    return normalise_asset_class(lower_word(text_)) or ""


FIELDS: Final[Mapping[str, Field]] = {
    "source.kind": Field("d.source_kind", "enum", KINDS, lower_word),
    "source.name": folded("d.source_name"),
    "symbol": folded("d.symbol"),
    "name": folded("d.name"),
    "exchange": Field("d.exchange", convert=str.upper),
    "asset_class": Field("d.asset_class", "enum", CLASSES, asset_class),
    "identity_group": Field("d.identity_group", "enum", GROUPS, lower_word),
    "base_currency": Field("d.base_currency", convert=str.upper),
    "quote_currency": Field("d.quote_currency", convert=str.upper),
    "country": Field("d.country", convert=str.upper),
    "external_id": folded("d.external_id"),
    "matcher_symbol": folded("d.matcher_symbol"),
    "root_symbol": Field("d.root_symbol", convert=str.lower),
    "identity_state": Field("d.identity_state", "enum", IDENTITY_STATES, word),
    "identity_id": Field("d.identity_id", convert=str.upper),
    "identity_origin": Field("d.identity_origin", "enum", ORIGINS, word),
    "match_method": Field("d.match_method", "enum", METHODS, word),
    "confidence": Field("d.match_confidence", "number", nullable=True),
    "common_symbol": folded("d.common_symbol"),
    "mapped": truth("d.mapped"),
    "state": Field("d.state", "enum", STATES, word),
    "expire_time": Field("d.expires_at", "time", nullable=True),
    "first_seen_time": Field("d.first_seen_at", "time"),
    "last_seen_time": Field("d.seen_at", "time"),
    "vanish_time": Field("d.vanished_at", "time", nullable=True),
    "update_time": Field("d.updated_at", "time"),
}

BY_SOURCE: Final = "source.kind, source.name, symbol"
"""The order that the index of a source's symbols gives."""

BY_SOURCES: Final[Mapping[str, tuple[str, bool]]] = {
    BY_SOURCE: ("c.kind, c.name", False),
    "source.name": ("c.name, c.code_id", False),
    "source.name desc": ("c.name desc, c.code_id desc", True),
    "source.kind": ("c.kind, c.code_id", False),
    "source.kind desc": ("c.kind desc, c.code_id desc", True),
}
"""Orders in which source follows source: the order of the sources, and whether their symbols descend."""

ASSETS: Final = Listing(
    method="ListAssets",
    fields=FIELDS,
    terms={
        "source.kind": known("d.source_kind"),
        "source.name": known("d.source_name"),
        "symbol": known("d.symbol"),
        "name": text("d.name"),
        "exchange": text("d.exchange"),
        "asset_class": text("d.asset_class"),
        "identity_group": text("d.identity_group"),
        "base_currency": text("d.base_currency"),
        "quote_currency": text("d.quote_currency"),
        "country": text("d.country"),
        "external_id": text("d.external_id"),
        "matcher_symbol": text("d.matcher_symbol"),
        "identity_state": known("d.identity_state"),
        "identity_id": text("d.identity_id"),
        "identity_origin": text("d.identity_origin"),
        "match_method": text("d.match_method"),
        "confidence": optional("d.match_confidence", "double precision"),
        "common_symbol": text("d.common_symbol"),
        "state": known("d.state"),
        "update_time": known("d.updated_at", "timestamptz"),
    },
    default_order=BY_SOURCE,
    tie=(OrderField("d.code_id", "integer"), OrderField("d.symbol")),
    walk=Walk(
        page="asset_walk",
        edge="asset_edge",
        passed="asset_passed",
        crowd="asset_crowd",
        orders=frozenset({*BY_SOURCES, "symbol", "symbol desc", "name", "name desc"}),
        scattered=frozenset({"symbol", "symbol desc", "name", "name desc"}),
        lookups={
            "symbol": "",
            "identity_id": "",
            "common_symbol": "d.asset_id = any (registry.assets_of_symbol({value}))",
        },
        pushed={
            ("state", "VANISHED"): "d.state = 'VANISHED'",
            ("identity_state", "PROPOSED"): "d.identity_state = 'PROPOSED'",
        },
    ),
)


SOURCE_FIELDS: Final = {
    "source.kind": Field("c.kind", "enum", KINDS, lower_word),
    "source.name": folded("c.name"),
}
"""What tells from a filter which sources it is about."""

DIMENSIONS: Final[Mapping[str, str]] = {
    "SOURCE": "d.source_kind || '/' || d.source_name",
    "ASSET_CLASS": "upper(d.asset_class)",
    "EXCHANGE": "d.exchange",
    "IDENTITY_STATE": "d.identity_state",
    "STATE": "d.state",
    "QUOTE_CURRENCY": "d.quote_currency",
    "COUNTRY": "d.country",
    "MATCH_METHOD": "d.match_method",
    "MAPPED": "case when d.mapped then 'mapped' else 'unmapped' end",
}
"""The dimensions in which assets are counted."""

USUAL_DIMENSIONS: Final = ("SOURCE", "ASSET_CLASS", "EXCHANGE", "IDENTITY_STATE")
"""The ones that nobody asked for by name."""
