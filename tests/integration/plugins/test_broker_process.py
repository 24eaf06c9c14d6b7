"""A broker in its process answers as its class does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal
from importlib import resources
from string import Template

import pytest

from quasar import errors
from quasar.broker import BrokerEvent, BrokerOrder, Connected, OrderName
from quasar.convert.plugin_brokers import broker_order_to_proto
from quasar.model.instants import TimeRange
from quasar.model.order_states import OrderStatus
from quasar.model.orders import OrderChange, OrderSide, OrderSpec, OrderType
from quasar.plugins.broker import BrokerHandle
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind
from quasar_proto.plugin.v1 import broker_pb2
from tests.integration.plugins.conftest import Plugins

SPEC = OrderSpec(
    symbol="ABC", side=OrderSide.SELL, type=OrderType.LIMIT, quantity=Decimal("1.5"), limit_price=Decimal("99.10")
)
ORDER = BrokerOrder(client_order_id="a-1", broker_symbol="ABC.X", spec=SPEC, reference_price=Decimal(100))


@pytest.fixture
async def broker(plugins: Plugins) -> BrokerHandle:
    text = resources.files("quasar.cli").joinpath("templates", "broker.py.txt").read_text()
    words = {"name": "mine", "title": "Mine", "file": "mine.py", "module": "mine", "class_name": "Mine"}
    source = Template(text).substitute(words).encode()
    code = CodeVersion(kind=Kind.BROKER, name="mine", source=source, file_name="mine.py")
    return await plugins.pool.broker(code)


async def test_an_order_goes_there_and_comes_back_exactly(broker: BrokerHandle) -> None:
    placed = await broker.place(ORDER)
    order, fills = await broker.order(OrderName(client_order_id="a-1"))
    assert placed.accepted
    assert (order.client_order_id, order.spec, order.status) == ("a-1", SPEC, OrderStatus.ACCEPTED)
    assert list(fills) == []
    assert [one.client_order_id for one in await broker.open_orders()] == ["a-1"]
    assert (await broker.cancel(OrderName(client_order_id="a-1"))).status is OrderStatus.CANCELLED
    assert await broker.open_orders() == []


async def test_errors_keep_their_meaning(broker: BrokerHandle) -> None:
    with pytest.raises(errors.NotFound, match="order x is not known here"):
        await broker.order(OrderName(client_order_id="x"))
    with pytest.raises(errors.Unimplemented, match="does not replace orders"):
        await broker.replace(OrderName(client_order_id="a-1"), OrderChange(quantity=Decimal(2)), SPEC)


async def test_account_fills_and_events_arrive(broker: BrokerHandle) -> None:
    account = await broker.account()
    assert (account.account_id, account.balances[0].available) == ("demo", Decimal(100_000))
    assert await broker.positions() == []
    assert [fill async for fill in broker.fills(TimeRange(0, 10))] == []
    async for event in broker.events():
        assert event == Connected(1)
        break


async def test_an_order_that_is_only_to_be_asked_about_is_never_placed(broker: BrokerHandle) -> None:
    request = broker_order_to_proto(ORDER)
    request.validate_only = True
    with pytest.raises(errors.Unimplemented, match="cannot say whether its vendor would take an order"):
        await broker._call("PlaceOrder", request)
    assert await broker.open_orders() == []


async def test_a_silence_of_the_vendor_is_told_by_empty_messages(broker: BrokerHandle) -> None:
    request = broker_pb2.StreamOrderEventsRequest()
    request.heartbeat_interval.FromMilliseconds(1000)
    told = []
    async with aclosing(broker._stream("StreamOrderEvents", request)) as messages:
        async for message in messages:
            told.append((message.sequence, len(message.events)))
            if len(told) == 3:
                break
    assert told == [(1, 1), (2, 0), (3, 0)]  # connected, then nothing twice
    [again] = [event async for event in _first(broker)]
    assert again == Connected(1)


async def _first(broker: BrokerHandle) -> AsyncIterator[BrokerEvent]:
    async with aclosing(broker.events()) as events:
        async for event in events:
            yield event
            return
