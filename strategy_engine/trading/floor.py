"""The paper broker of the platform: every paper account in memory, made from the rows when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from quasar.clock import Clock
from quasar.engine.grid import Grid
from quasar.engine.live import LiveBar, LiveTick
from quasar.engine.rules import MarketRules
from quasar.model.orders import OrderChange
from strategy_engine.store.account_table import AccountTable
from strategy_engine.store.order_table import OrderTable
from strategy_engine.trading.orders import ZERO, Account, Outcome, StoredOrder
from strategy_engine.trading.paper import PaperAccount
from strategy_engine.trading.quotes import Quotes, grid_of

ReadRules = Callable[[Account], MarketRules]
"""Reads the rules of an account's market from its settings."""


class PaperFloor:
    """Keeps paper accounts. Not for use by several tasks at once: the desk takes turns."""

    def __init__(
        self, accounts: AccountTable, orders: OrderTable, quotes: Quotes, read_rules: ReadRules, clock: Clock
    ) -> None:
        """Make accounts from these tables."""
        self._accounts = accounts
        self._orders = orders
        self._quotes = quotes
        self._read_rules = read_rules
        self._clock = clock
        self._open: dict[str, PaperAccount] = {}

    async def place(self, order: StoredOrder, exits: Sequence[StoredOrder]) -> list[Outcome]:
        """Work an order that is recorded."""
        account = await self._account(order.account_id, order.spec.symbol, without=order)
        return account.place(order, exits)

    async def cancel(self, order: StoredOrder) -> list[Outcome]:
        """Cancel an order."""
        account = await self._account(order.account_id, order.spec.symbol)
        return account.cancel(order.client_order_id, self._clock.time_ns())

    async def replace(self, order: StoredOrder, change: OrderChange, time_ns: int | None = None) -> list[Outcome]:
        """Change the terms of an order that works, from the time at which that was decided; None: now.

        Raises:
            InvalidArgument: The order has no such price.
            NotFound: The order does not work any more.
        """
        account = await self._account(order.account_id, order.spec.symbol)
        return account.replace(order.client_order_id, change, self._clock.time_ns() if time_ns is None else time_ns)

    def pay(self, account_id: str, amount: Decimal) -> None:
        """Pay into an account that is in memory, or out of it."""
        if account := self._open.get(account_id):
            account.pay(amount)

    def forget(self, account_id: str) -> None:
        """Make an account anew from its rows when it is needed next."""
        self._open.pop(account_id, None)

    def forget_all(self) -> None:
        """Make every account anew from its rows."""
        self._open.clear()

    async def restore_all(self) -> None:
        """Make every account that has open orders, so that they work again after a restart."""
        for order in await self._orders.open():
            await self._account(order.account_id, order.spec.symbol)

    def on_bars(self, bars: Sequence[LiveBar]) -> list[Outcome]:
        """Work the orders of all accounts on bars that closed at one instant."""
        return [outcome for account in self._open.values() for outcome in account.on_bars(bars)] + self._trailed()

    def on_ticks(self, ticks: Iterable[LiveTick]) -> list[Outcome]:
        """Work the orders of all accounts on ticks."""
        outcomes = [outcome for tick in ticks for account in self._open.values() for outcome in account.on_tick(tick)]
        return outcomes + self._trailed()

    def _trailed(self) -> list[Outcome]:
        return [outcome for account in self._open.values() for outcome in account.trailed()]

    async def _account(self, account_id: str, symbol: str, without: StoredOrder | None = None) -> PaperAccount:
        found = self._open.get(account_id)
        if found is None or symbol not in found.grids:
            found = self._open[account_id] = await self._made(account_id, symbol, without)
        return found

    async def _made(self, account_id: str, symbol: str, without: StoredOrder | None) -> PaperAccount:
        account = await self._accounts.get(account_id)
        held = await self._accounts.positions(account_id)
        own = without.client_order_id if without else ""
        orders = [
            order
            for order in await self._orders.open(account_id)
            if own not in (order.client_order_id, order.parent_client_order_id) or not own
        ]
        symbols = {symbol, *(each.symbol for each in held), *(order.spec.symbol for order in orders)}
        # A position keeps the multiplier that it was opened with, as its row does.
        opened = {each.symbol: each.multiplier for each in held}
        grids = {name: await self._grid(name, opened.get(name)) for name in sorted(symbols)}
        rules = replace(self._read_rules(account), cash=max(account.cash, ZERO))
        made = PaperAccount(account_id, rules, grids)
        for name in grids:
            quote = self._quotes.known(name)
            if quote is not None and quote.price is not None:
                made.mark(name, float(quote.price))
        made.restore(held, orders, account.cash, await self._entries(orders))
        return made

    async def _entries(self, orders: Sequence[StoredOrder]) -> dict[str, StoredOrder]:
        """Return by id the entries of exits, ended or not."""
        names = {each.parent_client_order_id for each in orders if each.parent_client_order_id}
        found = await self._orders.find_all(sorted(names)) if names else []
        return {each.client_order_id: each for each in found}

    async def _grid(self, symbol: str, multiplier: Decimal | None) -> Grid:
        quote = await self._quotes.get(symbol)
        grid = grid_of(quote.facts) if quote else Grid(price_decimals=8, size_decimals=8)
        return grid if multiplier is None else replace(grid, multiplier=multiplier)
