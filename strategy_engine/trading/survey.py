"""How things stand: what is held and open, what accounts are worth, which states are set."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from zoneinfo import ZoneInfo

from quasar.clock import Clock
from quasar.engine.rules import MarketRules
from quasar.errors import NotFound, Resource
from quasar.model.order_states import OrderStatus
from quasar.model.orders import OrderSide, OrderType
from strategy_engine.backtests.records import SeriesFacts
from strategy_engine.policy.limits import (
    PLATFORM,
    Policy,
    Scope,
    ScopeKind,
    currencies_of,
    day_zones_of,
    pace_window_s,
)
from strategy_engine.policy.sessions import local_instant
from strategy_engine.policy.standing import Funds, Holding, OpenOrder, Standing
from strategy_engine.store.account_table import AccountTable, EquityPoint
from strategy_engine.store.order_table import OrderTable
from strategy_engine.store.policy_table import PolicyTable
from strategy_engine.store.statements import SQL
from strategy_engine.trading.orders import ZERO, Account, Held, StoredOrder
from strategy_engine.trading.quotes import Quotes, grid_of
from strategy_engine.trading.rates import ExchangeRates


class Survey:
    """Reads how things stand from the tables, valued at the newest prices."""

    def __init__(
        self,
        accounts: AccountTable,
        orders: OrderTable,
        policies: PolicyTable,
        quotes: Quotes,
        read_rules: Callable[[Account], MarketRules],
        clock: Clock,
    ) -> None:
        """Read these tables."""
        self._accounts = accounts
        self._orders = orders
        self._policies = policies
        self._quotes = quotes
        self.rates = ExchangeRates(quotes)
        self._read_rules = read_rules
        self._clock = clock

    def priced(self, held: Held) -> Held:
        """Return a position valued at the newest price."""
        quote = self._quotes.known(held.symbol)
        if quote is None or quote.price is None:
            return held
        time = dt.datetime.fromtimestamp(quote.time_ns / 1e9, dt.UTC)
        return replace(held, mark_price=quote.price, mark_time=time)

    async def positions(self, account_id: str = "", instance_id: str | None = None) -> list[Held]:
        """Return positions valued at the newest prices."""
        return [self.priced(each) for each in await self._accounts.positions(account_id, instance_id)]

    async def currencies(self) -> dict[str, str]:
        """Return the currency of each account."""
        return {each.account_id: each.currency for each in await self._accounts.all()}

    async def accounts_of_instances(self) -> dict[str, str]:
        """Return the account of each instance."""
        return {name: each.account_id for each in await self._accounts.all() for name in each.instance_ids}

    async def require_owner(self, account_id: str, instance_id: str) -> None:
        """Refuse what is neither an account nor an instance of it; an empty id names nothing.

        Raises:
            NotFound: There is no such account, or it has no such instance.
        """
        if account_id:
            await self._accounts.get(account_id)
        if not instance_id:
            return
        found = (await self.accounts_of_instances()).get(instance_id)
        if found is None or account_id not in ("", found):
            where = f" on account {account_id}" if account_id else ""
            raise NotFound(f"There is no instance {instance_id!r}{where}.", resource=Resource("instance", instance_id))

    async def instruments(self, found: Sequence[SeriesFacts]) -> dict[str, SeriesFacts]:
        """Return by symbol what orders of the instruments of some series are held to."""
        await self._quotes.learn(found)
        known = {each.name: self._quotes.known(each.name) for each in found}
        return {name: quote.facts for name, quote in known.items() if quote is not None}

    def multiplier(self, symbol: str) -> Decimal:
        """Return the value of one unit per point of price of an instrument that is followed; 1 where none is known."""
        quote = self._quotes.known(symbol)
        return Decimal(1) if quote is None else grid_of(quote.facts).multiplier

    async def standing(self, instance_ids: Iterable[str], policies: Sequence[Policy]) -> Standing:
        """Return how things stand on all of the platform.

        Args:
            instance_ids: Instances whose own worth is wanted beside that of accounts.
            policies: What is judged by: how far back orders are counted, in which currencies and days.
        """
        recent_s, currencies, zones = pace_window_s(policies), currencies_of(policies), day_zones_of(policies)
        wanted = sorted({each for each in instance_ids if each})
        held = await self.positions()
        accounts = await self._accounts.all()
        now = self._clock.now()
        owned = {each.currency for each in accounts}
        return Standing(
            holdings=[_holding(each) for each in held],
            open_orders=[
                OpenOrder(
                    client_order_id=order.client_order_id,
                    account_id=order.account_id,
                    instance_id=order.instance_id,
                    symbol=order.spec.symbol,
                    remaining=order.remaining if order.spec.side is OrderSide.BUY else -order.remaining,
                    reduce_only=order.spec.reduce_only,
                    price=_worked_price(order),
                    multiplier=self.multiplier(order.spec.symbol),
                    resting_price=_resting_price(order),
                )
                for order in await self._orders.open()
            ],
            funds={each.account_id: await self._funds(each, held, now, zones) for each in accounts},
            strategy_funds={each: await self._instance_funds(each, held, now, zones) for each in wanted},
            states={each.scope: each.at(now) for each in await self._policies.states(now)},
            recent_orders=await self._recent(now, recent_s) if recent_s else {},
            rates=await self.rates.among(owned, {*owned, *currencies}),
        )

    async def _funds(self, account: Account, held: Iterable[Held], now: dt.datetime, zones: Iterable[str]) -> Funds:
        rules = self._read_rules(account)
        equity = account.cash + sum((each.market_value for each in held if each.account_id == account.account_id), ZERO)
        peak, before = await self._accounts.marks("ACCOUNT", account.account_id, midnight(now))
        earned = max(account.initial_cash, peak if peak is not None else account.initial_cash)
        starts = await self._day_starts("ACCOUNT", account.account_id, account.initial_cash, now, zones)
        return Funds(
            equity=equity,
            start_of_day=(account.initial_cash if before is None else before) + account.paid_in,
            day_starts={zone: start + account.paid_in for zone, start in starts.items()},
            peak=max(equity, earned + account.paid_in),
            leverage=1 / rules.margin,
            allow_short=rules.allow_short,
            currency=account.currency,
        )

    async def _instance_funds(
        self, instance_id: str, held: Iterable[Held], now: dt.datetime, zones: Iterable[str]
    ) -> Funds:
        capital, given = await self._capital(instance_id)
        flat = await self._accounts.positions("", instance_id, include_flat=True)
        own = [each for each in held if each.instance_id == instance_id]
        equity = instance_cash(capital, flat) + sum((each.market_value for each in own), ZERO)
        peak, before = await self._accounts.marks("INSTANCE", instance_id, midnight(now))
        return Funds(
            equity=equity,
            start_of_day=capital if before is None else before,
            day_starts=await self._day_starts("INSTANCE", instance_id, capital, now, zones),
            peak=max(equity, capital, capital if peak is None else peak),
            limited=given,
        )

    async def _day_starts(
        self, scope: str, scope_id: str, first: Decimal, now: dt.datetime, zones: Iterable[str]
    ) -> dict[str, Decimal]:
        """Return by time zone the equity at the begin of the day; `first` where there was none before."""
        found = {zone: (await self._accounts.marks(scope, scope_id, midnight(now, zone)))[1] for zone in zones}
        return {zone: first if start is None else start for zone, start in found.items()}

    async def _recent(self, now: dt.datetime, recent_s: float) -> dict[Scope, Sequence[float]]:
        found: dict[Scope, list[float]] = {}
        for row in await self._accounts.database.fetch(SQL["orders_recent"], now, dt.timedelta(seconds=recent_s)):
            scopes = [PLATFORM, Scope(ScopeKind.ACCOUNT, row["account_id"]), Scope(ScopeKind.INSTRUMENT, row["symbol"])]
            if row["instance_id"]:
                scopes.append(Scope(ScopeKind.STRATEGY, row["instance_id"]))
            for scope in scopes:
                for part in (scope, replace(scope, symbol=row["symbol"])):
                    found.setdefault(part, []).append(row["age"])
        return dict(found)

    async def equity(self, account: Account) -> Decimal:
        """Return what an account is worth."""
        return account.cash + sum((each.market_value for each in await self.positions(account.account_id)), ZERO)

    async def capital(self, instance_id: str) -> Decimal:
        """Return what an instance began with: its capital, else all of its account."""
        return (await self._capital(instance_id))[0]

    async def _capital(self, instance_id: str) -> tuple[Decimal, bool]:
        """Return what an instance began with, and whether that was given to it; else it is all of its account."""
        row = await self._accounts.database.fetchrow(SQL["instance_capital"], instance_id)
        if row is None or row["capital"] is None:
            account_id = row["account_id"] if row is not None else None
            return (await self._accounts.get(account_id)).initial_cash if account_id else ZERO, False
        return row["capital"], True

    async def mark_equity(self, account_ids: Iterable[str], now: dt.datetime) -> None:
        """Write a point of the equity curve of accounts, and of the instances that trade on them."""
        points: list[EquityPoint] = []
        for account_id in sorted(account_ids):
            account = await self._accounts.get(account_id)
            held = await self.all_positions(account_id)
            own = _point("ACCOUNT", account_id, account.cash, account.currency, held, now)
            points.append(replace(own, paid_in=account.paid_in))
            points += await self._instance_points(account, held, now)
        async with self._accounts.database.transaction() as connection:
            await self._accounts.put_equity(connection, points)

    async def all_positions(self, account_id: str) -> list[Held]:
        """Return positions of an account, flat ones included: their realised profit counts."""
        found = await self._accounts.positions(account_id, include_flat=True)
        return [self.priced(each) for each in found]

    async def _instance_points(self, account: Account, held: Sequence[Held], now: dt.datetime) -> list[EquityPoint]:
        points = []
        for row in await self._accounts.database.fetch(SQL["instances_of_account"], account.account_id):
            own = [each for each in held if each.instance_id == row["instance_id"]]
            capital = row["capital"] if row["capital"] is not None else account.initial_cash
            cash = instance_cash(capital, own)
            points.append(
                _point("INSTANCE", row["instance_id"], cash, account.currency, own, now, run_id=row["run_id"])
            )
        return points


def midnight(now: dt.datetime, zone: str = "UTC") -> dt.datetime:
    """Return when the trading day began in a time zone."""
    place = ZoneInfo(zone)
    return local_instant(now.astimezone(place).date(), dt.time(), place)


def instance_cash(capital: Decimal, held: Sequence[Held]) -> Decimal:
    """Return what is left of an instance's capital: profits in, commissions and the cost of what is held out."""
    cost = sum((each.quantity * (each.average_price or ZERO) * each.multiplier for each in held), ZERO)
    return capital + sum((each.realised_pnl - each.commission for each in held), ZERO) - cost


