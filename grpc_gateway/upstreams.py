"""The channels to the services, and whether each of them answers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from grpc_gateway.config import GatewaySettings

_PROBE_TIMEOUT_S = 2.0


def _options(settings: GatewaySettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_response_bytes),
        ("grpc.max_send_message_length", settings.max_request_bytes),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Bandwidth probing lets megabytes of stale ticks pile up behind a browser that reads slowly.
        ("grpc.http2.bdp_probe", 0),
        # A service that starts again is found within two seconds.
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # The proxy that `https_proxy` names leads out of the house; the services are inside it.
        ("grpc.enable_http_proxy", 0),
    ]


def _credentials(settings: GatewaySettings) -> grpc.ChannelCredentials:
    tls = settings.tls
    read = [path.read_bytes() if path else None for path in (tls.ca, tls.key, tls.certificate)]
    # The gateway shows its own certificate, which services that demand one of their clients check.
    return grpc.ssl_channel_credentials(root_certificates=read[0], private_key=read[1], certificate_chain=read[2])


async def open_channels(settings: GatewaySettings, stack: AsyncExitStack) -> dict[str, grpc.aio.Channel]:
    """Return one channel for each service; they connect when first used and are closed with the stack."""
    channels = {}
    for service, target in settings.peers.items():
        if settings.tls.enabled:
            channel = grpc.aio.secure_channel(target, _credentials(settings), options=_options(settings))
        else:
            channel = grpc.aio.insecure_channel(target, options=_options(settings))
        channels[service] = await stack.enter_async_context(channel)
    return channels


async def health(channels: dict[str, grpc.aio.Channel]) -> dict[str, str]:
    """Return what each service says of its health: `SERVING`, `NOT_SERVING`, or `UNREACHABLE`."""
    states = await asyncio.gather(*(_probe(channel) for channel in channels.values()))
    return dict(zip(channels, states, strict=True))


async def _probe(channel: grpc.aio.Channel) -> str:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    try:
        answer = await check(health_pb2.HealthCheckRequest(), timeout=_PROBE_TIMEOUT_S)
    except grpc.aio.AioRpcError:
        return "UNREACHABLE"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
