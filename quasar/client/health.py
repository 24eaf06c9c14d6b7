"""Asks a service whether it is ready, as `grpc.health.v1` has it. Needs no token."""

from __future__ import annotations

from grpc_health.v1 import health_pb2

from quasar.client.channel import Channel

_CHECK = "grpc.health.v1.Health/Check"


async def is_ready(channel: Channel, *, timeout_s: float = 2.0) -> bool:
    """Return whether the service at the other end is ready for calls.

    Args:
        channel: Leads to the service.
        timeout_s: Time for the answer.

    Raises:
        quasar.errors.QuasarError: It does not answer, or not in time.
    """
    answer = await channel.unary(
        _CHECK,
        health_pb2.HealthCheckRequest(),
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
        timeout_s=timeout_s,
    )
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