def _resting_price(order: StoredOrder) -> Decimal | None:
    """Return where an order stands in the book: a limit order from its start, a triggered one after its trigger."""
    waits = order.status in (OrderStatus.HELD, OrderStatus.PENDING_CANCEL)
    at_once = order.spec.type is OrderType.LIMIT or order.status is OrderStatus.TRIGGERED
    return order.spec.limit_price if at_once and not waits else None


def _worked_price(order: StoredOrder) -> Decimal:
    spec = order.spec
    known = [each for each in (spec.limit_price, spec.trigger_price, order.reference_price) if each is not None]
    return known[0] if known else ZERO


def _holding(held: Held) -> Holding:
    price = held.mark_price if held.mark_price is not None else held.average_price
    return Holding(
        account_id=held.account_id,
        instance_id=held.instance_id,
        symbol=held.symbol,
        quantity=held.quantity,
        price=price or ZERO,
        multiplier=held.multiplier,
    )


def _point(
    scope: str,
    scope_id: str,
    cash: Decimal,
    currency: str,
    held: Sequence[Held],
    now: dt.datetime,
    run_id: object = None,
) -> EquityPoint:
    values = [each.market_value for each in held]
    return EquityPoint(
        scope=scope,
        scope_id=scope_id,
        time=now,
        currency=currency,
        equity=cash + sum(values, ZERO),
        cash=cash,
        gross_exposure=sum(map(abs, values), ZERO),
        net_exposure=sum(values, ZERO),
        realised_pnl=sum((each.realised_pnl - each.commission for each in held), ZERO),
        unrealised_pnl=sum((each.unrealised_pnl for each in held), ZERO),
        run_id=run_id,
    )
