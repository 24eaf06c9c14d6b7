"""Asks the service for leave to call the vendor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc

from quasar.rpc.errors import from_rpc_error
from quasar.sdk.permits import TALLY, WORK, CallOutcome, Tally
from quasar_proto.plugin.v1 import host_pb2

_SERVICE: Final = "/quasar.plugin.v1.PluginHost/"


class HostPermits:
    """Permits of the service that runs this process."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Ask over a channel to the host socket."""
        acquire: Any = host_pb2.AcquirePermitsRequest.SerializeToString
        release: Any = host_pb2.ReleasePermitsRequest.SerializeToString
        self._acquire: Any = channel.unary_unary(
            f"{_SERVICE}AcquirePermits", acquire, host_pb2.AcquirePermitsResponse.FromString
        )
        self._release: Any = channel.unary_unary(
            f"{_SERVICE}ReleasePermits", release, host_pb2.ReleasePermitsResponse.FromString
        )

    @asynccontextmanager
    async def call(self, weight: int = 1) -> AsyncIterator[CallOutcome]:
        """Wait for a permit, hold it while the block runs, and tell the outcome afterwards."""
        request = host_pb2.AcquirePermitsRequest(calls=1, weight=weight, work_id=WORK.get())
        try:
            grant = await self._acquire(request)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        outcome = CallOutcome()
        tally = TALLY.get() or Tally()
        tally.calls += 1
        tally.waited_s += grant.waited.ToNanoseconds() / 1e9
        try:
            yield outcome
        finally:
            tally.bytes_received += outcome.bytes_received
            await self._tell(grant.grant_id, outcome)

    async def _tell(self, grant_id: str, outcome: CallOutcome) -> None:
        told = host_pb2.VendorCallOutcome(
            http_status=outcome.http_status, bytes_received=outcome.bytes_received, failed=outcome.failed
        )
        told.elapsed.FromNanoseconds(int(outcome.elapsed_s * 1e9))
        if outcome.retry_after_s is not None:
            told.retry_after.FromNanoseconds(int(outcome.retry_after_s * 1e9))
        if outcome.vendor_remaining is not None:
            told.vendor_remaining = outcome.vendor_remaining
        try:
            await self._release(host_pb2.ReleasePermitsRequest(grant_id=grant_id, outcomes=[told]))
        except grpc.aio.AioRpcError:
            return  # the lease of the grant ends by itself
