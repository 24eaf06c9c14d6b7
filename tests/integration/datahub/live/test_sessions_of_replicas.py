"""Streams and their changes may meet different DataHubs: a load balancer does not know where a session runs."""

from __future__ import annotations

import grpc
import pytest

from quasar.database.pool import Database
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.datahub.live.client import TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market, without_a_hole
from tests.integration.datahub.live.replicas import Replicas
from tests.integration.services.conftest import Bearers, as_

pytest.importorskip("nats", reason="the library nats-py is absent; install the extra `nats`")


async def test_a_stream_of_one_replica_is_changed_at_the_other_and_ends_when_it_begins_anew_there(
    replicas: Replicas, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD", "ETH/USD")
    (first, _), (second, _) = await replicas.one(), await replicas.one()
    client = Client()
    wanted = symbols("fast", "BTC/USD", contents=(TRADES,))
    stream = Stream(first, bearers.viewer, client, wanted, session_id="mine")
    await stream.until(lambda: client.trades.get("BTC/USD"))
    stub = second.stub(MarketDataServiceStub)
    more = symbols("fast", "ETH/USD", contents=(TRADES,), selector_id="more")
    change = pb.UpdateSubscriptionsRequest(session_id="mine", add=[more])
    answer = await stub.UpdateSubscriptions(change, **as_(bearers.viewer))
    assert (list(answer.selector_ids), answer.series_count) == (["s1", "more"], 2)
    await stream.until(lambda: client.trades.get("ETH/USD"))
    for bearer, code in (
        (bearers.viewer, grpc.StatusCode.ALREADY_EXISTS),
        (bearers.operator, grpc.StatusCode.NOT_FOUND),  # the stream belongs to somebody else
    ):
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await stub.UpdateSubscriptions(change, **as_(bearer))
        assert told.value.code() is code

    there = Client()
    again = Stream(second, bearers.viewer, there, wanted, session_id="mine", cursor=client.cursor)
    await again.until(lambda: there.trades.get("BTC/USD"))
    assert (await stream.end()).code() is grpc.StatusCode.ABORTED
    assert without_a_hole(client.trades["BTC/USD"])
    again.call.cancel()
