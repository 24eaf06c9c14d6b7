"""Cash of paper accounts: paid in, paid out, and put back to the start."""

from __future__ import annotations

from decimal import Decimal

from quasar.clock import Clock
from quasar.errors import AlreadyExists, FailedPrecondition, FieldViolation, InvalidArgument, Resource
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from strategy_engine.store.cash_table import CashTable, Movement
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.orders import Account
from strategy_engine.trading.survey import Survey


class Treasury:
    """Moves cash of paper accounts, while the desk does nothing else."""

    def __init__(self, desk: TradingDesk, survey: Survey, cash: CashTable, events: Events, clock: Clock) -> None:
        """Move cash of the accounts that `desk` trades on."""
        self._desk = desk
        self._survey = survey
        self._cash = cash
        self._events = events
        self._clock = clock

    async def account(self, account_id: str) -> Account:
        """Return an account.

        Raises:
            NotFound: There is none of that id.
        """
        return await self._desk.records.accounts.get(account_id)

    async def pay(
        self, account_id: str, amount: Decimal, currency: str, *, reason: str, request_id: str, actor: Actor
    ) -> Account:
        """Pay into an account, or out of it; the same request id pays once.

        Raises:
            NotFound: There is no such account.
            InvalidArgument: The amount is 0, or in another currency than the account's.
            FailedPrecondition: More is to be paid out than is there.
            AlreadyExists: The request id was used for another payment.
        """
        async with self._desk.turn:
            account = await self._desk.records.accounts.get(account_id)
            _require_payable(account, amount, currency)
            reference = f"pay/{account_id}/{actor.principal}/{request_id}" if request_id else None
            paid = await self._paid(account, amount, reason, reference, actor)
            if paid:
                self._desk.floor.pay(account_id, amount)
                await self._survey.mark_equity([account_id], self._clock.now())
            return await self._desk.records.accounts.get(account_id)

    async def _paid(self, account: Account, amount: Decimal, reason: str, reference: str | None, actor: Actor) -> bool:
        now, equity = self._clock.now(), await self._survey.equity(account)
        async with self._cash.database.transaction() as connection:
            cash = await self._cash.lock(connection, account.account_id, account.currency)
            if reference is not None:
                former = await self._cash.of_reference(connection, reference)
                if former is not None:
                    _require_same(former["amount"] == amount and former["detail"] == reason)
                    return False
            available = min(cash, equity)
            if amount < 0 and -amount > available:
                raise FailedPrecondition(
                    f"amount must be at most the {available} {account.currency} that are there, was {-amount}.",
                    resource=Resource("account", account.account_id),
                )
            after = await self._cash.pay(connection, account.account_id, account.currency, amount, now)
            movement = Movement(
                account_id=account.account_id,
                kind="DEPOSIT" if amount > 0 else "WITHDRAWAL",
                currency=account.currency,
                amount=amount,
                balance_after=after,
                time=now,
                detail=reason,
                reference=reference,
                actor=actor,
            )
            await self._cash.insert(connection, movement)
            words = (
                f"{amount} {account.currency} paid into" if amount > 0 else f"{-amount} {account.currency} paid out of"
            )
            await self._tell(
                connection, "CashMoved", f"{words} account {account.account_id}.", account, cash, after, actor
            )
        return True

    async def reset(self, account_id: str, fresh: Account | None, *, reason: str, actor: Actor) -> Account:
        """Put an account back to its start; `fresh` holds new settings and cash, None: those it began with.

        Raises:
            NotFound: There is no such account.
            FailedPrecondition: An instance runs on it.
        """
        async with self._desk.turn:
            account = await self._desk.records.accounts.get(account_id)
            if running := await self._cash.running(account_id):
                raise FailedPrecondition(
                    f"account {account_id} must have no running instances to be put back, was {', '.join(running)}.",
                    resource=Resource("account", account_id),
                )
            await self._desk.withdraw(account_id)
            account = await self._desk.records.accounts.get(account_id)
            if fresh is not None and fresh.currency != account.currency:
                text = f"must be {account.currency}, the currency of the account, was {fresh.currency}"
                raise InvalidArgument(
                    f"paper.cash {text}.", violations=[FieldViolation("paper.cash[0].currency", text)]
                )
            settings = account.settings if fresh is None else {**account.settings, **fresh.settings}
            start, now = (fresh or account).initial_cash, self._clock.now()
            async with self._cash.database.transaction() as connection:
                before = await self._cash.lock(connection, account_id, account.currency)
                await self._cash.reset(connection, account_id, account.currency, settings, start, now)
                movement = Movement(
                    account_id=account_id,
                    kind="RESET",
                    currency=account.currency,
                    amount=start - before,
                    balance_after=start,
                    time=now,
                    detail=reason,
                    actor=actor,
                )
                await self._cash.insert(connection, movement)
                text = f"Account {account_id} was put back to its start of {start} {account.currency}."
                await self._tell(connection, "AccountReset", text, account, before, start, actor)
            self._desk.floor.forget(account_id)
            await self._survey.mark_equity([account_id], now)
        return await self._desk.records.accounts.get(account_id)

    async def close(self, account: Account, actor: Actor) -> None:
        """Take an account out of the platform; its records stay."""
        async with self._desk.turn:
            async with self._cash.database.transaction() as connection:
                await self._desk.records.accounts.delete(connection, account.account_id, self._clock.now())
                text = f"Account {account.account_id} was deleted with {account.cash} {account.currency}."
                await self._tell(connection, "AccountDeleted", text, account, account.cash, account.cash, actor)
            self._desk.floor.forget(account.account_id)

    async def _tell(
        self, connection: object, kind: str, text: str, account: Account, before: Decimal, after: Decimal, actor: Actor
    ) -> None:
        await self._events.record(
            connection,
            kind,
            text,
            subject_type="account",
            subject_name=account.account_id,
            data={"before": {"cash": format(before, "f")}, "after": {"cash": format(after, "f")}},
            actor=actor,
        )


def _require_payable(account: Account, amount: Decimal, currency: str) -> None:
    if not amount:
        text = "must not be 0"
        raise InvalidArgument(f"amount {text}.", violations=[FieldViolation("amount.amount", text)])
    if currency != account.currency:
        text = f"must be {account.currency}, the currency of the account, was {currency}"
        raise InvalidArgument(f"amount.currency {text}.", violations=[FieldViolation("amount.currency", text)])


def _require_same(same: bool) -> None:
    if not same:
        text = "must be new for another payment, was used before"
        raise AlreadyExists(f"request_id {text}.", violations=[FieldViolation("request_id", text)])
