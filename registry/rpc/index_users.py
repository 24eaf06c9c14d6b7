"""Who trades by an index: asked of the strategy engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quasar.client.channel import Channel
from quasar.errors import DeadlineExceeded, ServiceUnavailable, Unavailable, Unimplemented
from quasar_proto.strategy.v1 import strategy_pb2
from quasar_proto.strategy.v1 import strategy_service_pb2 as pb
from quasar_proto.strategy.v1 import strategy_service_pb2_grpc as stubs
from registry.store.texts import lowered

_ASK_S: Final = 5.0
_PAGE: Final = 1000
_STILL: Final = (
    strategy_pb2.INSTANCE_STATE_STOPPED,
    strategy_pb2.INSTANCE_STATE_WAITING,
    strategy_pb2.INSTANCE_STATE_FAILED,
)


class RemoteIndexUsers:
    """The strategy engine as the one that runs instances."""

    def __init__(self, strategy: Channel) -> None:
        """Call through `strategy`."""
        self._strategies = strategy.stub(stubs.StrategyServiceStub)

    async def running(self, index: str) -> Sequence[str]:
        """Return the ids of the running instances that name an index.

        Raises:
            ServiceUnavailable: The strategy engine does not answer.
        """
        found: list[str] = []
        token = ""
        while True:
            request = pb.ListInstancesRequest(page_size=_PAGE, page_token=token)
            try:
                answer = await self._strategies.ListInstances(request, timeout=_ASK_S)
            except (Unavailable, DeadlineExceeded, Unimplemented) as error:
                raise ServiceUnavailable(
                    f"The strategy engine does not answer, so it is not known which instances use the index {index!r}; "
                    "start it (see `quasar status`) and repeat the call.",
                    metadata={"service": "strategy"},
                    retry_after_s=5.0,
                ) from error
            found += [one.instance_id for one in answer.instances if one.state not in _STILL and _names(one, index)]
            token = answer.next_page_token
            if not token:
                return found


def _names(instance: strategy_pb2.Instance, index: str) -> bool:
    return any(
        selector.WhichOneof("selector") == "index" and lowered(selector.index.index) == lowered(index)
        for selector in instance.universe.selectors
    )
