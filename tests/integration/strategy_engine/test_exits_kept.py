"""Stops and exits over a restart: what was followed stays followed, and what guards a position guards it on."""

from __future__ import annotations

from typing import Any

import pytest

from quasar.database.pool import Database
from quasar_proto.strategy.v1 import order_pb2, trading_service_pb2_grpc
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from tests.integration.strategy_engine.conftest import GOOG, Bearers, Running, Start, as_
from tests.integration.strategy_engine.played_datahub import Played, serving
from tests.integration.strategy_engine.test_trading import (
    account,
    know_instrument,
    money,
    order,
    reached,
    tomorrow,
    until,
)


def stub_of(service: Running) -> Any:
    return service.stub(trading_service_pb2_grpc.TradingServiceStub)


async def follows(stub: Any, bearers: Bearers, name: str, trigger: float) -> None:
    """Wait until an order has a trigger."""

    async def shown() -> float:
        found = (await stub.GetOrder(pb.GetOrderRequest(client_order_id=name), **as_(bearers.viewer))).order
        return money(found.spec.trigger_price) if found.spec.HasField("trigger_price") else 0.0

    await until(shown, lambda price: price == trigger)


@pytest.fixture
async def played_goog(database: Database, played: Played) -> Played:
    """The played DataHub, in a platform that knows its instrument."""
    await know_instrument(database)
    return played


async def test_a_restart_never_loosens_a_trailing_stop(
    start: Start, bearers: Bearers, database: Database, played_goog: Played
) -> None:
    played, asked = played_goog, order("t-1", side=2)
    asked.order.type, asked.order.trailing_offset.value = order_pb2.ORDER_TYPE_TRAILING_STOP, "20"
    async with serving(played) as address:
        async with start(address) as before:
            stub = stub_of(before)
            await stub.CreatePaperAccount(account(), **as_(bearers.operator))
            name = (await stub.PlaceOrder(asked, **as_(bearers.operator))).order.client_order_id
            await played.until_opened(1)
            await played.feed(GOOG, tomorrow(900.0, 950.0))
            await follows(stub, bearers, name, 930.0)
            steps = await stub.ListOrderEvents(pb.ListOrderEventsRequest(client_order_id=name), **as_(bearers.viewer))
            assert len(steps.events) == 2  # stored and accepted: that it follows the price is no step
        opened = len(played.opened)
        async with start(address) as after:
            await played.until_opened(opened + 1)
            await played.feed(GOOG, tomorrow(940.0, 925.0, 2))
            filled = await reached(stub_of(after), bearers, name, order_pb2.ORDER_STATUS_FILLED)
            assert filled.order.average_fill_price.value == "930.00"


async def test_the_trailing_exit_of_a_bracket_goes_on_following_after_a_restart(
    start: Start, bearers: Bearers, database: Database, played_goog: Played
) -> None:
    played, asked = played_goog, order("t-2")
    asked.order.bracket.stop_loss.offset_ratio.value, asked.order.bracket.stop_loss.trailing = "0.1", True
    async with serving(played) as address:
        async with start(address) as before:
            stub = stub_of(before)
            await stub.CreatePaperAccount(account(), **as_(bearers.operator))
            (leg,) = (await stub.PlaceOrder(asked, **as_(bearers.operator))).bracket_orders
            await played.until_opened(1)
            await played.feed(GOOG, tomorrow(800.0, 850.0))
            await played.feed(GOOG, tomorrow(860.0, 900.0, 2))
            await follows(stub, bearers, leg.client_order_id, 820.0)
        opened = len(played.opened)
        async with start(address) as after:
            await played.until_opened(opened + 1)
            await played.feed(GOOG, tomorrow(880.0, 1000.0, 3))
            await follows(stub_of(after), bearers, leg.client_order_id, 920.0)
            await played.feed(GOOG, tomorrow(950.0, 900.0, 4))
            filled = await reached(stub_of(after), bearers, leg.client_order_id, order_pb2.ORDER_STATUS_FILLED)
            assert filled.order.average_fill_price.value == "920.00"


async def test_the_exit_of_what_is_filled_works_on_after_a_restart_beside_the_rest_of_its_entry(
    start: Start, bearers: Bearers, database: Database, played_goog: Played
) -> None:
    played, asked, thin = played_goog, order("t-3", "15", limit="800.00"), account()
    thin.paper.execution.fill.volume_share.value = "0.01"  # 10 of the 1,000 that a bar trades
    asked.order.bracket.take_profit.price.value = "950.00"
    async with serving(played) as address:
        async with start(address) as before:
            stub = stub_of(before)
            await stub.CreatePaperAccount(thin, **as_(bearers.operator))
            placed = await stub.PlaceOrder(asked, **as_(bearers.operator))
            (leg,) = placed.bracket_orders
            await played.until_opened(1)
            await played.feed(GOOG, tomorrow(800.0, 800.0))
            await reached(stub, bearers, leg.client_order_id, order_pb2.ORDER_STATUS_ACCEPTED)
        opened = len(played.opened)
        async with start(address) as after:
            await played.until_opened(opened + 1)
            await played.feed(GOOG, tomorrow(900.0, 960.0, 2))
            stub = stub_of(after)
            filled = await reached(stub, bearers, leg.client_order_id, order_pb2.ORDER_STATUS_FILLED)
            assert [(fill.quantity.value, fill.price.value) for fill in filled.fills] == [("10", "950.00")]
            await reached(stub, bearers, placed.order.client_order_id, order_pb2.ORDER_STATUS_CANCELLED)
