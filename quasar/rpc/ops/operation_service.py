"""`quasar.ops.v1.OperationService` over `quasar.ops.operations`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from quasar.ops.operations import Operation, OperationError, Operations, Progress
from quasar.rpc.errors import CODE_OF_REASON, DOMAIN
from quasar.rpc.ops.actors import actor_message, calling_actor
from quasar.rpc.ops.streams import until_drained
from quasar.rpc.wellknown import duration, struct, timestamp
from quasar_proto.ops.v1 import operation_pb2, operation_service_pb2_grpc
from quasar_proto.ops.v1 import operation_service_pb2 as pb


class OperationService(operation_service_pb2_grpc.OperationServiceServicer):
    """Reads, watches and cancels the operations of one service."""

    def __init__(self, operations: Operations, draining: asyncio.Event) -> None:
        """Serve `operations`; streams end when `draining` is set."""
        self._operations = operations
        self._draining = draining

    async def GetOperation(self, request: pb.GetOperationRequest, context: Any) -> pb.GetOperationResponse:
        """Return one operation."""
        found = await self._operations.get(uuid.UUID(request.operation_id))
        return pb.GetOperationResponse(operation=operation_message(found))

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Any) -> pb.ListOperationsResponse:
        """Return a page of operations."""
        found, following = await self._operations.list(
            filter_text=request.filter, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListOperationsResponse(
            operations=[operation_message(each) for each in found], next_page_token=following
        )

    async def CancelOperation(self, request: pb.CancelOperationRequest, context: Any) -> pb.CancelOperationResponse:
        """Ask an operation to stop."""
        found = await self._operations.cancel(
            uuid.UUID(request.operation_id), reason=request.reason, actor=calling_actor()
        )
        return pb.CancelOperationResponse(operation=operation_message(found))

    async def WatchOperation(
        self, request: pb.WatchOperationRequest, context: Any
    ) -> AsyncGenerator[pb.WatchOperationResponse, None]:
        """Stream an operation at every change until it has ended."""

        async def changes() -> AsyncGenerator[pb.WatchOperationResponse, None]:
            async with aclosing(self._operations.watch(uuid.UUID(request.operation_id))) as states:
                async for found in states:
                    yield pb.WatchOperationResponse(operation=operation_message(found))

        async with aclosing(until_drained(changes(), self._draining)) as messages:
            async for message in messages:
                yield message


def operation_message(operation: Operation) -> operation_pb2.Operation:
    """Return an operation as a message; RPCs that begin operations return it too."""
    result = operation.result
    return operation_pb2.Operation(
        operation_id=str(operation.operation_id),
        kind=operation.kind,
        service=operation.service,
        subject=operation.subject,
        state=int(operation.state),  # type: ignore[arg-type]  # enum values travel as plain integers
        progress=_progress(operation.progress),
        error=_status(operation.error) if operation.error else None,
        result=AnyMessage(type_url=result.type_url, value=result.message) if result and result.type_url else None,
        result_summary=struct(result.summary) if result else None,
        actor=actor_message(operation.actor),
        create_time=timestamp(operation.create_time),
        start_time=timestamp(operation.start_time),
        update_time=timestamp(operation.update_time),
        end_time=timestamp(operation.end_time),
        attempts=operation.attempts,
        cancel_requested=operation.cancel_requested,
    )


def _progress(progress: Progress) -> operation_pb2.OperationProgress:
    return operation_pb2.OperationProgress(
        phase=progress.phase,
        done=progress.done,
        total=progress.total,
        unit=progress.unit,
        rate_limit_wait=duration(progress.wait_s),
        estimated_remaining=duration(progress.remaining_s),
        counters=progress.counters,
    )


def _status(error: OperationError) -> status_pb2.Status:
    code = CODE_OF_REASON.get(error.reason, CODE_OF_REASON["INTERNAL"])
    status = status_pb2.Status(code=code.value[0], message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    return status
