"""The operations of the registry: what does each kind, and its result as the message that the contract names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import OperationResult
from quasar.ops.runner import Handler, OperationRunner
from registry.assets import syncs
from registry.identities import imports
from registry.indices import syncs as index_syncs
from registry.mappings import generation, remaps
from registry.matching import matches
from registry.rpc.asset_messages import match_report_message, operation_result, sync_result
from registry.rpc.identity_messages import import_result
from registry.rpc.index_messages import sync_message
from registry.rpc.mapping_messages import generated_message, remapped_message
from registry.workshop import Workshop


def register_operations(runner: OperationRunner, workshop: Workshop) -> None:
    """Let a runner do every kind of operation that the workshop knows."""
    for kind, handler in _handlers(workshop).items():
        runner.register(kind, handler)


def _handlers(workshop: Workshop) -> Mapping[str, Handler]:
    return {
        syncs.KIND: _told(workshop.syncs.run, sync_result),
        imports.KIND: _told(workshop.imports.run, import_result),
        matches.KIND: _told(workshop.matches.run, match_report_message),
        generation.KIND: _told(workshop.generation.run, generated_message),
        remaps.KIND: _told(workshop.remaps.run, remapped_message),
        index_syncs.KIND: _told(workshop.index_syncs.run, sync_message),
    }


def _told(work: Callable[[OperationContext], Awaitable[Any]], message: Callable[[Any], Message | None]) -> Handler:
    """Return a handler that does some work and returns its result as a message."""

    async def handle(context: OperationContext) -> OperationResult:
        written = message(await work(context))
        return OperationResult() if written is None else operation_result(written)

    return handle
