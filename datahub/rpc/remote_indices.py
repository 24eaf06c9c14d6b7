"""The registry as the one that syncs indices, over gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, cast

from datahub.collection.index_sync import Synced, Syncing, SyncState
from quasar.client.channel import Channel
from quasar.errors import Internal, QuasarError, ServiceUnavailable
from quasar.rpc.errors import code_of, from_status
from quasar_proto.ops.v1 import operation_pb2
from quasar_proto.ops.v1 import operation_service_pb2 as ops
from quasar_proto.ops.v1 import operation_service_pb2_grpc as ops_stubs
from quasar_proto.registry.v1 import index_pb2
from quasar_proto.registry.v1 import index_service_pb2 as pb
from quasar_proto.registry.v1 import index_service_pb2_grpc as stubs

READY_S: Final = 3.0
"""A registry that takes no connection in this time is away."""
CALL_S: Final = 15.0
_REASON: Final = "the run of the DataHub was cancelled"


class RemoteIndices:
    """Implements `datahub.collection.index_sync.IndexRegistry`."""

    def __init__(self, registry: Channel) -> None:
        """Call through this channel."""
        self._registry = registry
        self._indices = registry.stub(stubs.IndexServiceStub)
        self._operations = registry.stub(ops_stubs.OperationServiceStub)

    async def begin(self, index: str, request_id: str) -> tuple[str, bool]:
        """Begin a sync; see `IndexRegistry.begin`."""
        await self._registry.ready(READY_S)
        answer = await self._indices.SyncIndex(pb.SyncIndexRequest(index=index, request_id=request_id), timeout=CALL_S)
        return answer.operation.operation_id, not answer.already_running

    async def look(self, operation: str) -> Syncing:
        """Return where an operation stands; see `IndexRegistry.look`."""
        await self._registry.ready(READY_S)
        request = ops.GetOperationRequest(operation_id=operation)
        return _syncing((await self._operations.GetOperation(request, timeout=CALL_S)).operation)

    async def follow(self, operation: str) -> Syncing:
        """Wait for the end of an operation; see `IndexRegistry.follow`."""
        watching = self._operations.WatchOperation(ops.WatchOperationRequest(operation_id=operation))
        async with aclosing(cast("AsyncGenerator[ops.WatchOperationResponse, None]", watching)) as changes:
            async for change in changes:
                found = _syncing(change.operation)
                if found.state is not SyncState.UNDER_WAY:
                    return found
        raise ServiceUnavailable("The registry stopped telling of the sync before its end.")

    async def cancel(self, operation: str) -> None:
        """Ask an operation to stop; see `IndexRegistry.cancel`."""
        await self._registry.ready(READY_S)
        await self._operations.CancelOperation(
            ops.CancelOperationRequest(operation_id=operation, reason=_REASON), timeout=CALL_S
        )


def _syncing(operation: operation_pb2.Operation) -> Syncing:
    if operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED:
        result = index_pb2.SyncIndexResult()
        if not operation.result.Unpack(result):
            raise Internal("The registry's answer to a sync of an index has no result.")
        return Syncing(SyncState.SUCCEEDED, _synced(result))
    if operation.state == operation_pb2.OPERATION_STATE_FAILED:
        return Syncing(SyncState.FAILED, error=from_status(operation.error, code_of(QuasarError())))
    if operation.state == operation_pb2.OPERATION_STATE_CANCELLED:
        return Syncing(SyncState.CANCELLED)
    return Syncing(SyncState.UNDER_WAY)


def _synced(result: index_pb2.SyncIndexResult) -> Synced:
    return Synced(
        constituents=result.received,
        added=result.diff.added,
        removed=result.diff.removed,
        reweighted=result.diff.weight_changed,
        unchanged=result.diff.unchanged,
        errors=tuple(f"{each.symbol or f'constituent {each.position}'}: {each.message}" for each in result.rejections),
        empty_answer=result.state == index_pb2.INDEX_SYNC_STATE_EMPTY_ANSWER,
        held_back=result.state == index_pb2.INDEX_SYNC_STATE_HELD_BACK,
        message=result.message,
    )
