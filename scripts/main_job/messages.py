"""Requests of the main job, and what of the answers is compared."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from quasar.client.market_data import LiveData
from quasar.model.bars import BarColumns
from quasar.model.ticks import TickColumns
from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.registry.v1 import subscription_pb2
from quasar_proto.strategy.v1 import order_pb2
from quasar_proto.strategy.v1 import trading_service_pb2 as trading_pb
from scripts.main_job.recordings import must, same

PAIR = "BTC/USD"


def provider_code(name: str) -> code_pb2.CodeRef:
    """Name a provider."""
    return code_pb2.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name=name)


def subscription(key: values_pb2.SeriesKey, start: str, *, live: bool) -> subscription_pb2.NewSubscription:
    """Ask for a series from a day on; "" begins where the provider begins."""
    made = subscription_pb2.NewSubscription(
        provider=key.provider,
        selector=subscription_pb2.Selector(symbol=key.symbol),
        interval=key.interval,
        historical=True,
        live=live,
        store_ticks=live,
    )
    if start:
        made.backfill_start.FromJsonString(f"{start}T00:00:00Z")
    return made


def same_bars(found: BarColumns, wanted: BarColumns, noun: str) -> None:
    """Fail unless bars are those of a recording."""
    same(len(found), len(wanted), f"bars of {noun}")
    for name in ("open_time_ns", "open", "high", "low", "close"):
        must(bool(np.array_equal(getattr(found, name), getattr(wanted, name))), f"{name} of {noun} is as recorded")


def row(bars: BarColumns, row: int) -> tuple[float, ...]:
    """Return open, high, low, close and volume of one bar."""
    return tuple(float(getattr(bars, name)[row]) for name in ("open", "high", "low", "close", "volume"))


def keep(envelope: LiveData, seen: list[TickColumns]) -> int:
    """Keep the trades of an envelope, and return how many there are."""
    ticks = envelope.ticks.get(PAIR)
    if ticks is None:
        return 0
    seen.append(ticks)
    return len(ticks)


def symbols(provider: str, symbol: str) -> market_data_pb2.SymbolSelector:
    """Select one symbol of a provider."""
    return market_data_pb2.SymbolSelector(
        provider_symbols=market_data_pb2.ProviderSymbols(provider=provider, symbols=[symbol])
    )


def order(quantity: str) -> trading_pb.PlaceOrderRequest:
    """Ask to buy at market on the account of the job."""
    return trading_pb.PlaceOrderRequest(
        account_id="job",
        order=order_pb2.OrderSpec(
            symbol=PAIR,
            side=order_pb2.ORDER_SIDE_BUY,
            type=order_pb2.ORDER_TYPE_MARKET,
            quantity=decimal(quantity),
        ),
        request_id=str(uuid.uuid4()),
    )


def compared(fill: order_pb2.Fill) -> tuple[int, int, Decimal, Decimal, Decimal]:
    """Return what of a fill is compared: bar, side, quantity, price and commission."""
    side = 1 if fill.side == order_pb2.ORDER_SIDE_BUY else -1
    numbers = (fill.quantity.value, fill.price.value, fill.commission.amount.value)
    quantity, price, commission = (Decimal(number).normalize() for number in numbers)
    return fill.bar_index, side, quantity, price, commission


def truth_fill(fill: Sequence[float]) -> tuple[int, int, Decimal, Decimal, Decimal]:
    """Return the same of a fill of the peers' list."""
    quantity, price, commission = (Decimal(str(number)).normalize() for number in fill[2:5])
    return int(fill[0]), int(fill[1]), quantity, price, commission


def decimal(value: str) -> values_pb2.Decimal:
    """Return an exact number."""
    return values_pb2.Decimal(value=value)


def money(amount: str) -> values_pb2.Money:
    """Return an amount of US dollars."""
    return values_pb2.Money(amount=decimal(amount), currency="USD")
