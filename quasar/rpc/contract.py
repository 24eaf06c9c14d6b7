"""What the contract says of a method: its messages, whether it streams, the role it needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from quasar import errors
from quasar.rpc.caller import VIEWER
from quasar_proto.buf.validate import validate_pb2
from quasar_proto.common.v1 import access_pb2

OPEN: Final = 0
"""Role of the methods that need no token."""

# Services that are not ours carry no option of ours: health is open to probes, reflection needs any valid token.
_FOREIGN: Final = {
    "grpc.health.v1.Health": OPEN,
    "grpc.reflection.v1.ServerReflection": VIEWER,
    "grpc.reflection.v1alpha.ServerReflection": VIEWER,
}


@dataclass(frozen=True, slots=True)
class Method:
    """One method as the server needs to know it."""

    service: str
    """Full name of its service."""
    name: str
    """`package.Service/Method`: what logs, metrics and `CallContext` call it."""
    role: int
    """The least role that a caller needs; `OPEN` when no token is needed."""
    parse: Callable[[bytes], Message]
    """Reads a request."""
    client_streaming: bool
    server_streaming: bool
    has_rules: bool
    """Whether the request, or a message in it, has rules to be validated."""
    quiet: bool
    """Called by machines all the time: logged at debug only."""

    @property
    def path(self) -> str:
        """The path of the method on the wire."""
        return f"/{self.name}"


def service_of(servicer: object) -> tuple[ServiceDescriptor, type]:
    """Return the service that a servicer implements and the generated class that it extends.

    Raises:
        quasar.errors.StartupError: The object extends no generated `…Servicer` class.
    """
    for base in type(servicer).__mro__:
        if base.__name__.endswith("Servicer") and base.__module__.endswith("_pb2_grpc"):
            messages = importlib.import_module(base.__module__.removesuffix("_grpc"))
            name = base.__name__.removesuffix("Servicer")
            return messages.DESCRIPTOR.services_by_name[name], base
    kind = type(servicer).__qualname__
    raise errors.StartupError(f"A servicer must extend a generated `…Servicer` class, was {kind}.")


def methods_of(service: ServiceDescriptor) -> Iterator[tuple[str, Method]]:
    """Yield the methods of a service with their short names.

    Raises:
        quasar.errors.StartupError: A method names no required role.
    """
    foreign = _FOREIGN.get(service.full_name)
    for method in service.methods:
        role = required_role(method) if foreign is None else foreign
        request: Any = message_factory.GetMessageClass(method.input_type)
        yield (
            method.name,
            Method(
                service=service.full_name,
                name=f"{service.full_name}/{method.name}",
                role=role,
                parse=request.FromString,
                client_streaming=method.client_streaming,
                server_streaming=method.server_streaming,
                has_rules=has_rules(method.input_type),
                quiet=foreign is not None,
            ),
        )


def has_rules(message: Any, seen: frozenset[str] = frozenset()) -> bool:
    """Tell whether a message or one that can be in it has rules of `buf.validate`."""
    if message.full_name in seen:
        return False
    seen |= {message.full_name}
    options = [message.GetOptions().HasExtension(validate_pb2.message)]
    options += [oneof.GetOptions().HasExtension(validate_pb2.oneof) for oneof in message.oneofs]
    options += [field.GetOptions().HasExtension(validate_pb2.field) for field in message.fields]
    return any(options) or any(has_rules(field.message_type, seen) for field in message.fields if field.message_type)


def required_role(method: MethodDescriptor) -> int:
    """Return the role that the contract demands of callers of a method.

    Raises:
        quasar.errors.StartupError: The method has no `required_role` option; the message names it.
    """
    role = int(method.GetOptions().Extensions[access_pb2.required_role])
    if role == access_pb2.ROLE_UNSPECIFIED:
        name = f"{method.containing_service.full_name}/{method.name}"
        raise errors.StartupError(
            f"{name} must name the role that it needs: add `option (quasar.common.v1.required_role)` in the contract."
        )
    return role
