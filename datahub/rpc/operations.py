"""The DataHub's operations: what does them, and their results as messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from datahub.collection.backfill import KIND as BACKFILL_KIND
from datahub.collection.backfill import Backfills
from datahub.collection.repairs import KIND as REPAIR_KIND
from datahub.collection.repairs import GapRepairs
from datahub.providers.entry import ProviderEntry
from datahub.rpc.run_messages import counts_message, run_state
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import OperationResult
from quasar.ops.runner import OperationRunner
from quasar_proto.datahub.v1 import collection_service_pb2 as pb

_COUNTED = (
    "fetched",
    "inserted",
    "updated",
    "unchanged",
    "quarantined",
    "bytes",
    "vendor_calls",
    "wait_s",
    "slots_done",
    "slots_total",
    "slots_gap",
)


def register(
    runner: OperationRunner,
    backfills: Backfills,
    repairs: GapRepairs,
    providers: Callable[[], Awaitable[Mapping[str, ProviderEntry]]],
) -> None:
    """Have `runner` do the operations of the DataHub."""

    async def backfill(context: OperationContext) -> OperationResult:
        figures = await backfills.run(context, await providers())
        result = pb.BackfillResult(
            counts=counts_message({name: figures.sums.get(name, 0) for name in _COUNTED}),
            batch_id=str(context.operation.operation_id),
        )
        for state, count in figures.states.items():
            result.run_states.add(state=run_state(state), count=count)
        return result_of(result)

    async def repair(context: OperationContext) -> OperationResult:
        return result_of(pb.RepairGapsResult(**asdict(await repairs.run(context))))

    runner.register(BACKFILL_KIND, backfill)
    runner.register(REPAIR_KIND, repair)


def result_of(message: Message) -> OperationResult:
    """Return a result that is a message of the contract."""
    packed = AnyMessage()
    packed.Pack(message)
    summary = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return OperationResult(summary, packed.type_url, packed.value)
