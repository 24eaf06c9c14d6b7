"""Calls about accounts: listed with what they hold and are worth, created, changed and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from quasar.clock import Clock
from quasar.errors import (
    AlreadyExists,
    EtagMismatch,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    Resource,
    Unimplemented,
)
from quasar.filters import Field
from quasar.model.money import format_decimal
from quasar.ops.events import Events
from quasar.rpc.ops.actors import calling_actor
from quasar_proto.strategy.v1 import policy_pb2, trading_pb2
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from strategy_engine.policy.limits import PLATFORM, Scope, ScopeKind, TradingState
from strategy_engine.rpc.account_messages import account_message, new_account
from strategy_engine.rpc.computed_lists import ComputedList
from strategy_engine.rpc.paper_calls import PaperCalls
from strategy_engine.rpc.values import number_of, word_of
from strategy_engine.store.field_words import BOOLEANS, LabelledFields
from strategy_engine.store.pages import Asked
from strategy_engine.trading.orders import ZERO, Account
from strategy_engine.trading.records import TradeRecords
from strategy_engine.trading.survey import Survey, midnight
from strategy_engine.trading.treasury import Treasury

_ACCOUNTS: Final = ComputedList(
    name="ListAccounts",
    fields=LabelledFields(
        {
            "account_id": Field(""),
            "display_name": Field(""),
            "kind": Field("", "enum", ("PAPER", "DEMO", "LIVE")),
            "broker": Field(""),
            "state": Field("", "enum", ("CONNECTING", "RECONCILING", "READY", "UNRECONCILED", "OFFLINE", "DISABLED")),
            "trading_enabled": Field("", "enum", BOOLEANS),
            "trading_state": Field("", "enum", ("ACTIVE", "REDUCE_ONLY", "HALTED")),
        }
    ),
    orders=("account_id", "display_name", "kind", "broker", "equity", "create_time"),
    default="account_id",
)


class AccountCalls(PaperCalls):
    """The part of `TradingService` that keeps accounts."""

    def __init__(self, treasury: Treasury, survey: Survey, records: TradeRecords, events: Events, clock: Clock) -> None:
        """Keep the accounts of `records`."""
        super().__init__(treasury, survey)
        self._survey = survey
        self._records = records
        self._events = events
        self._clock = clock

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Any) -> pb.ListAccountsResponse:
        """Return a page of accounts."""
        shown = await self._shown(await self._records.accounts.all())
        entries = [(_account_row(each), each) for each in shown]
        found, following = _ACCOUNTS.page(entries, Asked.of(request))
        return pb.ListAccountsResponse(accounts=found, next_page_token=following)

    async def GetAccount(self, request: pb.GetAccountRequest, context: Any) -> pb.GetAccountResponse:
        """Return one account."""
        return pb.GetAccountResponse(account=await self._one(request.account_id))

    async def _one(self, account_id: str) -> trading_pb2.Account:
        return (await self._shown([await self._records.accounts.get(account_id)]))[0]

    async def _shown(self, accounts: Sequence[Account]) -> list[trading_pb2.Account]:
        """Return accounts with what they hold and are worth, and what they may trade."""
        now, held = self._clock.now(), await self._survey.positions()
        states = {each.scope: each.at(now) for each in await self._records.policies.states(now)}
        platform = states.get(PLATFORM, TradingState.ACTIVE)
        found = []
        for account in accounts:
            own = [each for each in held if each.account_id == account.account_id]
            equity = account.cash + sum((each.market_value for each in own), ZERO)
            _, before = await self._records.accounts.marks("ACCOUNT", account.account_id, midnight(now))
            start = (account.initial_cash if before is None else before) + account.paid_in
            state = states.get(Scope(ScopeKind.ACCOUNT, account.account_id), TradingState.ACTIVE)
            message = account_message(account, equity, len({each.symbol for each in own}))
            message.gross_exposure.value = format_decimal(sum((abs(each.market_value) for each in own), ZERO))
            message.day_pnl.value = format_decimal(equity - start)
            holds = max(state, platform, key=lambda each: each.severity)
            message.trading_state = number_of(policy_pb2.TradingState, holds.value, "TRADING_STATE_")
            found.append(message)
        return found

    async def CreatePaperAccount(
        self, request: pb.CreatePaperAccountRequest, context: Any
    ) -> pb.CreatePaperAccountResponse:
        """Create a paper account; the same request again returns the account that is there."""
        account = new_account(request.account_id, request.display_name, dict(request.labels), request.paper)
        if request.validate_only:
            return pb.CreatePaperAccountResponse(account=account_message(account, account.cash))
        actor, tables = calling_actor(), self._records.accounts
        async with tables.database.transaction() as connection:
            created = await tables.insert(connection, account, actor, self._clock.now())
            if created:
                await self._events.record(
                    connection,
                    "AccountCreated",
                    f"Paper account {account.account_id} was created with {account.cash} {account.currency}.",
                    subject_type="account",
                    subject_name=account.account_id,
                    actor=actor,
                )
        if not created and not await self._created_before(account, request.request_id):
            text = f"must be new, was used before: {account.account_id!r}"
            raise AlreadyExists(
                f"account_id {text}.",
                resource=Resource("account", account.account_id),
                violations=[FieldViolation("account_id", text)],
            )
        return pb.CreatePaperAccountResponse(account=await self._one(account.account_id))

    async def _created_before(self, account: Account, request_id: str) -> bool:
        try:
            stored = await self._records.accounts.get(account.account_id)
        except NotFound:
            return False  # it was deleted; its id stays used, for its records do
        return bool(request_id) and dict(stored.settings) == dict(account.settings)

    async def UpdateAccount(self, request: pb.UpdateAccountRequest, context: Any) -> pb.UpdateAccountResponse:
        """Change the name or the labels of an account."""
        asked, paths, actor, tables = (
            request.account,
            request.update_mask.paths,
            calling_actor(),
            self._records.accounts,
        )
        _require_changeable(paths)
        former = await tables.get(asked.account_id)
        if asked.etag and asked.etag != str(former.revision):
            raise _stale(former)
        name = (asked.display_name or asked.account_id) if "display_name" in paths else None
        labels = dict(asked.labels) if "labels" in paths else None
        async with tables.database.transaction() as connection:
            if not await tables.update(connection, former, name, labels, self._clock.now()):
                raise _stale(former)
            before = {"display_name": former.display_name, "labels": dict(former.settings.get("labels", {}))}
            after = {key: value for key, value in (("display_name", name), ("labels", labels)) if value is not None}
            await self._events.record(
                connection,
                "AccountUpdated",
                f"Account {former.account_id} was updated: {', '.join(paths)}.",
                subject_type="account",
                subject_name=former.account_id,
                data={"before": before, "after": {**before, **after}},
                actor=actor,
            )
        return pb.UpdateAccountResponse(account=await self._one(asked.account_id))

    async def DeleteAccount(self, request: pb.DeleteAccountRequest, context: Any) -> pb.DeleteAccountResponse:
        """Delete an account without open orders; its records stay."""
        account = await self._records.accounts.get(request.account_id)
        held = await self._survey.positions(request.account_id)
        if account.open_orders or account.instance_ids or (held and not request.force):
            raise FailedPrecondition(
                f"account {account.account_id} must have no open orders, instances and positions, was "
                f"{account.open_orders}, {len(account.instance_ids)} and {len(held)}.",
                resource=Resource("account", account.account_id),
            )
        if request.etag and request.etag != str(account.revision):
            raise _stale(account)
        await self._treasury.close(account, calling_actor())
        return pb.DeleteAccountResponse(positions=len(held))


class _Row(dict[str, Any]):
    """What an account is filtered and ordered by; a label that it lacks is empty."""

    def __missing__(self, name: str) -> Any:
        """Return a label."""
        return self["labels"].get(name.removeprefix("labels."), "")


def _account_row(account: trading_pb2.Account) -> _Row:
    return _Row(
        account_id=account.account_id,
        display_name=account.display_name,
        kind=word_of(trading_pb2.AccountKind, account.kind, "ACCOUNT_KIND_"),
        broker=account.broker,
        state=word_of(trading_pb2.AccountState, account.state, "ACCOUNT_STATE_"),
        trading_enabled=BOOLEANS[account.trading_enabled],
        trading_state=word_of(policy_pb2.TradingState, account.trading_state, "TRADING_STATE_"),
        equity=float(account.equity.value or 0),
        create_time=account.create_time.ToNanoseconds(),
        labels=dict(account.labels),
    )


def _require_changeable(paths: Sequence[str]) -> None:
    if not paths:
        text = "must name display_name or labels, was empty"
        raise InvalidArgument(f"update_mask {text}.", violations=[FieldViolation("update_mask", text)])
    for path in paths:
        if path not in ("display_name", "labels"):
            raise Unimplemented(f"update_mask must be among display_name, labels in this build, was {path}.")


def _stale(account: Account) -> EtagMismatch:
    return EtagMismatch(resource=Resource("account", account.account_id), metadata={"etag": str(account.revision)})
