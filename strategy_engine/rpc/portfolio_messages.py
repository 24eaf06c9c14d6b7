"""Positions, worth, exposure and curves as messages of the portfolio."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from quasar.model.orders import OrderSide
from quasar_proto.strategy.v1 import portfolio_pb2
from strategy_engine.portfolio.exposure import Exposure
from strategy_engine.portfolio.figures import Worth, worth
from strategy_engine.rpc.values import decimal_message
from strategy_engine.trading.orders import ZERO, Held, StoredOrder


def exposure_message(group: dict[str, Any], found: Exposure, equity: Decimal) -> portfolio_pb2.ExposureRow:
    row = portfolio_pb2.ExposureRow(
        group=portfolio_pb2.PortfolioGroup(**group),
        long_exposure=decimal_message(found.long),
        short_exposure=decimal_message(found.short),
        gross_exposure=decimal_message(found.gross),
        net_exposure=decimal_message(found.net),
        net_exposure_with_orders=decimal_message(found.net + found.waiting),
        positions=found.positions,
    )
    if equity > 0:
        row.gross_ratio, row.net_ratio = float(found.gross / equity), float(found.net / equity)
    return row


def figures_message(found: Worth, traded: Sequence[Any] = ()) -> portfolio_pb2.PortfolioFigures:
    """Return figures as a message; `traded` are rows of what was traded since the day began."""
    names = (
        "equity",
        "cash",
        "long_exposure",
        "short_exposure",
        "gross_exposure",
        "net_exposure",
        "realised_pnl",
        "unrealised_pnl",
        "commission",
        "total_pnl",
        "day_pnl",
        "peak_equity",
    )
    amounts = {name: decimal_message(getattr(found, name)) for name in names}
    message = portfolio_pb2.PortfolioFigures(
        positions=found.positions,
        fills_today=sum(row["fills"] for row in traded),
        traded_today=decimal_message(sum((row["traded"] for row in traded), ZERO)),
        financing=decimal_message(ZERO),
        locked_cash=decimal_message(ZERO),
        **amounts,  # type: ignore[arg-type]  # by name
    )
    if (before := found.equity - found.day_pnl) > 0:
        message.day_return = float(found.day_pnl / before)
    if found.equity > 0:
        message.leverage = float(found.gross_exposure / found.equity)
    if found.drawdown is not None:
        message.drawdown = found.drawdown
    return message


def unowned_message(held: Sequence[Held]) -> portfolio_pb2.PortfolioFigures:
    """Return the figures of what belongs to no instance: it has no capital of its own, so neither cash nor equity."""
    found = figures_message(worth(ZERO, held, None, None))
    for name in ("equity", "cash", "locked_cash", "day_pnl", "day_return", "peak_equity", "leverage", "drawdown"):
        found.ClearField(name)
    return found


def added(parts: Sequence[Worth]) -> Worth:
    names = [name for name in Worth.__slots__ if name != "positions"]
    amounts = {name: sum((getattr(each, name) for each in parts), ZERO) for name in names}
    return Worth(positions=sum(each.positions for each in parts), **amounts)


def by_account(held: Sequence[Held]) -> list[Held]:
    """Return one position for each account and symbol."""
    groups: dict[tuple[str, str], list[Held]] = {}
    for each in held:
        groups.setdefault((each.account_id, each.symbol), []).append(each)
    return [_joined(own) for _, own in sorted(groups.items())]


def _joined(own: Sequence[Held]) -> Held:
    quantity = sum((each.quantity for each in own), ZERO)
    cost = sum((each.quantity * (each.average_price or ZERO) for each in own), ZERO)
    first = own[0]
    return Held(
        account_id=first.account_id,
        instance_id="",
        symbol=first.symbol,
        currency=first.currency,
        quantity=quantity,
        average_price=cost / quantity if quantity else None,
        multiplier=first.multiplier,
        mark_price=first.mark_price,
        mark_time=first.mark_time,
        realised_pnl=sum((each.realised_pnl for each in own), ZERO),
        commission=sum((each.commission for each in own), ZERO),
        open_time=first.open_time,
        update_time=first.update_time,
    )


def waiting_of(orders: Sequence[StoredOrder], *, by_account: bool = False) -> dict[tuple[str, str, str, str], Decimal]:
    """Return what open orders would trade, by account, instance (none with `by_account`), symbol and side."""
    found: dict[tuple[str, str, str, str], Decimal] = {}
    for order in orders:
        side = "BUY" if order.spec.side is OrderSide.BUY else "SELL"
        key = (order.account_id, "" if by_account else order.instance_id, order.spec.symbol, side)
        found[key] = found.get(key, ZERO) + order.remaining
    return found


def count_orders(shown: portfolio_pb2.Portfolio, orders: Sequence[StoredOrder]) -> None:
    scope = shown.scope
    by_account = {each.account_id: each.figures for each in shown.accounts}
    for order in orders:
        if scope.account_id in ("", order.account_id) and scope.instance_id in ("", order.instance_id):
            shown.figures.open_orders += 1
            if order.account_id in by_account:
                by_account[order.account_id].open_orders += 1
