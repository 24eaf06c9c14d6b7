"""What lists of code may be filtered and ordered by."""

from __future__ import annotations

from collections.abc import Mapping

from quasar.filters import Field
from quasar.model.asset_classes import AssetClass
from registry.store.ordering import OrderField

CLASSES = tuple(one.name for one in AssetClass)


def _words(field: str, prefix: str = "") -> str:
    """Return the expression of a repeated field of the manifest, an array of texts without the prefix of an enum."""
    item = f"substr(item, {len(prefix) + 1})" if prefix else "item"
    listed = f"jsonb_array_elements_text(coalesce(v.manifest -> '{field}', '[]'))"
    return f"ARRAY(SELECT {item} FROM {listed} item)"  # noqa: S608  # written of names of ours only


FIELDS: Mapping[str, Field] = {
    "kind": Field("upper(c.kind)", "enum", ("PROVIDER", "BROKER", "STRATEGY")),
    "name": Field("c.name"),
    "state": Field(
        "(CASE WHEN c.active_version IS NULL THEN 'INACTIVE' ELSE 'ACTIVE' END)", "enum", ("ACTIVE", "INACTIVE")
    ),
    "built_in": Field("c.built_in::text", "enum", ("false", "true")),
    "capability": Field(
        _words("capabilities", "PROVIDER_CAPABILITY_"), "list", ("HISTORICAL", "LIVE", "INDEX", "SYMBOLS")
    ),
    "interval": Field(_words("intervals"), "list"),
    "asset_class": Field(_words("asset_classes", "ASSET_CLASS_"), "list", CLASSES),
    "language": Field("coalesce(v.manifest ->> 'language', '')"),
    "create_time": Field("c.created_at", "time"),
    "update_time": Field("c.updated_at", "time"),
}

ORDER: Mapping[str, OrderField] = {
    "kind": OrderField("c.kind"),
    "name": OrderField("c.name"),
    "state": OrderField("(c.active_version IS NULL)", "boolean"),
    "built_in": OrderField("c.built_in", "boolean"),
    "create_time": OrderField("c.created_at", "timestamptz"),
    "update_time": OrderField("c.updated_at", "timestamptz"),
    "latest_version": OrderField("c.latest_version", "integer"),
}
DEFAULT_ORDER = "kind, name"
TIE = (OrderField("c.kind"), OrderField("c.name"))
