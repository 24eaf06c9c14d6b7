"""`quasar.registry.v1.MappingService`: translation only."""

from __future__ import annotations

from typing import Any

from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.ops.operation_service import operation_message
from quasar_proto.registry.v1 import mapping_service_pb2 as pb
from quasar_proto.registry.v1 import mapping_service_pb2_grpc as stubs
from registry.mappings import editing, symbols
from registry.mappings.generation import GenerationRequest
from registry.mappings.listing import COMMON_SYMBOLS
from registry.mappings.pages import list_mappings
from registry.mappings.resolving import resolve_symbols
from registry.mappings.suggestions import AppliedSuggestion
from registry.rpc import mapping_messages as messages
from registry.rpc.asset_messages import key_of
from registry.rpc.code_messages import ref_of
from registry.rpc.index_messages import membership_message
from registry.rpc.words import class_word, mark_of
from registry.store import mappings as table
from registry.store.listing import Query
from registry.store.statements import SQL
from registry.workshop import Workshop


class MappingService(stubs.MappingServiceServicer):
    """Common symbols and their mappings."""

    def __init__(self, workshop: Workshop) -> None:
        """Serve what the workshop does."""
        self._shop = workshop
        self._ground = workshop.ground

    async def CreateCommonSymbol(
        self, request: pb.CreateCommonSymbolRequest, context: Any
    ) -> pb.CreateCommonSymbolResponse:
        """Create a common symbol without mappings."""
        found = await symbols.create_symbol(
            self._ground,
            request.symbol,
            request.description,
            mark_of("CreateCommonSymbol", request),
            calling_actor(),
            validate_only=request.validate_only,
        )
        return pb.CreateCommonSymbolResponse(common_symbol=messages.common_symbol_message(found))

    async def GetCommonSymbol(self, request: pb.GetCommonSymbolRequest, context: Any) -> pb.GetCommonSymbolResponse:
        """Return a common symbol and what belongs to it."""
        known = await symbols.get_symbol(self._ground.database, request.symbol)
        return pb.GetCommonSymbolResponse(
            common_symbol=messages.common_symbol_message(known.symbol),
            mappings=[messages.mapping_message(each) for each in known.mappings],
            memberships=[membership_message(known.symbol.symbol, each) for each in known.memberships],
        )

    async def ListCommonSymbols(
        self, request: pb.ListCommonSymbolsRequest, context: Any
    ) -> pb.ListCommonSymbolsResponse:
        """Return a page of common symbols."""
        page = await COMMON_SYMBOLS.page(self._ground.database, SQL["common_symbol_page"], _query(request))
        found = [messages.common_symbol_message(table.common_symbol(row)) for row in page.rows]
        return pb.ListCommonSymbolsResponse(common_symbols=found, next_page_token=page.next_page_token)

    async def RenameCommonSymbol(
        self, request: pb.RenameCommonSymbolRequest, context: Any
    ) -> pb.RenameCommonSymbolResponse:
        """Rename a common symbol with all that names it."""
        renamed = await symbols.rename_symbol(
            self._ground,
            request.symbol,
            request.new_symbol,
            request.etag,
            calling_actor(),
            validate_only=request.validate_only,
        )
        return pb.RenameCommonSymbolResponse(
            common_symbol=messages.common_symbol_message(renamed.symbol),
            mappings_updated=renamed.mappings,
            memberships_updated=renamed.memberships,
            subscriptions_updated=renamed.subscriptions,
        )

    async def DeleteCommonSymbol(
        self, request: pb.DeleteCommonSymbolRequest, context: Any
    ) -> pb.DeleteCommonSymbolResponse:
        """Delete a common symbol with its mappings."""
        deleted = await symbols.delete_symbol(
            self._ground,
            request.symbol,
            request.etag,
            calling_actor(),
            force=request.force,
            validate_only=request.validate_only,
        )
        return pb.DeleteCommonSymbolResponse(
            mappings=[messages.mapping_message(each) for each in deleted.mappings],
            indices=deleted.indices,
            subscription_ids=deleted.subscriptions,
        )

    async def CreateMapping(self, request: pb.CreateMappingRequest, context: Any) -> pb.CreateMappingResponse:
        """Map an asset."""
        made = await self._shop.mappings.create(
            [messages.new_mapping_of(request.mapping)],
            mark_of("CreateMapping", request),
            calling_actor(),
            validate_only=request.validate_only,
        )
        return pb.CreateMappingResponse(mapping=messages.mapping_message(made[0]))

    async def GetMapping(self, request: pb.GetMappingRequest, context: Any) -> pb.GetMappingResponse:
        """Return a mapping."""
        ref, symbol = key_of(request.asset)
        row = await self._ground.database.fetchrow(SQL["mapping_one"], str(ref.kind), ref.name, symbol)
        if row is None:
            raise editing.unmapped((ref, symbol))
        return pb.GetMappingResponse(mapping=messages.mapping_message(table.mapping(row)))

    async def ListMappings(self, request: pb.ListMappingsRequest, context: Any) -> pb.ListMappingsResponse:
        """Return a page of mappings."""
        page = await list_mappings(self._ground.database, _query(request))
        found = [messages.mapping_message(table.mapping(row)) for row in page.rows]
        return pb.ListMappingsResponse(mappings=found, next_page_token=page.next_page_token)

    async def UpdateMapping(self, request: pb.UpdateMappingRequest, context: Any) -> pb.UpdateMappingResponse:
        """Change a mapping."""
        changed = await self._shop.mappings.update([messages.change_of(request)], calling_actor())
        return pb.UpdateMappingResponse(mapping=messages.mapping_message(changed[0]))

    async def DeleteMapping(self, request: pb.DeleteMappingRequest, context: Any) -> pb.DeleteMappingResponse:
        """Delete a mapping."""
        removed = await self._shop.mappings.delete([(key_of(request.asset), request.etag)], calling_actor())
        return pb.DeleteMappingResponse(common_symbol_removed=bool(removed.common_symbols))

    async def BatchCreateMappings(
        self, request: pb.BatchCreateMappingsRequest, context: Any
    ) -> pb.BatchCreateMappingsResponse:
        """Map several assets, all or none."""
        made = await self._shop.mappings.create(
            [messages.new_mapping_of(each) for each in request.mappings],
            mark_of("BatchCreateMappings", request),
            calling_actor(),
            batch="mappings",
            validate_only=request.validate_only,
        )
        return pb.BatchCreateMappingsResponse(mappings=[messages.mapping_message(each) for each in made])

    async def BatchUpdateMappings(
        self, request: pb.BatchUpdateMappingsRequest, context: Any
    ) -> pb.BatchUpdateMappingsResponse:
        """Change several mappings, all or none."""
        changed = await self._shop.mappings.update(
            [messages.change_of(each) for each in request.requests],
            calling_actor(),
            batch="requests",
            validate_only=request.validate_only,
        )
        return pb.BatchUpdateMappingsResponse(mappings=[messages.mapping_message(each) for each in changed])

    async def BatchDeleteMappings(
        self, request: pb.BatchDeleteMappingsRequest, context: Any
    ) -> pb.BatchDeleteMappingsResponse:
        """Delete several mappings, all or none."""
        removed = await self._shop.mappings.delete(
            [(key_of(each.asset), each.etag) for each in request.requests],
            calling_actor(),
            batch="requests",
            validate_only=request.validate_only,
        )
        return pb.BatchDeleteMappingsResponse(deleted=removed.deleted, common_symbols_removed=removed.common_symbols)

    async def ResolveSymbols(self, request: pb.ResolveSymbolsRequest, context: Any) -> pb.ResolveSymbolsResponse:
        """Translate symbols."""
        found = await resolve_symbols(
            self._ground.database,
            [messages.query_of(each) for each in request.queries],
            [ref_of(each) for each in request.targets],
        )
        return pb.ResolveSymbolsResponse(resolutions=[messages.resolution_message(each) for each in found])

    async def SuggestMappings(self, request: pb.SuggestMappingsRequest, context: Any) -> pb.SuggestMappingsResponse:
        """Return a page of suggestions."""
        page = await self._shop.suggestions.find(messages.suggestion_query_of(request))
        return pb.SuggestMappingsResponse(
            suggestions=[messages.suggestion_message(each) for each in page.suggestions],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    async def ApplySuggestions(self, request: pb.ApplySuggestionsRequest, context: Any) -> pb.ApplySuggestionsResponse:
        """Make mappings from suggestions, all or none."""
        made = await self._shop.suggestions.apply(
            [AppliedSuggestion(key_of(e.source), key_of(e.target), e.common_symbol) for e in request.suggestions],
            mark_of("ApplySuggestions", request),
            calling_actor(),
            validate_only=request.validate_only,
        )
        return pb.ApplySuggestionsResponse(mappings=[messages.mapping_message(each) for each in made])

    async def GenerateMappings(self, request: pb.GenerateMappingsRequest, context: Any) -> pb.GenerateMappingsResponse:
        """Begin automated mapping."""
        wanted = GenerationRequest(
            ref=ref_of(request.source) if request.WhichOneof("scope") == "source" else None,
            asset_classes=[class_word(each) for each in request.asset_classes],
            dry_run=request.dry_run,
            request_id=request.request_id,
        )
        operation = await self._shop.generation.begin(wanted, calling_actor())
        return pb.GenerateMappingsResponse(operation=operation_message(operation))

    async def PreviewRemap(self, request: pb.PreviewRemapRequest, context: Any) -> pb.PreviewRemapResponse:
        """Work out what a re-map would do."""
        plan = await self._shop.remaps.preview(messages.scope_of(request.scope))
        return pb.PreviewRemapResponse(plan=messages.plan_message(plan))

    async def Remap(self, request: pb.RemapRequest, context: Any) -> pb.RemapResponse:
        """Begin a re-map."""
        operation = await self._shop.remaps.begin(
            messages.scope_of(request.scope), request.plan_etag, request.request_id, calling_actor()
        )
        return pb.RemapResponse(operation=operation_message(operation))


def _query(request: Any) -> Query:
    """Return what a list request asks for."""
    return Query(
        filter=request.filter, order_by=request.order_by, page_size=request.page_size, page_token=request.page_token
    )
