"""What a service answers its plug-in: `quasar.plugin.v1.PluginHost`, on a socket of the plug-in's own."""

from __future__ import annotations

from quasar import errors
from quasar.clock import Clock
from quasar.plugins.permits import Lane, PermitDesk
from quasar.plugins.serving import Rpc
from quasar_proto.plugin.v1 import host_pb2

_START_S = 60.0
_LEASE_S = 300.0


class PermitService:
    """Grants the permits of one provider or broker."""

    def __init__(self, desk: PermitDesk, clock: Clock) -> None:
        """Serve a desk."""
        self._desk = desk
        self._clock = clock

    async def AcquirePermits(
        self, request: host_pb2.AcquirePermitsRequest, rpc: Rpc
    ) -> host_pb2.AcquirePermitsResponse:
        """Wait for permits and grant them."""
        if request.calls < 1:
            raise errors.InvalidArgument(f"calls must be at least 1, was {request.calls}")
        lane = self._desk.works.get(request.work_id) or (Lane(request.lane) if request.lane else Lane.SCHEDULED)
        grant = await self._desk.acquire(
            request.calls,
            request.weight or 1,
            lane=lane,
            max_wait_s=request.max_wait.ToNanoseconds() / 1e9 if request.HasField("max_wait") else None,
            allow_partial=request.allow_partial,
            usage=self._desk.usages.get(request.work_id),
        )
        answer = host_pb2.AcquirePermitsResponse(grant_id=grant.grant_id, granted=grant.calls)
        answer.waited.FromNanoseconds(int(grant.waited_s * 1e9))
        now = self._clock.time_ns()
        answer.start_before_time.FromNanoseconds(now + int(_START_S * 1e9))
        answer.lease_expire_time.FromNanoseconds(now + int(_LEASE_S * 1e9))
        return answer

    async def ReleasePermits(
        self, request: host_pb2.ReleasePermitsRequest, rpc: Rpc
    ) -> host_pb2.ReleasePermitsResponse:
        """Free places, and hold everything back when the vendor asked to wait."""
        waits = [one.retry_after.ToNanoseconds() / 1e9 for one in request.outcomes if one.HasField("retry_after")]
        left = [one.vendor_remaining for one in request.outcomes if one.HasField("vendor_remaining")]
        held = self._desk.release(
            request.grant_id,
            len(request.outcomes),
            max(waits) if waits else None,
            unused=max(0, request.unused),
            vendor_remaining=left[-1] if left else None,
        )
        answer = host_pb2.ReleasePermitsResponse()
        if held:
            answer.throttled_until_time.FromNanoseconds(self._clock.time_ns() + int(held * 1e9))
        return answer
