"""Assets, syncs and counts as messages of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message

from quasar.errors import FieldViolation, InvalidArgument
from quasar.ops.operations import OperationResult
from quasar.rpc.wellknown import duration, instant, timestamp
from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from registry.assets.catalog import Counts
from registry.assets.editing import RULES, Edit
from registry.assets.rows import RejectedRow
from registry.assets.syncs import SourceReport
from registry.code.refs import CodeKind, CodeRef
from registry.matching.report import MatchReport
from registry.rpc.code_messages import ref_message, ref_of
from registry.rpc.words import (
    class_number,
    class_word,
    decimal_message,
    decimal_of,
    group_number,
    identity_state_number,
    mask_paths,
    method_number,
    origin_number,
    state_number,
)
from registry.store.assets import Asset

_RULES: Final = ("price_increment", "size_increment", "minimum_size", "minimum_notional", "contract_multiplier")
_COLUMN_OF_PATH: Final = {
    "identity.identity_id": "identity_id",
    "identity_id": "identity_id",
    "name": "name",
    "exchange": "exchange",
    "asset_class": "asset_class",
    "base_currency": "base_currency",
    "quote_currency": "quote_currency",
    "country": "country",
    "matcher_symbol": "matcher_symbol",
    "expire_time": "expire_time",
    "trading_rules": "trading_rules",
}


def key_message(kind: str, name: str, symbol: str) -> asset_pb2.AssetKey:
    """Return the name of an asset as a message."""
    return asset_pb2.AssetKey(source=ref_message(CodeRef(CodeKind(kind), name)), symbol=symbol)


def key_of(message: asset_pb2.AssetKey) -> tuple[CodeRef, str]:
    """Return the name of an asset that a message holds."""
    return ref_of(message.source), message.symbol


def asset_message(asset: Asset) -> asset_pb2.Asset:
    """Return an asset as a message."""
    return asset_pb2.Asset(
        key=key_message(asset.source_kind, asset.source_name, asset.symbol),
        state=state_number(asset.state),
        external_id=asset.external_id,
        name=asset.name,
        exchange=asset.exchange,
        asset_class=class_number(asset.asset_class),
        base_currency=asset.base_currency,
        quote_currency=asset.quote_currency,
        country=asset.country,
        matcher_symbol=asset.matcher_symbol or asset.symbol,
        root_symbol=asset.root_symbol,
        identity_group=group_number(asset.identity_group),
        identity_state=identity_state_number(asset.identity_state),
        identity=_identity(asset) if asset.identity_id else None,
        common_symbol=asset.common_symbol,
        mapping_active=asset.mapping_active,
        trading_rules=_rules(asset),
        expire_time=timestamp(asset.expires_at),
        manual_fields=asset.manual_fields,
        first_seen_time=timestamp(asset.first_seen_at),
        last_seen_time=timestamp(asset.seen_at),
        vanish_time=timestamp(asset.vanished_at),
        update_time=timestamp(asset.updated_at),
        etag=str(asset.revision),
    )


def _identity(asset: Asset) -> asset_pb2.AssetIdentity:
    return asset_pb2.AssetIdentity(
        identity_id=asset.identity_id,
        origin=origin_number(asset.identity_origin),
        method=method_number(asset.match_method),
        confidence=asset.match_confidence,
        reason=asset.match_reason,
        match_time=timestamp(asset.matched_at),
    )


def _rules(asset: Asset) -> asset_pb2.TradingRules | None:
    values = {name: getattr(asset, column) for name, column in zip(_RULES, RULES, strict=True)}
    if all(value is None for value in values.values()):
        return None
    return asset_pb2.TradingRules(**{name: decimal_message(value) for name, value in values.items()})


def edit_of(request: pb.UpdateAssetRequest) -> Edit:
    """Return the change that a request asks for.

    Raises:
        InvalidArgument: A mask names what cannot be set.
    """
    legal = tuple(path for path in _COLUMN_OF_PATH if path != "identity_id")
    set_ = mask_paths(request.update_mask, legal, "update_mask")
    released = mask_paths(request.release_mask, tuple(_COLUMN_OF_PATH), "release_mask")
    asset = request.asset
    both = sorted({_COLUMN_OF_PATH[path] for path in set_} & {_COLUMN_OF_PATH[path] for path in released})
    if both:
        description = f"must not name what update_mask sets, was {both[0]!r}"
        raise InvalidArgument(f"release_mask {description}.", violations=[FieldViolation("release_mask", description)])
    return Edit(
        ref=ref_of(asset.key.source),
        symbol=asset.key.symbol,
        values={_COLUMN_OF_PATH[path]: _value(asset, path) for path in set_},
        release=[_COLUMN_OF_PATH[path] for path in released],
        etag=asset.etag,
    )


def _value(asset: asset_pb2.Asset, path: str) -> Any:
    if path == "identity.identity_id":
        return asset.identity.identity_id
    if path == "asset_class":
        word = class_word(asset.asset_class)
        if word not in {class_word(number) for number in range(22)}:
            description = f"must be one of the classes of the contract, was {word}"
            raise InvalidArgument(
                f"asset.asset_class {description}.", violations=[FieldViolation("asset.asset_class", description)]
            )
        return word
    if path == "expire_time":
        return instant(asset.expire_time) if asset.HasField("expire_time") else None
    if path == "trading_rules":
        rules = asset.trading_rules
        return {
            column: decimal_of(getattr(rules, name), f"asset.trading_rules.{name}") if rules.HasField(name) else None  # type: ignore[arg-type]  # names of the message's fields
            for name, column in zip(_RULES, RULES, strict=True)
        }
    return getattr(asset, path)


def count_group(counts: Counts) -> asset_pb2.AssetCountGroup:
    """Return the counts of one dimension as a message."""
    return asset_pb2.AssetCountGroup(
        dimension=asset_pb2.AssetDimension.Value(f"ASSET_DIMENSION_{counts.dimension}"),
        counts=[asset_pb2.AssetCount(value=value, count=count) for value, count in counts.counts],
        value_count=counts.value_count,
    )


def match_report_message(report: MatchReport | None) -> asset_pb2.MatchReport | None:
    """Return what a match did as a message; None stays absent."""
    if report is None:
        return None
    return asset_pb2.MatchReport(
        examined=report.examined,
        already_identified=report.already_identified,
        exact=report.exact,
        fuzzy=report.fuzzy,
        proposed=report.proposed,
        unmatched=report.unmatched,
        deduplicated=report.deduplicated,
        dry_run=report.dry_run,
        elapsed=duration(report.elapsed_s),
    )


def sync_result(reports: Sequence[SourceReport]) -> asset_pb2.SyncAssetsResult:
    """Return what a sync did as a message."""
    return asset_pb2.SyncAssetsResult(reports=[_report(each) for each in reports])


def _report(report: SourceReport) -> asset_pb2.AssetSyncReport:
    found = report.discovered
    return asset_pb2.AssetSyncReport(
        source=ref_message(found.source.ref),
        received=found.received,
        added=found.merged.added,
        updated=found.merged.updated,
        unchanged=found.merged.unchanged,
        vanished=found.vanished,
        returned=found.merged.returned,
        rejected=found.rejected,
        rejections=[_rejection(each) for each in found.rejections],
        match=match_report_message(report.match),
        mappings_created=report.mappings.created if report.mappings else 0,
        mappings_skipped=report.mappings.skipped if report.mappings else 0,
        empty_answer=found.empty_answer,
        error=found.error,
        warnings=found.warnings,
        elapsed=duration(found.elapsed_s),
    )


def _rejection(row: RejectedRow) -> asset_pb2.RejectedAsset:
    return asset_pb2.RejectedAsset(symbol=row.symbol, position=row.position, message=row.message)


def operation_result(message: Message) -> OperationResult:
    """Return a message as the result of an operation."""
    return OperationResult(
        summary=json_format.MessageToDict(message, preserving_proto_field_name=True),
        type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}",
        message=message.SerializeToString(),
    )
