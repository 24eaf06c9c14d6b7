"""What lists of indices and members may name."""

from __future__ import annotations

from typing import Final

from quasar.filters import Field
from registry.assets.groups import CLASSES
from registry.assets.listing import asset_class, folded, truth
from registry.assets.words import word
from registry.store.listing import Listing, SortTerm, known, optional, text
from registry.store.ordering import OrderField

TYPES: Final = ("USER", "PROVIDER")
SYNC_STATES: Final = ("", "SUCCEEDED", "EMPTY_ANSWER", "HELD_BACK", "FAILED")
"""In the order of `quasar.registry.v1.IndexSyncState`."""
_MEMBERS: Final = "registry.index_symbols(d.index_id)"
_HOLDS: Final = "d.index_id = ANY ((SELECT registry.indices_holding({value}))::integer[])"


def _type(written: str) -> str:
    return word(written).removeprefix("INDEX_TYPE_")


def _sync_state(written: str) -> str:
    return word(word(written).removeprefix("INDEX_SYNC_STATE_"))


INDICES: Final = Listing(
    method="ListIndices",
    fields={
        "name": folded("d.name"),
        "type": Field("d.type", "enum", TYPES, _type),
        "provider": folded("d.provider"),
        "provider_active": truth("d.provider_active"),
        "description": folded("d.description"),
        "member_count": Field("d.member_count", "integer"),
        "last_sync_state": Field("d.last_sync_state", "enum", SYNC_STATES, _sync_state),
        "last_sync_time": Field("d.last_sync_at", "time"),
        "create_time": Field("d.created_at", "time"),
        "update_time": Field("d.updated_at", "time"),
        "member": Field(_MEMBERS, "list", holds=_HOLDS),
    },
    terms={
        "name": known("d.name"),
        "type": known("d.type"),
        "provider": text("d.provider"),
        "member_count": known("d.member_count", "bigint"),
        "last_sync_time": optional("d.last_sync_at", "timestamptz"),
        "next_sync_time": optional("d.next_sync_at", "timestamptz"),
        "member_update_time": optional("d.members_changed_at", "timestamptz"),
        "create_time": known("d.created_at", "timestamptz"),
        "update_time": known("d.updated_at", "timestamptz"),
    },
    default_order="name",
    tie=(OrderField("d.index_id", "integer"),),
)

_WEIGHT: Final = SortTerm(
    (OrderField("coalesce(d.weight, 'infinity')", "double precision"),),
    (OrderField("coalesce(d.weight, '-infinity')", "double precision"),),
)

LOOKED_UP: Final = ("name", "asset_class", "mapped")
"""Fields of members that tell what a common symbol stands for: a look-up for every member that is compared."""

MEMBERS: Final = Listing(
    method="ListIndexMembers",
    fields={
        "common_symbol": folded("d.common_symbol"),
        "symbol": folded("d.symbol"),
        "name": folded("d.name"),
        "asset_class": Field("d.asset_class", "enum", CLASSES, asset_class),
        "weight": Field("d.weight", "number"),
        "mapped": truth("d.mapped"),
        "valid_from": Field("d.valid_from", "time"),
    },
    terms={
        "weight": _WEIGHT,
        "symbol": text("d.symbol"),
        "common_symbol": text("d.common_symbol"),
        "name": text("d.name"),
        "asset_class": text("d.asset_class"),
        "valid_from": known("d.valid_from", "timestamptz"),
    },
    default_order="weight desc, common_symbol, symbol",
    tie=(OrderField("d.membership_id", "bigint"),),
)
