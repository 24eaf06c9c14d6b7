"""One call: a grpc-web request in, a gRPC call out, and its messages back as they come.

Messages pass as bytes; the gateway never parses one. A unary method is called as a stream of one response, which is the
same on the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
from aiohttp import web
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from grpc_gateway import framing, headers
from grpc_gateway.routes import Route
from quasar import errors, logs

_log = logs.get("gateway.proxy")
_STATUS_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended: what the trailers frame says."""

    code: int
    message: str
    metadata: tuple[tuple[str, str | bytes], ...] = ()

    def frame(self) -> bytes:
        """Return the trailers frame."""
        return framing.trailers_frame(self.code, self.message, self.metadata)


OK = Ending(0, "")


def _identity(data: bytes) -> bytes:
    return data


def ending(code: grpc.StatusCode, reason: str, message: str, facts: Mapping[str, str] | None = None) -> Ending:
    """Return an ending of the gateway's own, with the error details that services send."""
    number = int(code.value[0])
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="quasar", metadata=dict(facts or {})))
    status = status_pb2.Status(code=number, message=message, details=[detail])
    return Ending(number, message, ((_STATUS_DETAILS, status.SerializeToString()),))


def rejected(error: errors.InvalidArgument) -> Ending:
    """Return the ending for a request that the gateway itself refuses."""
    return ending(grpc.StatusCode.INVALID_ARGUMENT, error.reason, error.message)


def ending_of(error: grpc.aio.AioRpcError, service: str) -> Ending:
    """Return the ending that a service's error leads to.

    What gRPC itself says of a failed connection names addresses inside the platform, so it is replaced; what a service
    says passes as it is.
    """
    trailing = tuple((str(key), value) for key, value in error.trailing_metadata() or ())
    from_service = any(key == _STATUS_DETAILS for key, _ in trailing)
    if error.code() is grpc.StatusCode.UNAVAILABLE and not from_service:
        message = f"The {service} service does not answer; try again in a moment."
        return ending(grpc.StatusCode.UNAVAILABLE, errors.ServiceUnavailable.reason, message, {"service": service})
    return Ending(int(error.code().value[0]), error.details() or "", trailing)


class Proxy:
    """Carries calls to the services over one channel each."""

    def __init__(self, channels: Mapping[str, grpc.aio.Channel], *, write_timeout_s: float) -> None:
        """Keep the channels.

        Args:
            channels: One channel for each of `routes.SERVICES`.
            write_timeout_s: Seconds after which a browser that reads nothing is let go.
        """
        self._channels = channels
        self._write_timeout_s = write_timeout_s

    async def call(
        self, request: web.Request, route: Route, wire: headers.WireFormat, extra: Mapping[str, str]
    ) -> web.StreamResponse:
        """Answer a request by calling the service that the route names."""
        response = web.StreamResponse(headers={**extra, "Content-Type": wire.content_type, **_NO_BUFFERING})
        try:
            message, timeout, metadata = await _read(request, wire)
        except errors.InvalidArgument as error:
            await response.prepare(request)
            await response.write(wire.encode(rejected(error).frame()))
            return response
        call = self._channels[route.service].unary_stream(
            route.method, request_serializer=_identity, response_deserializer=_identity
        )(message, timeout=timeout, metadata=metadata)
        try:
            await self._answer(request, response, wire, call, route.service)
        finally:
            # Reached as well when the browser leaves: the service learns of it at once.
            call.cancel()
        return response

    async def _answer(
        self,
        request: web.Request,
        response: web.StreamResponse,
        wire: headers.WireFormat,
        call: grpc.aio.UnaryStreamCall[bytes, bytes],
        service: str,
    ) -> None:
        try:
            response.headers.update(headers.from_metadata(_pairs(await call.initial_metadata())))
            await response.prepare(request)
            async for message in call:
                await self._write(response, wire.encode(framing.data_frame(message)))
            last = Ending(0, "", _pairs(await call.trailing_metadata()))
        except grpc.aio.AioRpcError as error:
            if not response.prepared:
                response.headers.update(headers.from_metadata(_pairs(error.initial_metadata())))
                await response.prepare(request)
            last = ending_of(error, service)
        except TimeoutError:
            _log.info("browser stopped reading", service=service, method=request.path)
            if request.transport is not None:
                request.transport.abort()
            return
        with contextlib.suppress(ConnectionError):  # the browser is gone; nobody is left to tell
            await self._write(response, wire.encode(last.frame()))
            await response.write_eof()

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(self._write_timeout_s):
            await response.write(data)


_NO_BUFFERING = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}


async def _read(
    request: web.Request, wire: headers.WireFormat
) -> tuple[bytes, float | None, list[tuple[str, str | bytes]]]:
    timeout = headers.timeout_seconds(request.headers.get("grpc-timeout"))
    metadata = headers.to_metadata(request.headers.items())
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise errors.InvalidArgument(
            "the request is larger than the gateway takes; send it in smaller parts"
        ) from error
    return framing.single_message(framing.decode_text(body) if wire.text else body), timeout, metadata


def _pairs(
    metadata: grpc.aio.Metadata | Sequence[tuple[str, str | bytes]] | None,
) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((str(key), value) for key, value in metadata or ())
