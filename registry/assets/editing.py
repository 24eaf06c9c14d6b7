"""Changes of assets by hand. What somebody sets is kept over later syncs and matches until it is released."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from quasar.errors import AlreadyExists, FieldViolation, InvalidArgument, NotFound, Resource
from quasar.ops.actors import Actor
from registry.assets.catalog import unknown_asset
from registry.assets.groups import SECURITIES, group_of
from registry.assets.sources import find_source
from registry.assets.symbols import match_key, name_key, root_symbol
from registry.code.refs import CodeRef
from registry.ground import Ground, Happening, require_etag
from registry.store import assets as table
from registry.store import identities as identity_table
from registry.store import proposals as proposal_table
from registry.store.assets import Asset

RULES: Final = ("price_increment", "size_increment", "minimum_size", "minimum_notional", "multiplier")
"""The columns of trading rules."""
IDENTITY: Final = "identity_id"
EDITABLE: Final = (
    IDENTITY,
    "name",
    "exchange",
    "asset_class",
    "base_currency",
    "quote_currency",
    "country",
    "matcher_symbol",
    "expire_time",
    "trading_rules",
)
"""What can be set by hand, as `manual_fields` names it."""

_FORMS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "exchange": (re.compile(r"([A-Z0-9]{4})?"), "a MIC of four letters or digits, or empty"),
    "country": (re.compile(r"([A-Z]{2})?"), "two letters (ISO 3166-1), or empty"),
    "base_currency": (re.compile(r"[^\s]{0,32}"), "at most 32 characters without blanks"),
    "quote_currency": (re.compile(r"[^\s]{0,32}"), "at most 32 characters without blanks"),
    "name": (re.compile(r".{0,500}"), "at most 500 characters in one line"),
    "matcher_symbol": (re.compile(r".{0,200}"), "at most 200 characters in one line"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change of one asset."""

    ref: CodeRef
    symbol: str
    values: Mapping[str, Any]
    """New values by name, of those in `EDITABLE`; trading rules are a mapping of the columns in `RULES`."""
    release: Sequence[str] = ()
    """Fields to hand back to the source and the matcher."""
    etag: str = ""


async def update_asset(ground: Ground, edit: Edit, actor: Actor | None) -> Asset:
    """Set and release fields of an asset.

    Raises:
        NotFound: The asset or the identity does not exist.
        EtagMismatch: The asset changed since it was read.
        InvalidArgument: Nothing is set or released, a value breaks its rule, or the identity is of another group.
        AlreadyExists: Another asset of the source has the identity, and it is a security.
    """
    values = _checked(edit)
    now = ground.clock.now()
    async with ground.database.transaction() as connection:
        source = await find_source(connection, edit.ref)
        await table.lock_source(connection, source.code_id)
        before = await table.take(connection, str(edit.ref.kind), edit.ref.name, edit.symbol)
        if before is None:
            raise unknown_asset(edit.ref, edit.symbol)
        require_etag(edit.etag, before.revision, resource_of(before))
        changed = _with_values(before, values, edit.release)
        if IDENTITY in values:
            changed = await _with_identity(connection, changed, str(values[IDENTITY]))
            changed = replace(changed, matched_at=now if changed.identity_id else None)
        elif changed.identity_group != before.identity_group and changed.identity_origin == "MATCHER":
            # It was found among the identities of the former group.
            changed = replace(await _with_identity(connection, changed, ""), matched_at=None)
        if IDENTITY in values or changed.identity_group != before.identity_group:
            await proposal_table.supersede(connection, [before.asset_id], now)
            changed = replace(changed, identity_state="")
        changed = replace(changed, identity_state=_identity_state(changed))
        await table.store(connection, changed, now)
        await ground.record(connection, _happening(before, changed), actor)
        await ground.tell(connection, f"assets/{source.label}")
        return await table.by_id(connection, before.asset_id)


def resource_of(asset: Asset) -> Resource:
    """Return what errors name."""
    return Resource("asset", asset.label)


async def require_free(connection: Any, asset: Asset, identity_id: str) -> None:
    """Refuse an identity that another asset of the same source has.

    Raises:
        AlreadyExists: It has, and the asset is a security. (Many crypto pairs share an identity.)
    """
    if asset.identity_group != SECURITIES:
        return
    holder = await identity_table.holder(connection, asset.code_id, identity_id, asset.asset_id)
    if holder is not None:
        raise AlreadyExists(
            f"{asset.source_kind} {asset.source_name!r} has {identity_id} as {holder!r} already; "
            "take it away there first.",
            resource=Resource("asset", f"{asset.source_kind}/{asset.source_name} {holder}"),
        )


