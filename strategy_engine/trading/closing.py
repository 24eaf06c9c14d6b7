"""Closing positions at market, by orders of the engine that pass also where trading is halted."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from typing import Final

from quasar.model.orders import OrderSide, OrderSpec, OrderType
from quasar.ops.actors import Actor
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.orders import ENGINE, Held, NewOrder, StoredOrder

_NAMES: Final = uuid.UUID("2d1d6c66-0e43-4c3b-8d8c-8b4b7d6a1f90")
"""Name space of the ids of orders that close positions."""


async def close_positions(desk: TradingDesk, held: Sequence[Held], key: str, actor: Actor | None) -> list[StoredOrder]:
    """Close positions at market and return the orders.

    Done again with the same `key`, an order that still works is kept, and one that ended is followed by another.
    """
    return [await _close(desk, each, key, actor) for each in held if each.quantity]


async def _close(desk: TradingDesk, held: Held, key: str, actor: Actor | None) -> StoredOrder:
    for attempt in itertools.count(1):
        name = str(uuid.uuid5(_NAMES, f"{key}/{held.account_id}/{held.instance_id}/{held.symbol}/{attempt}"))
        former = await desk.records.orders.find(name)
        if former is None:
            break
        if not former.status.is_final:
            return former
    new = NewOrder(
        client_order_id=name,
        account_id=held.account_id,
        instance_id=held.instance_id,
        spec=OrderSpec(
            symbol=held.symbol,
            side=OrderSide.SELL if held.quantity > 0 else OrderSide.BUY,
            type=OrderType.MARKET,
            quantity=abs(held.quantity),
            reduce_only=True,
        ),
        origin=ENGINE,
        actor=actor,
    )
    return (await desk.place(new)).order
