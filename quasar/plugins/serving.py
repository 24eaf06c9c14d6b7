"""Serves methods of the contract with bytes or messages, and turns what they raise into statuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from quasar.plugins.host.blame import told
from quasar.rpc.errors import DETAILS_KEY, code_of, to_status
from quasar.sdk.failures import Unauthorised

LEFT_S = 1.0
"""How long after a message could not be sent the library says at the latest that the service has ended the call."""

Rpc = grpc.aio.ServicerContext[Any, Any]
Redact = Callable[[str], str]


def handler(service: ServiceDescriptor, servicer: object, redact: Redact) -> grpc.GenericRpcHandler:
    """Serve an object's methods, which have the names of the contract.

    Unary methods return a message; streaming ones are coroutines that write bytes or messages to the `Rpc` they get.
    """
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in service.methods:
        behaviour = getattr(servicer, method.name, None)
        if behaviour is None:
            continue
        request: Any = message_factory.GetMessageClass(method.input_type)
        read = None if method.name in getattr(servicer, "RAW", ()) else request.FromString
        make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        methods[method.name] = make(_guarded(behaviour, redact), read, as_bytes)
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def as_bytes(message: Any) -> bytes:
    """Return a message in its serialised form."""
    return message.SerializeToString() if isinstance(message, Message) else bytes(message)


def _guarded(behaviour: Callable[[Any, Rpc], Awaitable[Any]], redact: Redact) -> Callable[[Any, Rpc], Awaitable[Any]]:
    async def serve(request: Any, rpc: Rpc) -> Any:
        try:
            return await behaviour(request, rpc)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the service ended the call
            await fail(rpc, RuntimeError("the code cancelled itself"), redact)
        except grpc.aio.AbortError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            if _unsent(error):
                await _until_left()
            await fail(rpc, error, redact)

    return serve


def _unsent(error: BaseException) -> bool:
    """Tell whether nothing else is wrong than that messages of the call could not be sent."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_unsent, error.exceptions))
    return isinstance(error, grpc.aio.InternalError)


async def _until_left() -> None:
    """Wait for the cancellation of a call that the service has ended: a write may fail before it, and is no failure.

    Raises:
        CancelledError: The service has ended the call.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    await asyncio.sleep(LEFT_S)


async def fail(rpc: Rpc, error: BaseException, redact: Redact) -> NoReturn:
    """End a call with the status of an error."""
    known = told(error)
    known.message = redact(known.message)
    if isinstance(known, Unauthorised):
        known.metadata["refused"] = "true"
    status = to_status(known, "")
    await rpc.abort(code_of(known), known.message, ((DETAILS_KEY, status.SerializeToString()),))
