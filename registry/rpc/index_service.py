"""`quasar.registry.v1.IndexService`: translation only."""

from __future__ import annotations

from typing import Any

from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.ops.operation_service import operation_message
from quasar.rpc.wellknown import instant, timestamp
from quasar_proto.registry.v1 import index_service_pb2 as pb
from quasar_proto.registry.v1 import index_service_pb2_grpc as stubs
from registry.indices import reading
from registry.indices.indices import MemberSave
from registry.indices.reading import TimelineQuery
from registry.rpc import index_messages as messages
from registry.rpc.words import mark_of
from registry.store.listing import Query
from registry.workshop import Workshop


class IndexService(stubs.IndexServiceServicer):
    """User indices, provider indices, their members and their history."""

    def __init__(self, workshop: Workshop) -> None:
        """Serve what the workshop does."""
        self._shop = workshop
        self._ground = workshop.ground

    async def CreateIndex(self, request: pb.CreateIndexRequest, context: Any) -> pb.CreateIndexResponse:
        """Create a user index."""
        found = await self._shop.indices.create(
            request.name,
            request.description,
            messages.new_members(request.members),
            mark_of("CreateIndex", request),
            calling_actor(),
            validate_only=request.validate_only,
        )
        return pb.CreateIndexResponse(index=messages.index_message(found))

    async def GetIndex(self, request: pb.GetIndexRequest, context: Any) -> pb.GetIndexResponse:
        """Return an index."""
        return pb.GetIndexResponse(index=messages.index_message(await self._shop.indices.get(request.name)))

    async def ListIndices(self, request: pb.ListIndicesRequest, context: Any) -> pb.ListIndicesResponse:
        """Return a page of indices."""
        await self._shop.indices.reconcile()
        found, following, total = await reading.list_indices(self._ground.database, _query(request))
        return pb.ListIndicesResponse(
            indices=[messages.index_message(each) for each in found], next_page_token=following, total_size=total
        )

    async def UpdateIndex(self, request: pb.UpdateIndexRequest, context: Any) -> pb.UpdateIndexResponse:
        """Change name, description or schedule."""
        found = await self._shop.indices.update(messages.change_of(request), calling_actor())
        return pb.UpdateIndexResponse(index=messages.index_message(found))

    async def DeleteIndex(self, request: pb.DeleteIndexRequest, context: Any) -> pb.DeleteIndexResponse:
        """Delete an index with its members and history."""
        deleted = await self._shop.indices.delete(
            request.name, request.etag, calling_actor(), validate_only=request.validate_only
        )
        return pb.DeleteIndexResponse(
            members=deleted.members,
            periods=deleted.periods,
            subscription_ids=deleted.subscriptions,
            instances=deleted.instances,
        )

    async def ListIndexMembers(self, request: pb.ListIndexMembersRequest, context: Any) -> pb.ListIndexMembersResponse:
        """Return a page of members, now or at an instant."""
        asked = request.HasField("as_of")
        as_of = instant(request.as_of) if asked else self._ground.clock.now()
        mark = request.as_of.ToJsonString() if asked else ""
        await self._shop.indices.reconcile()
        page = await reading.list_members(self._ground.database, request.index, as_of, _query(request), mark)
        return pb.ListIndexMembersResponse(
            members=[messages.member_message(page.index, each) for each in page.members],
            next_page_token=page.next_page_token,
            total_size=page.total,
            as_of=timestamp(as_of),
        )

    async def SetIndexMembers(self, request: pb.SetIndexMembersRequest, context: Any) -> pb.SetIndexMembersResponse:
        """Make the members of a user index others."""
        save = MemberSave(
            index=request.index,
            members=messages.new_members(request.members),
            since=instant(request.effective_time) if request.HasField("effective_time") else None,
            etag=request.etag,
            allow_empty=request.allow_empty,
            validate_only=request.validate_only,
        )
        diff, found = await self._shop.indices.set_members(save, calling_actor())
        return pb.SetIndexMembersResponse(diff=messages.diff_message(diff), index=messages.index_message(found))

    async def SyncIndex(self, request: pb.SyncIndexRequest, context: Any) -> pb.SyncIndexResponse:
        """Begin a sync."""
        operation, running = await self._shop.index_syncs.begin(
            request.index,
            calling_actor(),
            as_of=instant(request.as_of) if request.HasField("as_of") else None,
            allow_large_removal=request.allow_large_removal,
            request_id=request.request_id,
        )
        return pb.SyncIndexResponse(operation=operation_message(operation), already_running=running)

    async def PreviewIndexSync(self, request: pb.PreviewIndexSyncRequest, context: Any) -> pb.PreviewIndexSyncResponse:
        """Return what a sync would write."""
        found = await self._shop.index_syncs.preview(request.index)
        return pb.PreviewIndexSyncResponse(result=messages.sync_message(found))

    async def GetIndexTimeline(self, request: pb.GetIndexTimelineRequest, context: Any) -> pb.GetIndexTimelineResponse:
        """Return the changes of an index by day."""
        query = TimelineQuery(
            index=request.index,
            start=instant(request.start_time) if request.HasField("start_time") else None,
            end=instant(request.end_time) if request.HasField("end_time") else None,
            symbol=request.symbol.strip(),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        await self._shop.indices.reconcile()
        days, following = await reading.timeline(self._ground.database, query)
        return pb.GetIndexTimelineResponse(
            days=[messages.day_message(each) for each in days], next_page_token=following
        )


def _query(request: Any) -> Query:
    """Return what a list request asks for."""
    return Query(
        filter=request.filter, order_by=request.order_by, page_size=request.page_size, page_token=request.page_token
    )
