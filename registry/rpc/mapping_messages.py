"""Common symbols, mappings, suggestions and re-maps as messages of the contract."""

from __future__ import annotations

from collections.abc import Sequence

from quasar.rpc.ops.actors import actor_message
from quasar.rpc.wellknown import duration, timestamp
from quasar_proto.registry.v1 import mapping_pb2
from quasar_proto.registry.v1 import mapping_service_pb2 as pb
from registry.code.refs import CodeKind
from registry.mappings.automatic import CHANGED, CREATED, REMOVED, Change
from registry.mappings.editing import MappingChange, NewMapping
from registry.mappings.generation import Generated
from registry.mappings.remaps import Remapped, RemapPlan, RemapScope
from registry.mappings.resolving import SymbolQuery, SymbolResolution
from registry.mappings.suggestions import LEAST_SCORE, Suggestion, SuggestionQuery
from registry.rpc.asset_messages import asset_message, key_message, key_of
from registry.rpc.code_messages import kind_number, kind_of, ref_message, ref_of
from registry.rpc.words import class_number, class_word, mask_paths, state_number
from registry.store.mappings import CommonSymbol, Mapping


def common_symbol_message(symbol: CommonSymbol) -> mapping_pb2.CommonSymbol:
    """Return a common symbol as a message."""
    return mapping_pb2.CommonSymbol(
        symbol=symbol.symbol,
        description=symbol.description,
        asset_class=class_number(symbol.asset_class),
        identity_id=symbol.identity_id,
        mapping_count=symbol.mapping_count,
        provider_count=symbol.provider_count,
        broker_count=symbol.broker_count,
        index_count=symbol.index_count,
        subscription_count=symbol.subscription_count,
        explicit=symbol.explicit,
        create_time=timestamp(symbol.created_at),
        update_time=timestamp(symbol.updated_at),
        etag=str(symbol.revision),
    )


def mapping_message(mapping: Mapping) -> mapping_pb2.Mapping:
    """Return a mapping as a message."""
    return mapping_pb2.Mapping(
        asset=key_message(mapping.source_kind, mapping.source_name, mapping.symbol),
        common_symbol=mapping.common_symbol,
        active=mapping.active,
        origin=mapping_pb2.MappingOrigin.Value(f"MAPPING_ORIGIN_{mapping.origin}"),
        reason=mapping.reason,
        asset_name=mapping.asset_name,
        asset_class=class_number(mapping.asset_class),
        exchange=mapping.exchange,
        quote_currency=mapping.quote_currency,
        identity_id=mapping.identity_id,
        asset_state=state_number(mapping.asset_state),
        create_time=timestamp(mapping.created_at),
        update_time=timestamp(mapping.updated_at),
        updated_by=actor_message(mapping.changed_by) if mapping.origin != "AUTOMATIC" else None,
        etag=str(mapping.revision),
    )


def new_mapping_of(message: pb.NewMapping) -> NewMapping:
    """Return the mapping that a message asks for."""
    return NewMapping(asset=key_of(message.asset), common_symbol=message.common_symbol, active=not message.inactive)


def change_of(request: pb.UpdateMappingRequest) -> MappingChange:
    """Return the change that a request asks for.

    Raises:
        InvalidArgument: The mask is empty or names another field.
    """
    paths = mask_paths(request.update_mask, ("common_symbol", "active"), "update_mask", empty=False)
    mapping = request.mapping
    return MappingChange(
        asset=key_of(mapping.asset),
        common_symbol=mapping.common_symbol if "common_symbol" in paths else None,
        active=mapping.active if "active" in paths else None,
        etag=mapping.etag,
    )


def query_of(query: pb.SymbolQuery) -> SymbolQuery:
    """Return a symbol to translate."""
    if query.WhichOneof("known") == "asset":
        return SymbolQuery(asset=key_of(query.asset))
    return SymbolQuery(common_symbol=query.common_symbol)


def resolution_message(resolution: SymbolResolution) -> pb.SymbolResolution:
    """Return a translated symbol as a message."""
    return pb.SymbolResolution(
        state=pb.ResolutionState.Value(f"RESOLUTION_STATE_{resolution.state}"),
        common_symbol=resolution.common_symbol,
        assets=[key_message(str(ref.kind), ref.name, symbol) for ref, symbol in resolution.assets],
    )


