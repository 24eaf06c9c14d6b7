"""Profit and loss by day, instrument, strategy and other dimensions, as a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from quasar.errors import FieldViolation, InvalidArgument, Unimplemented
from quasar.filters import Field, predicate
from quasar.model.instants import to_ns
from quasar.model.money import format_decimal
from quasar_proto.strategy.v1 import portfolio_pb2
from quasar_proto.strategy.v1 import portfolio_service_pb2 as pb
from strategy_engine.portfolio.pnl import DayMark, Earned, Key, OwnFill, add_days, earned, row_of, total
from strategy_engine.rpc.computed_lists import ComputedList
from strategy_engine.rpc.portfolio_scopes import PortfolioScopes, Scoped
from strategy_engine.rpc.values import decimal_message, instant_of
from strategy_engine.store.account_table import AccountTable
from strategy_engine.store.order_table import OrderTable
from strategy_engine.store.pages import Asked
from strategy_engine.trading.orders import ZERO, Held

_DAY: Final = "day"
_NAMES: Final = {
    portfolio_pb2.PORTFOLIO_DIMENSION_DAY: _DAY,
    portfolio_pb2.PORTFOLIO_DIMENSION_SYMBOL: "symbol",
    portfolio_pb2.PORTFOLIO_DIMENSION_STRATEGY: "instance_id",
    portfolio_pb2.PORTFOLIO_DIMENSION_ACCOUNT: "account_id",
    portfolio_pb2.PORTFOLIO_DIMENSION_CURRENCY: "currency",
    portfolio_pb2.PORTFOLIO_DIMENSION_TAG: "tag",
}
_FIGURES: Final = ("net_pnl", "realised_pnl", "traded_notional", "trades")
_FIELDS: Final = {name: Field("") for name in ("account_id", "instance_id", "symbol", "currency", "tag")}


class PnlCalls:
    """The part of `PortfolioService` that tells what was earned."""

    def __init__(self, accounts: AccountTable, orders: OrderTable, scopes: PortfolioScopes) -> None:
        """Reckon from the fills of `orders` and the marks of `accounts`."""
        self._curves = accounts
        self._fills = orders
        self._parts = scopes

    async def ListPnl(self, request: pb.ListPnlRequest, context: Any) -> pb.ListPnlResponse:
        """Return a page of profit and loss by group, days newest first unless ordered otherwise."""
        zone, names = _zone(request.time_zone), _dimensions(request.group_by)
        part = await self._parts.of(request.scope)
        currency = part.currency(request.report_currency)
        stored = await self._fills.fills_on(part.account_ids, part.owner)
        fills = [OwnFill(each, multiplier) for each, multiplier in stored]
        found = earned(fills, _keys(fills, names, zone, request))
        whole = not request.filter and not request.HasField("range")
        if whole:
            await self._add_unrealised(found, names, part, zone)
        summed = total(list(found.values()))
        if whole:
            summed.unrealised_change = sum((each.unrealised_pnl for each in part.held), ZERO)
        listing = ComputedList(name="ListPnl", fields={}, orders=(*names, *_FIGURES))
        entries = [(_row(names, key, own), _message(names, key, own)) for key, own in _ordered(found, names)]
        asked = replace(Asked.of(request), filter_text="")
        bound = (request.filter, names, request.time_zone, request.scope, request.range)
        rows, following = listing.page(entries, asked, *bound)
        return pb.ListPnlResponse(
            rows=rows, next_page_token=following, total=_message((), (), summed), currency=currency
        )

    async def _add_unrealised(
        self, found: dict[Key, Earned], names: Sequence[str], part: Scoped, zone: ZoneInfo
    ) -> None:
        """Add how what is held moved, as far as the groups let that be told: by day it is known of owners only."""
        if _DAY not in names:
            if "tag" not in names:
                _add_present(found, names, part.held)
            return
        owner = "instance_id" if part.owner is not None else "account_id"
        if list(names) not in ([_DAY], [_DAY, owner]):
            return
        kind, ids = ("INSTANCE", [part.owner]) if part.owner is not None else ("ACCOUNT", list(part.account_ids))
        marks = [
            DayMark(row["scope_id"], row["day"], row["equity"], row["unrealised_pnl"] or ZERO)
            for row in await self._curves.day_marks(kind, ids, zone.key)
        ]
        add_days(found, marks, part.starts, len(names) - 1)


def _add_present(found: dict[Key, Earned], names: Sequence[str], held: Sequence[Held]) -> None:
    for each in found.values():
        each.unrealised_change = ZERO
    for one in held:
        key = tuple(_shown(name, getattr(one, name)) for name in names)
        own = found.setdefault(key, Earned(unrealised_change=ZERO))
        own.unrealised_change = (own.unrealised_change or ZERO) + one.unrealised_pnl


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        text = f"must be an IANA time zone such as America/New_York, was {name!r}"
        raise InvalidArgument(f"time_zone {text}.", violations=[FieldViolation("time_zone", text)]) from None


def _dimensions(asked: Sequence[int]) -> tuple[str, ...]:
    numbers = list(asked) or [portfolio_pb2.PORTFOLIO_DIMENSION_DAY]
    if any(each not in _NAMES for each in numbers):
        raise Unimplemented("group_by must be DAY, SYMBOL, STRATEGY, ACCOUNT, CURRENCY or TAG in this build.")
    return tuple(_NAMES[each] for each in numbers)  # type: ignore[index]  # enum values travel as plain integers


def _keys(
    fills: Sequence[OwnFill], names: Sequence[str], zone: ZoneInfo, request: pb.ListPnlRequest
) -> list[Key | None]:
    passes = predicate(request.filter, _FIELDS)
    start, end = instant_of(request.range, "start"), instant_of(request.range, "end")
    keys: list[Key | None] = []
    for fill in fills:
        row, time = row_of(fill, zone), fill.stored.fill.fill_time_ns
        within = (start is None or time >= to_ns(start)) and (end is None or time < to_ns(end))
        keys.append(tuple(_shown(name, row[name]) for name in names) if within and passes(row) else None)
    return keys


def _shown(name: str, value: str) -> str:
    return "-" if name == "instance_id" and not value else value


def _ordered(found: Mapping[Key, Earned], names: Sequence[str]) -> list[tuple[Key, Earned]]:
    """Return the groups by their names in the order asked for, days newest first."""
    groups = sorted(found.items())
    for place in range(len(names) - 1, -1, -1):
        groups.sort(key=lambda each: each[0][place], reverse=names[place] == _DAY)
    return groups


def _row(names: Sequence[str], key: Key, own: Earned) -> dict[str, Any]:
    return {
        **dict(zip(names, key, strict=True)),
        "net_pnl": own.net,
        "realised_pnl": own.realised,
        "traded_notional": own.notional,
        "trades": own.trades,
    }


def _message(names: Sequence[str], key: Key, own: Earned) -> portfolio_pb2.PnlRow:
    row = portfolio_pb2.PnlRow(
        group=portfolio_pb2.PortfolioGroup(**dict(zip(names, key, strict=True))),  # type: ignore[arg-type]  # by name
        realised_pnl=decimal_message(own.realised),
        unrealised_pnl_change=decimal_message(own.unrealised_change),
        commission=decimal_message(own.commission),
        financing=decimal_message(Decimal(0)),
        net_pnl=decimal_message(own.net),
        traded_notional=decimal_message(own.notional),
        fills=own.fills,
        trades=own.trades,
        winning_trades=own.winning_trades,
    )
    if list(names) == [_DAY]:
        if own.end_equity is not None:
            row.end_equity.value = format_decimal(own.end_equity)
        if own.start_equity:
            row.return_ratio = float(own.net / own.start_equity)
    return row
