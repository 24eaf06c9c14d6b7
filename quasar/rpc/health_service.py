"""`grpc.health.v1.Health` over `quasar.rpc.health.Health`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from quasar import errors
from quasar.rpc.health import Health

_Response = health_pb2.HealthCheckResponse


class HealthService(health_pb2_grpc.HealthServicer):
    """Answers probes for the whole process ("") and for each of its services, which are as healthy as the process."""

    def __init__(self, health: Health, services: Callable[[], frozenset[str]]) -> None:
        """Tell `health` under the names that `services` returns."""
        self._health = health
        self._services = services

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        """Return the present status. NOT_FOUND for a service that is not here."""
        if not self._knows(request.service):
            raise errors.NotFound(
                f"The service {request.service!r} is not served here.",
                resource=errors.Resource("service", request.service),
            )
        return _status(self._health.ready)

    async def List(self, request: Any, context: Any) -> Any:
        """Return the status of every service."""
        status = _status(self._health.ready)
        answer: Any = health_pb2  # its type stubs are older than this message
        return answer.HealthListResponse(statuses=dict.fromkeys(("", *sorted(self._services())), status))

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Stream the status now and at each change; SERVICE_UNKNOWN, as the protocol wants, for what is not here."""
        if not self._knows(request.service):
            yield _Response(status=_Response.SERVICE_UNKNOWN)
        async for ready in self._health.watch():
            if self._knows(request.service):
                yield _status(ready)

    def _knows(self, service: str) -> bool:
        return not service or service in self._services()


def _status(ready: bool) -> health_pb2.HealthCheckResponse:
    return _Response(status=_Response.SERVING if ready else _Response.NOT_SERVING)