def _checked(edit: Edit) -> dict[str, Any]:
    """Return the values in the form in which they are stored."""
    if not edit.values and not edit.release:
        raise _violation("update_mask", f"must name one of {', '.join(EDITABLE)}, was empty")
    values = dict(edit.values)
    for name in ("exchange", "country", "base_currency", "quote_currency", IDENTITY):
        if name in values:
            values[name] = values[name].strip().upper()
    for name in ("name", "matcher_symbol"):
        if name in values:
            values[name] = values[name].strip()
    for name, (form, rule) in _FORMS.items():
        if name in values and not form.fullmatch(values[name]):
            raise _violation(f"asset.{name}", f"must be {rule}, was {values[name][:80]!r}")
    for name, size in (values.get("trading_rules") or {}).items():
        if size is not None and not size > 0:
            raise _violation(f"asset.trading_rules.{name}", f"must be greater than 0, was {size}")
    return values


def _with_values(asset: Asset, values: Mapping[str, Any], release: Sequence[str]) -> Asset:
    """Return the asset with new values and all that follows from them."""
    plain = {name: value for name, value in values.items() if name not in (IDENTITY, "expire_time", "trading_rules")}
    if "expire_time" in values:
        plain["expires_at"] = values["expire_time"]
    if "trading_rules" in values:
        plain |= {name: values["trading_rules"].get(name) for name in RULES}
    asset = replace(asset, **plain)
    hint = asset.matcher_symbol or asset.symbol
    manual = (set(asset.manual_fields) | set(values)) - set(release)
    released = IDENTITY in release and asset.identity_origin == "MANUAL"
    return replace(
        asset,
        name_key=name_key(asset.name),
        matcher_symbol=hint,
        match_key=match_key(asset.symbol, hint, asset.asset_class, asset.base_currency, asset.quote_currency),
        root_symbol=root_symbol(asset.symbol, asset.asset_class, asset.base_currency, asset.quote_currency),
        identity_group=group_of(asset.asset_class),
        identity_origin="MATCHER" if released and asset.identity_id else asset.identity_origin,
        manual_fields=tuple(name for name in EDITABLE if name in manual),
    )


async def _with_identity(connection: Any, asset: Asset, identity_id: str) -> Asset:
    if not identity_id:
        return replace(
            asset, identity_id="", identity_origin="", match_method="", match_confidence=None, match_reason=""
        )
    groups = await identity_table.groups_of(connection, identity_id)
    if not groups:
        raise NotFound(
            f"There is no identity {identity_id!r}; import a manifest that has it.",
            resource=Resource("identity", identity_id),
        )
    if asset.identity_group not in groups:
        raise _violation(
            "asset.identity.identity_id",
            f"must be an identity of group {asset.identity_group or 'none'}, was one of {', '.join(sorted(groups))}",
        )
    await require_free(connection, asset, identity_id)
    return identified(asset, identity_id)


def identified(asset: Asset, identity_id: str, method: str = "MANUAL", reason: str = "") -> Asset:
    """Return the asset with an identity that somebody decided."""
    return replace(
        asset,
        identity_id=identity_id,
        identity_origin="MANUAL",
        match_method=method,
        match_confidence=None,
        match_reason=reason,
        identity_state="IDENTIFIED",
    )


def _identity_state(asset: Asset) -> str:
    if asset.identity_id:
        return "IDENTIFIED"
    if not asset.identity_group:
        return "NOT_APPLICABLE"
    return "PROPOSED" if asset.identity_state == "PROPOSED" and IDENTITY not in asset.manual_fields else "UNIDENTIFIED"


def _happening(before: Asset, after: Asset) -> Happening:
    names = [each.name for each in fields(Asset) if getattr(before, each.name) != getattr(after, each.name)]
    return Happening(
        kind="AssetUpdated",
        message=f"{before.label} was changed by hand: {', '.join(names) or 'nothing'}.",
        subject_type="asset",
        subject_name=before.label,
        data={
            "before": {name: getattr(before, name) for name in names},
            "after": {name: getattr(after, name) for name in names},
        },
    )


def _violation(field: str, description: str) -> InvalidArgument:
    return InvalidArgument(f"{field} {description}.", violations=[FieldViolation(field, description)])