def suggestion_query_of(request: pb.SuggestMappingsRequest) -> SuggestionQuery:
    """Return what a request wants suggested."""
    return SuggestionQuery(
        source=ref_of(request.source),
        target=ref_of(request.target) if request.HasField("target") else None,
        search=request.search,
        min_score=request.min_score if request.HasField("min_score") else LEAST_SCORE,
        asset_classes=[class_word(each) for each in request.asset_classes],
        best_only=request.best_only,
        page_size=request.page_size,
        page_token=request.page_token,
        include_total=request.include_total,
    )


def suggestion_message(suggestion: Suggestion) -> mapping_pb2.MappingSuggestion:
    """Return a suggestion as a message."""
    score = suggestion.score
    return mapping_pb2.MappingSuggestion(
        source=asset_message(suggestion.source),
        target=asset_message(suggestion.target),
        common_symbol=suggestion.common_symbol,
        score=mapping_pb2.SuggestionScore(
            total=score.total,
            identity_points=score.identity_points,
            external_id_points=score.external_id_points,
            symbol_points=score.symbol_points,
            currency_points=score.currency_points,
            exchange_points=score.exchange_points,
            symbol_similarity_points=score.symbol_similarity_points,
            name_similarity_points=score.name_similarity_points,
        ),
        same_identity=score.identity_points > 0,
        conflict=suggestion.conflict,
    )


def change_message(change: Change) -> mapping_pb2.MappingChange:
    """Return what becomes of an asset as a message."""
    asset = change.asset
    return mapping_pb2.MappingChange(
        asset=key_message(asset.source_kind, asset.source_name, asset.symbol),
        outcome=mapping_pb2.MappingOutcome.Value(f"MAPPING_OUTCOME_{change.outcome}"),
        before=change.before,
        after=change.after,
        reason=change.reason,
    )


def generated_message(generated: Generated) -> mapping_pb2.GenerateMappingsResult:
    """Return what automated mapping did as a message."""
    counts = generated.counts
    return mapping_pb2.GenerateMappingsResult(
        created=counts[CREATED],
        unchanged=counts["UNCHANGED"] + counts["KEPT_MANUAL"],
        skipped=counts["SKIPPED"],
        failed=counts["FAILED"],
        common_symbols_created=generated.common_symbols_created,
        changes=_changes(generated.changes),
        dry_run=generated.dry_run,
        elapsed=duration(generated.elapsed_s),
    )


def _changes(changes: Sequence[Change]) -> list[mapping_pb2.MappingChange]:
    return [change_message(change) for change in changes]


def scope_of(message: mapping_pb2.RemapScope) -> RemapScope:
    """Return the scope that a message names."""
    return RemapScope(
        refs=[ref_of(each) for each in message.sources],
        kinds=[str(kind_of(each)) for each in message.kinds],
        everything=message.everything,
        asset_classes=[class_word(each) for each in message.asset_classes],
        common_symbols=list(message.common_symbols),
    )


def _scope_message(scope: RemapScope) -> mapping_pb2.RemapScope:
    return mapping_pb2.RemapScope(
        sources=[ref_message(each) for each in scope.refs],
        kinds=[kind_number(CodeKind(each)) for each in scope.kinds],
        everything=scope.everything,
        asset_classes=[class_number(each) for each in scope.asset_classes],
        common_symbols=scope.common_symbols,
    )


def plan_message(plan: RemapPlan) -> mapping_pb2.RemapPlan:
    """Return a plan as a message."""
    counts = plan.counts
    return mapping_pb2.RemapPlan(
        scope=_scope_message(plan.scope),
        automatic_mappings=plan.automatic,
        kept_manual=counts["KEPT_MANUAL"],
        created=counts[CREATED],
        changed=counts[CHANGED],
        removed=counts[REMOVED],
        unchanged=counts["UNCHANGED"],
        failed=counts["FAILED"],
        sources=[ref_message(each) for each in plan.sources],
        affected_indices=[
            mapping_pb2.AffectedIndex(index=index, unmapped_members=members) for index, members in plan.indices
        ],
        common_symbols_removed=plan.symbols_removed[:1000],
        affected_subscriptions=plan.subscriptions,
        changes=_changes(plan.reported),
        plan_etag=plan.etag,
    )


def remapped_message(remapped: Remapped) -> mapping_pb2.RemapResult:
    """Return what a re-map did as a message."""
    return mapping_pb2.RemapResult(plan=plan_message(remapped.plan), elapsed=duration(remapped.elapsed_s))
