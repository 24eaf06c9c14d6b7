"""Calls with dataclass messages (betterproto2): plain attributes, enums and `datetime` values.

For the console, scripts and notebooks. Services and bulk data use `Channel.stub`: dataclass messages take 25 to 30
times as long to write and read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Generic, Protocol, Self, TypeVar, overload

from quasar.client.channel import Channel


class Message(Protocol):
    """A dataclass message."""

    def SerializeToString(self) -> bytes:  # the name that all protobuf libraries use
        """Return the message as it goes over the wire."""
        ...

    @classmethod
    def FromString(cls, data: bytes) -> Self:
        """Read a message."""
        ...


_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)


class TypedClient:
    """Calls any method by its name."""

    def __init__(self, channel: Channel) -> None:
        """Call through `channel`."""
        self._channel = channel

    async def unary(
        self, method: str, request: Message, response: type[_Response], *, timeout_s: float | None = None
    ) -> _Response:
        """Make a unary call.

        Args:
            method: `package.Service/Method`.
            request: The request.
            response: The class of the answer.
            timeout_s: Time for the call with its retries.

        Raises:
            quasar.errors.QuasarError: Whatever the service answered.
        """
        return await self._channel.unary(
            method, request, type(request).SerializeToString, response.FromString, timeout_s=timeout_s
        )

    def stream(
        self, method: str, request: Message, response: type[_Response], *, timeout_s: float | None = None
    ) -> AsyncGenerator[_Response]:
        """Open a server stream; see `unary` and `Channel.stream`."""
        return self._channel.stream(
            method, request, type(request).SerializeToString, response.FromString, timeout_s=timeout_s
        )


class Service:
    """A service of the contract as an object; its methods are declared with `Unary` and `Stream`."""

    name: str
    """`package.Service`."""

    def __init__(self, channel: Channel) -> None:
        """Call through `channel`."""
        self.client = TypedClient(channel)


class BoundUnary(Generic[_Request, _Response]):
    """A unary method of a service at an address."""

    def __init__(self, service: Service, method: Unary[_Request, _Response]) -> None:
        """Bind the method to a service."""
        self._service = service
        self._method = method

    async def __call__(self, request: _Request, *, timeout_s: float | None = None) -> _Response:
        """Call the method; see `TypedClient.unary`."""
        method = self._method
        return await self._service.client.unary(
            f"{self._service.name}/{method.name}", request, method.response, timeout_s=timeout_s
        )


class BoundStream(Generic[_Request, _Response]):
    """A streaming method of a service at an address."""

    def __init__(self, service: Service, method: Stream[_Request, _Response]) -> None:
        """Bind the method to a service."""
        self._service = service
        self._method = method

    def __call__(self, request: _Request, *, timeout_s: float | None = None) -> AsyncGenerator[_Response]:
        """Open the stream; see `TypedClient.stream`."""
        method = self._method
        return self._service.client.stream(
            f"{self._service.name}/{method.name}", request, method.response, timeout_s=timeout_s
        )


class Unary(Generic[_Request, _Response]):
    """Declares a unary method in a class of service."""

    def __init__(self, name: str, request: type[_Request], response: type[_Response]) -> None:
        """Declare the method with its name in the contract and the classes of its messages."""
        self.name = name
        self.request = request
        self.response = response

    @overload
    def __get__(self, service: None, owner: type) -> Self: ...
    @overload
    def __get__(self, service: Service, owner: type) -> BoundUnary[_Request, _Response]: ...
    def __get__(self, service: Service | None, owner: type) -> Any:
        """Return the declaration on the class, the call on an object."""
        return self if service is None else BoundUnary(service, self)


class Stream(Generic[_Request, _Response]):
    """Declares a streaming method in a class of service."""

    def __init__(self, name: str, request: type[_Request], response: type[_Response]) -> None:
        """Declare the method with its name in the contract and the classes of its messages."""
        self.name = name
        self.request = request
        self.response = response

    @overload
    def __get__(self, service: None, owner: type) -> Self: ...
    @overload
    def __get__(self, service: Service, owner: type) -> BoundStream[_Request, _Response]: ...
    def __get__(self, service: Service | None, owner: type) -> Any:
        """Return the declaration on the class, the call on an object."""
        return self if service is None else BoundStream(service, self)
