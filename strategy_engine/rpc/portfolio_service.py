"""`quasar.strategy.v1.PortfolioService` over `strategy_engine.portfolio`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any

from quasar.clock import Clock
from quasar.errors import Unimplemented
from quasar.model.instants import to_ns
from quasar.model.orders import OrderSide
from quasar.ops.events import Events
from quasar.rpc.ops.streams import until_drained
from quasar.rpc.wellknown import seconds, timestamp
from quasar_proto.strategy.v1 import portfolio_pb2, portfolio_service_pb2_grpc, statistics_pb2
from quasar_proto.strategy.v1 import portfolio_service_pb2 as pb
from strategy_engine.portfolio.exposure import Exposure, exposure, exposures
from strategy_engine.portfolio.figures import Worth, worth
from strategy_engine.rpc.cash_messages import movement_message
from strategy_engine.rpc.order_messages import position_message
from strategy_engine.rpc.values import decimal_message, instant_of
from strategy_engine.store.account_table import AccountTable
from strategy_engine.store.cash_table import CashTable
from strategy_engine.store.order_table import OrderTable
from strategy_engine.store.pages import Asked
from strategy_engine.trading.orders import ZERO, Account, Held, StoredOrder
from strategy_engine.trading.survey import Survey, instance_cash, midnight

_HEARTBEAT_S = 10.0
_LOOK_S = 1.0
_EXPOSURE_GROUPS: dict[int, tuple[str, Callable[[Held | StoredOrder], str]]] = {
    portfolio_pb2.PORTFOLIO_DIMENSION_SYMBOL: (
        "symbol",
        lambda each: each.symbol if isinstance(each, Held) else each.spec.symbol,
    ),
    portfolio_pb2.PORTFOLIO_DIMENSION_STRATEGY: ("instance_id", lambda each: each.instance_id or "-"),
    portfolio_pb2.PORTFOLIO_DIMENSION_ACCOUNT: ("account_id", lambda each: each.account_id),
    portfolio_pb2.PORTFOLIO_DIMENSION_CURRENCY: ("currency", lambda each: each.currency),
}


class PortfolioService(portfolio_service_pb2_grpc.PortfolioServiceServicer):
    """Shows positions, worth and profit."""

    def __init__(
        self,
        accounts: AccountTable,
        cash: CashTable,
        orders: OrderTable,
        survey: Survey,
        events: Events,
        draining: asyncio.Event,
        clock: Clock,
    ) -> None:
        """Serve what `survey` sees."""
        self._accounts = accounts
        self._cash = cash
        self._orders = orders
        self._survey = survey
        self._events = events
        self._draining = draining
        self._clock = clock

    async def ListPositions(self, request: pb.ListPositionsRequest, context: Any) -> pb.ListPositionsResponse:
        """Return the positions of a scope."""
        if request.filter or request.order_by or request.page_token:
            raise Unimplemented("filter, order_by and page_token must be left out in this build, was set.")
        held = await self._held(request.scope, include_flat=request.include_flat)
        if request.by_account:
            held = _by_account(held)
        waiting = _waiting(await self._orders.open())
        return pb.ListPositionsResponse(positions=[position_message(each, waiting) for each in held])

    async def _held(self, scope: portfolio_pb2.PortfolioScope, *, include_flat: bool) -> list[Held]:
        kind = scope.WhichOneof("scope")
        if kind == "run_id":
            raise Unimplemented("scope must be an account, an instance or all accounts in this build, was a run.")
        await self._survey.require_owner(scope.account_id, scope.instance_id)
        found = await self._accounts.positions(
            scope.account_id, scope.instance_id if kind == "instance_id" else None, include_flat=include_flat
        )
        return [self._survey.priced(each) for each in found]

    async def GetPortfolio(self, request: pb.GetPortfolioRequest, context: Any) -> pb.GetPortfolioResponse:
        """Return what a scope is worth now."""
        if request.HasField("as_of"):
            raise Unimplemented("as_of must be left out in this build, was set.")
        return pb.GetPortfolioResponse(portfolio=await self._portfolio(request))

    async def _portfolio(self, request: Any) -> portfolio_pb2.Portfolio:
        scope = request.scope
        held = await self._held(scope, include_flat=True)
        own = scope.account_id
        if scope.WhichOneof("scope") == "instance_id":
            own = (await self._survey.accounts_of_instances())[scope.instance_id]
        accounts = [each for each in await self._accounts.all() if own in ("", each.account_id)]
        currencies = sorted({each.currency for each in accounts})
        currency = request.currency or (currencies[0] if currencies else "")
        if any(each != currency for each in currencies):
            raise Unimplemented(f"all accounts must be in {currency} in this build, was {', '.join(currencies)}.")
        shown = portfolio_pb2.Portfolio(scope=scope, currency=currency, time=timestamp(self._clock.now()))
        if scope.WhichOneof("scope") == "instance_id":
            shown.figures.CopyFrom(figures_message(await self._instance(scope.instance_id, held)))
        else:
            each = [(one, await self._account(one, held)) for one in accounts]
            shown.accounts.extend(
                portfolio_pb2.AccountFigures(account_id=one.account_id, figures=figures_message(found))
                for one, found in each
            )
            shown.figures.CopyFrom(figures_message(_sum([found for _, found in each])))
        orders = await self._orders.open()
        _count_orders(shown, orders)
        if not request.omit_positions:
            waiting = _waiting(orders)
            shown.positions.extend(position_message(one, waiting) for one in held if one.quantity)
        return shown

    async def _account(self, account: Account, held: Sequence[Held]) -> Worth:
        own = [each for each in held if each.account_id == account.account_id]
        peak, before = await self._accounts.marks("ACCOUNT", account.account_id, midnight(self._clock.now()))
        start = (account.initial_cash if before is None else before) + account.paid_in
        highest = max(account.initial_cash, account.initial_cash if peak is None else peak) + account.paid_in
        return worth(account.cash, own, start, highest)

    async def _instance(self, instance_id: str, held: Sequence[Held]) -> Worth:
        peak, before = await self._accounts.marks("INSTANCE", instance_id, midnight(self._clock.now()))
        capital = await self._survey.capital(instance_id)
        start = before if before is not None else capital
        return worth(instance_cash(capital, held), held, start, max(peak or ZERO, capital))

    async def WatchPortfolio(
        self, request: pb.WatchPortfolioRequest, context: Any
    ) -> AsyncGenerator[pb.WatchPortfolioResponse, None]:
        """Stream what a scope is worth: at once, after each fill, and at least with every heartbeat."""
        async with aclosing(until_drained(self._worth(request), self._draining)) as messages:
            async for message in messages:
                yield message

    async def _worth(self, request: pb.WatchPortfolioRequest) -> AsyncGenerator[pb.WatchPortfolioResponse, None]:
        heartbeat_s = seconds(request.heartbeat_interval) if request.HasField("heartbeat_interval") else _HEARTBEAT_S
        watching = self._events.watch(filter_text='subject_type = "order"', heartbeat_s=min(heartbeat_s, _LOOK_S))
        former, sequence, quiet_s = b"", 0, 0.0
        async with aclosing(watching) as batches:
            async for batch in batches:
                portfolio = await self._portfolio(request)
                now, portfolio_time = self._clock.now(), portfolio.time
                portfolio.ClearField("time")
                state = portfolio.SerializeToString(deterministic=True)
                quiet_s = 0.0 if batch.events or state != former else quiet_s + _LOOK_S
                if state == former and quiet_s < heartbeat_s:
                    continue
                sequence, first, former, quiet_s = sequence + 1, not former, state, 0.0
                portfolio.time.CopyFrom(portfolio_time)
                yield pb.WatchPortfolioResponse(
                    portfolio=portfolio, snapshot=first, sequence=sequence, time=timestamp(now)
                )

    async def ReadEquityCurve(
        self, request: pb.ReadEquityCurveRequest, context: Any
    ) -> AsyncGenerator[pb.ReadEquityCurveResponse, None]:
        """Stream the equity curve of an account or an instance in columns."""
        kind = request.scope.WhichOneof("scope")
        if kind not in ("account_id", "instance_id") or request.HasField("resolution"):
            raise Unimplemented("scope must be an account or an instance without resolution in this build.")
        await self._survey.require_owner(request.scope.account_id, request.scope.instance_id)
        scope, scope_id = ("ACCOUNT" if kind == "account_id" else "INSTANCE"), getattr(request.scope, kind)
        bounds = instant_of(request.range, "start"), instant_of(request.range, "end")
        rows = (await self._accounts.curve(scope, scope_id, *bounds))[request.first_row :]
        if request.max_rows and len(rows) > request.max_rows:
            step = len(rows) / request.max_rows
            rows = [rows[min(len(rows) - 1, int(index * step + step / 2))] for index in range(request.max_rows)]
        yield pb.ReadEquityCurveResponse(
            chunk=_curve(rows, request.first_row), currency=rows[0]["currency"] if rows else ""
        )

    async def GetExposure(self, request: pb.GetExposureRequest, context: Any) -> pb.GetExposureResponse:
        """Return exposure by symbol, instance, account or currency; ratios are of the equity of all of the scope."""
        dimension = request.group_by or portfolio_pb2.PORTFOLIO_DIMENSION_SYMBOL
        if dimension not in _EXPOSURE_GROUPS:
            raise Unimplemented("group_by must be SYMBOL, STRATEGY, ACCOUNT or CURRENCY in this build, was another.")
        field, key = _EXPOSURE_GROUPS[dimension]
        asked = pb.GetPortfolioRequest(scope=request.scope, currency=request.currency, omit_positions=True)
        portfolio = await self._portfolio(asked)
        equity = Decimal(portfolio.figures.equity.value)
        held = await self._held(request.scope, include_flat=False)
        scope = request.scope
        orders = [
            each
            for each in await self._orders.open(scope.account_id)
            if scope.WhichOneof("scope") != "instance_id" or each.instance_id == scope.instance_id
        ]
        worth_of = self._survey.multiplier
        return pb.GetExposureResponse(
            rows=[_exposure({field: each.key}, each, equity) for each in exposures(held, orders, key, worth_of)],
            total=_exposure({}, exposure("", held, orders, worth_of), equity),
            currency=portfolio.currency,
            time=portfolio.time,
        )

    async def ListPnl(self, request: pb.ListPnlRequest, context: Any) -> pb.ListPnlResponse:
        """Return profit by symbol, instance or account, as it is since the beginning."""
        if request.HasField("range") or request.filter or request.order_by:
            raise Unimplemented("range, filter and order_by must be left out in this build, was set.")
        held = await self._held(request.scope, include_flat=True)
        named = {
            portfolio_pb2.PORTFOLIO_DIMENSION_SYMBOL: "symbol",
            portfolio_pb2.PORTFOLIO_DIMENSION_STRATEGY: "instance_id",
            portfolio_pb2.PORTFOLIO_DIMENSION_ACCOUNT: "account_id",
        }
        if any(each not in named for each in request.group_by):
            raise Unimplemented("group_by must be SYMBOL, STRATEGY or ACCOUNT in this build, was another.")
        fields = [named[each] for each in request.group_by] or ["symbol"]
        groups: dict[tuple[str, ...], list[Held]] = {}
        for each in held:
            groups.setdefault(tuple(getattr(each, name) for name in fields), []).append(each)
        rows = [_pnl(dict(zip(fields, key, strict=True)), own) for key, own in sorted(groups.items())]
        currency = held[0].currency if held else ""
        return pb.ListPnlResponse(rows=rows, total=_pnl({}, held), currency=currency)

    async def ListCashMovements(
        self, request: pb.ListCashMovementsRequest, context: Any
    ) -> pb.ListCashMovementsResponse:
        """Return a page of movements of cash, newest first unless ordered otherwise."""
        kind = request.scope.WhichOneof("scope")
        if kind == "run_id":
            raise Unimplemented("scope must be an account, an instance or all accounts in this build, was a run.")
        asked = Asked.of(request)
        if kind is not None:
            own = f'{kind} = "{getattr(request.scope, kind).replace(chr(34), "")}"'
            asked = replace(asked, filter_text=f"{own} AND ({request.filter})" if request.filter else own)
        rows, following = await self._cash.page(asked)
        return pb.ListCashMovementsResponse(
            movements=[movement_message(row) for row in rows], next_page_token=following
        )


def _exposure(group: dict[str, Any], found: Exposure, equity: Decimal) -> portfolio_pb2.ExposureRow:
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


def figures_message(found: Worth) -> portfolio_pb2.PortfolioFigures:
    """Return figures as a message."""
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
    message = portfolio_pb2.PortfolioFigures(positions=found.positions, **amounts)  # type: ignore[arg-type]  # by name
    if found.equity > 0:
        message.leverage = float(found.gross_exposure / found.equity)
    if found.drawdown is not None:
        message.drawdown = found.drawdown
    return message


def _sum(parts: Sequence[Worth]) -> Worth:
    names = [name for name in Worth.__slots__ if name != "positions"]
    amounts = {name: sum((getattr(each, name) for each in parts), ZERO) for name in names}
    return Worth(positions=sum(each.positions for each in parts), **amounts)


def _by_account(held: Sequence[Held]) -> list[Held]:
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


def _waiting(orders: Sequence[StoredOrder]) -> dict[tuple[str, str, str, str], Decimal]:
    found: dict[tuple[str, str, str, str], Decimal] = {}
    for order in orders:
        side = "BUY" if order.spec.side is OrderSide.BUY else "SELL"
        key = (order.account_id, order.instance_id, order.spec.symbol, side)
        found[key] = found.get(key, ZERO) + order.remaining
    return found


def _count_orders(shown: portfolio_pb2.Portfolio, orders: Sequence[StoredOrder]) -> None:
    scope = shown.scope
    by_account = {each.account_id: each.figures for each in shown.accounts}
    for order in orders:
        if scope.account_id in ("", order.account_id) and scope.instance_id in ("", order.instance_id):
            shown.figures.open_orders += 1
            if order.account_id in by_account:
                by_account[order.account_id].open_orders += 1


def _pnl(group: dict[str, Any], held: Sequence[Held]) -> portfolio_pb2.PnlRow:
    realised = sum((each.realised_pnl for each in held), ZERO)
    unrealised = sum((each.unrealised_pnl for each in held), ZERO)
    commission = sum((each.commission for each in held), ZERO)
    return portfolio_pb2.PnlRow(
        group=portfolio_pb2.PortfolioGroup(**group),
        realised_pnl=decimal_message(realised),
        unrealised_pnl_change=decimal_message(unrealised),
        commission=decimal_message(commission),
        net_pnl=decimal_message(realised + unrealised - commission),
    )


def _curve(rows: Sequence[Any], first_row: int) -> statistics_pb2.EquityChunk:
    return statistics_pb2.EquityChunk(
        first_row=first_row,
        time_ns=[to_ns(row["time"]) for row in rows],
        equity=[float(row["equity"]) for row in rows],
        cash=[float(row["cash"] or 0) for row in rows],
        net_exposure=[float(row["net_exposure"] or 0) for row in rows],
        gross_exposure=[float(row["gross_exposure"] or 0) for row in rows],
        realised_pnl=[float(row["realised_pnl"] or 0) for row in rows],
    )
