"""`quasar.strategy.v1.PortfolioService` over `strategy_engine.portfolio`."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any

from quasar.clock import Clock
from quasar.errors import Unimplemented
from quasar.filters import Field
from quasar.ops.events import Events
from quasar.rpc.ops.streams import until_drained
from quasar.rpc.wellknown import seconds, timestamp
from quasar_proto.strategy.v1 import portfolio_pb2, portfolio_service_pb2_grpc
from quasar_proto.strategy.v1 import portfolio_service_pb2 as pb
from strategy_engine.portfolio.curves import spaced, thinned, within
from strategy_engine.portfolio.exposure import exposure, exposures
from strategy_engine.portfolio.figures import Worth, worth
from strategy_engine.rpc.account_messages import balance_message
from strategy_engine.rpc.cash_messages import movement_message
from strategy_engine.rpc.computed_lists import ComputedList
from strategy_engine.rpc.curve_messages import KEPT, Curve, column_names, nanoseconds_of, require_plain_resumption
from strategy_engine.rpc.order_messages import position_message
from strategy_engine.rpc.pnl_calls import PnlCalls
from strategy_engine.rpc.portfolio_changes import Sent
from strategy_engine.rpc.portfolio_messages import (
    added,
    by_account,
    count_orders,
    exposure_message,
    figures_message,
    unowned_message,
    waiting_of,
)
from strategy_engine.rpc.portfolio_scopes import PortfolioScopes, Scoped
from strategy_engine.store.account_table import AccountTable
from strategy_engine.store.cash_table import CashTable
from strategy_engine.store.order_table import OrderTable
from strategy_engine.store.pages import Asked
from strategy_engine.trading.orders import ZERO, Account, Held, StoredOrder
from strategy_engine.trading.survey import Survey, instance_cash, midnight

_HEARTBEAT_S = 10.0
_LOOK_S = 1.0
_CHUNK_ROWS = 65_536
_FILLED = frozenset({"OrderFilled", "OrderPartiallyFilled"})
_POSITIONS = ComputedList(
    name="ListPositions",
    fields={
        "account_id": Field(""),
        "instance_id": Field(""),
        "symbol": Field(""),
        "currency": Field(""),
        "quantity": Field("", "number"),
        "market_value": Field("", "number", nullable=True),
        "unrealised_pnl": Field("", "number", nullable=True),
        "day_pnl": Field("", "number", nullable=True),
        "open_time": Field("", "time", nullable=True),
    },
    orders=("symbol", "account_id", "instance_id", "market_value", "unrealised_pnl", "day_pnl", "open_time"),
    default="symbol",
)
_EXPOSURE_GROUPS: dict[int, tuple[str, Callable[[Held | StoredOrder], str]]] = {
    portfolio_pb2.PORTFOLIO_DIMENSION_SYMBOL: (
        "symbol",
        lambda each: each.symbol if isinstance(each, Held) else each.spec.symbol,
    ),
    portfolio_pb2.PORTFOLIO_DIMENSION_STRATEGY: ("instance_id", lambda each: each.instance_id or "-"),
    portfolio_pb2.PORTFOLIO_DIMENSION_ACCOUNT: ("account_id", lambda each: each.account_id),
    portfolio_pb2.PORTFOLIO_DIMENSION_CURRENCY: ("currency", lambda each: each.currency),
}


class PortfolioService(PnlCalls, portfolio_service_pb2_grpc.PortfolioServiceServicer):
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
        self._parts = PortfolioScopes(accounts, survey)
        super().__init__(accounts, orders, self._parts)
        self._accounts = accounts
        self._cash = cash
        self._orders = orders
        self._survey = survey
        self._events = events
        self._draining = draining
        self._clock = clock

    async def ListPositions(self, request: pb.ListPositionsRequest, context: Any) -> pb.ListPositionsResponse:
        """Return a page of the positions of a scope."""
        part = await self._parts.of(request.scope)
        today = midnight(self._clock.now())
        held = [each for each in part.held if each.quantity or (request.include_flat and _moved(each, today))]
        waiting = waiting_of(await self._open(part), by_account=request.by_account)
        if request.by_account:
            held = by_account(held)
        entries = [(_position_row(each), position_message(each, waiting)) for each in held]
        bound = (part.scope, request.by_account, request.include_flat)
        positions, following = _POSITIONS.page(entries, Asked.of(request), *bound)
        return pb.ListPositionsResponse(positions=positions, next_page_token=following)

    async def _open(self, part: Scoped) -> list[StoredOrder]:
        """Return the open orders of a part."""
        owned = [each for each in await self._orders.open() if each.account_id in part.account_ids]
        return [each for each in owned if part.owner in (None, each.instance_id)]

    async def GetPortfolio(self, request: pb.GetPortfolioRequest, context: Any) -> pb.GetPortfolioResponse:
        """Return what a scope is worth now."""
        if request.HasField("as_of"):
            raise Unimplemented("as_of must be left out in this build, was set.")
        return pb.GetPortfolioResponse(portfolio=await self._portfolio(request))

    async def _portfolio(self, request: Any) -> portfolio_pb2.Portfolio:
        part, now = await self._parts.of(request.scope), self._clock.now()
        traded = await self._orders.traded_since(midnight(now))
        shown = portfolio_pb2.Portfolio(scope=part.scope, currency=part.currency(request.currency), time=timestamp(now))
        shown.strategies.extend(await self._strategies(part, traded))
        if part.owner is not None:
            own = next(each for each in shown.strategies if each.instance_id == part.owner)
            shown.figures.CopyFrom(own.figures)
        else:
            each = [(one, await self._account(one, part.held)) for one in part.accounts]
            for one, found in each:
                figures = figures_message(found, [row for key, row in traded.items() if key[0] == one.account_id])
                balances = [balance_message(one)]
                shown.accounts.add(account_id=one.account_id, figures=figures, balances=balances)
            rows = [row for key, row in traded.items() if key[0] in part.account_ids]
            shown.figures.CopyFrom(figures_message(added([found for _, found in each]), rows))
        orders = await self._open(part)
        count_orders(shown, orders)
        held = sorted((each for each in part.held if each.quantity), key=lambda each: -abs(each.market_value))
        if not request.omit_positions:
            waiting = waiting_of(orders)
            shown.positions.extend(position_message(one, waiting) for one in held)
        shown.unpriced_symbols.extend(sorted({each.symbol for each in held if each.mark_price is None}))
        times = [each.mark_time for each in held if each.mark_time is not None]
        if times:
            shown.oldest_price_age.FromTimedelta(max(now - min(times), dt.timedelta(0)))
        return shown

    async def _strategies(
        self, part: Scoped, traded: Mapping[tuple[str, str], Any]
    ) -> list[portfolio_pb2.StrategyFigures]:
        """Return the figures of each instance of a part by its id, and of what belongs to none."""
        accounts = {each.account_id: each for each in part.accounts}
        rows = await self._accounts.instances_on(list(accounts), midnight(self._clock.now()))
        found = []
        for row in rows:
            if part.owner not in (None, row["instance_id"]):
                continue
            own = [each for each in part.held if each.instance_id == row["instance_id"]]
            account = accounts[row["account_id"]]
            capital = row["capital"] if row["capital"] is not None else account.initial_cash
            start = row["day_start"] if row["day_start"] is not None else capital
            worthy = worth(instance_cash(capital, own), own, start, max(row["peak"] or ZERO, capital))
            today = traded.get((account.account_id, row["instance_id"]))
            figures = figures_message(worthy, [today] if today else [])
            figures.open_orders = row["open_orders"]
            found.append(
                portfolio_pb2.StrategyFigures(
                    instance_id=row["instance_id"],
                    account_id=account.account_id,
                    strategy=row["strategy"],
                    run_id=str(row["run_id"] or ""),
                    figures=figures,
                )
            )
        rest = [] if part.owner is not None else [each for each in part.held if not each.instance_id]
        found += [
            portfolio_pb2.StrategyFigures(
                account_id=name, figures=unowned_message([each for each in rest if each.account_id == name])
            )
            for name in sorted({each.account_id for each in rest})
        ]
        return sorted(found, key=lambda each: (each.instance_id, each.account_id))

    async def _account(self, account: Account, held: Sequence[Held]) -> Worth:
        own = [each for each in held if each.account_id == account.account_id]
        peak, before = await self._accounts.marks("ACCOUNT", account.account_id, midnight(self._clock.now()))
        start = (account.initial_cash if before is None else before) + account.paid_in
        highest = max(account.initial_cash, account.initial_cash if peak is None else peak) + account.paid_in
        return worth(account.cash, own, start, highest)

    async def WatchPortfolio(
        self, request: pb.WatchPortfolioRequest, context: Any
    ) -> AsyncGenerator[pb.WatchPortfolioResponse, None]:
        """Stream what a scope is worth: the whole at once, then what changed; a fill is told at once."""
        async with aclosing(until_drained(self._worth(request), self._draining)) as messages:
            async for message in messages:
                yield message

    async def _worth(self, request: pb.WatchPortfolioRequest) -> AsyncGenerator[pb.WatchPortfolioResponse, None]:
        heartbeat_s = seconds(request.heartbeat_interval) if request.HasField("heartbeat_interval") else _HEARTBEAT_S
        interval_s = seconds(request.min_interval) if request.HasField("min_interval") else _LOOK_S
        watching = self._events.watch(filter_text='subject_type = "order"', heartbeat_s=min(heartbeat_s, interval_s))
        sent, sequence, told = Sent(), 0, self._clock.monotonic()
        async with aclosing(watching) as batches:
            async for batch in batches:
                filled = any(event.kind in _FILLED for event in batch.events)
                if sequence and not filled and self._clock.monotonic() - told < interval_s:
                    continue  # what changed is told with the next look
                message = sent.message(await self._portfolio(request))
                if message is None and self._clock.monotonic() - told < heartbeat_s:
                    continue
                message = message or pb.WatchPortfolioResponse()
                sequence, told = sequence + 1, self._clock.monotonic()
                message.sequence = sequence
                message.time.FromDatetime(self._clock.now())
                yield message

    async def ReadEquityCurve(
        self, request: pb.ReadEquityCurveRequest, context: Any
    ) -> AsyncGenerator[pb.ReadEquityCurveResponse, None]:
        """Stream the equity curve of an account or an instance in columns."""
        kind = request.scope.WhichOneof("scope")
        if kind not in ("account_id", "instance_id"):
            raise Unimplemented("scope must be an account or an instance in this build, was another.")
        require_plain_resumption(request)
        part = await self._parts.of(request.scope)
        scope, scope_id = ("ACCOUNT" if kind == "account_id" else "INSTANCE"), getattr(request.scope, kind)
        curve = Curve.of(await self._accounts.curve(scope, scope_id, None, None), column_names(request.columns, KEPT))
        rows = within(curve.times, *nanoseconds_of(request))
        if request.HasField("resolution"):
            rows = rows[spaced(curve.times[rows], request.resolution.ToNanoseconds())]
        rows = rows[request.first_row :]
        if request.max_rows:
            rows = rows[thinned(curve.times[rows], curve.columns["equity"][rows], request.max_rows)]
        for first in range(0, len(rows) or (not request.first_row), _CHUNK_ROWS):
            yield pb.ReadEquityCurveResponse(
                chunk=curve.chunk(rows[first : first + _CHUNK_ROWS], request.first_row + first),
                currency=part.currency(request.currency),
            )

    async def GetExposure(self, request: pb.GetExposureRequest, context: Any) -> pb.GetExposureResponse:
        """Return exposure by symbol, instance, account or currency; ratios are of the equity of all of the scope."""
        dimension = request.group_by or portfolio_pb2.PORTFOLIO_DIMENSION_SYMBOL
        if dimension not in _EXPOSURE_GROUPS:
            raise Unimplemented("group_by must be SYMBOL, STRATEGY, ACCOUNT or CURRENCY in this build, was another.")
        field, key = _EXPOSURE_GROUPS[dimension]
        part = await self._parts.of(request.scope)
        asked = pb.GetPortfolioRequest(scope=part.scope, currency=request.currency, omit_positions=True)
        portfolio = await self._portfolio(asked)
        equity = Decimal(portfolio.figures.equity.value)
        held = [each for each in part.held if each.quantity]
        orders = await self._open(part)
        worth_of = self._survey.multiplier
        return pb.GetExposureResponse(
            rows=[exposure_message({field: each.key}, each, equity) for each in exposures(held, orders, key, worth_of)],
            total=exposure_message({}, exposure("", held, orders, worth_of), equity),
            currency=portfolio.currency,
            time=portfolio.time,
        )

    async def ListCashMovements(
        self, request: pb.ListCashMovementsRequest, context: Any
    ) -> pb.ListCashMovementsResponse:
        """Return a page of movements of cash, newest first unless ordered otherwise."""
        kind = request.scope.WhichOneof("scope")
        part = await self._parts.of(request.scope)
        asked = Asked.of(request)
        if not part.accounts:
            return pb.ListCashMovementsResponse()
        if kind in ("account_id", "instance_id"):
            own = f'{kind} = "{getattr(request.scope, kind).replace(chr(34), "")}"'
            asked = replace(asked, filter_text=f"{own} AND ({request.filter})" if request.filter else own)
        rows, following = await self._cash.page(asked)
        return pb.ListCashMovementsResponse(
            movements=[movement_message(row) for row in rows], next_page_token=following
        )


def _moved(held: Held, today: dt.datetime) -> bool:
    return held.update_time is not None and held.update_time >= today


def _position_row(held: Held) -> dict[str, Any]:
    priced = held.mark_price is not None
    return {
        "account_id": held.account_id,
        "instance_id": held.instance_id,
        "symbol": held.symbol,
        "currency": held.currency,
        "quantity": float(held.quantity),
        "market_value": float(held.market_value) if priced else None,
        "unrealised_pnl": float(held.unrealised_pnl) if priced else None,
        "day_pnl": None,  # what a position was worth at midnight is not kept
        "open_time": held.open_time,
    }
