"""What is done when a limit on losses is reached: once for each breach, also across a restart in the middle of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Final

import asyncpg

from quasar import logs
from quasar.clock import Clock
from quasar.errors import QuasarError
from strategy_engine.policy.decision import Check
from strategy_engine.policy.judgement import losses
from strategy_engine.policy.limits import (
    Granularity,
    LossAction,
    Policy,
    Scope,
    ScopeKind,
    TradingState,
)
from strategy_engine.policy.standing import Standing
from strategy_engine.store.policy_table import Breach, BreachKey, PolicyTable, StateRow
from strategy_engine.trading.closing import close_positions
from strategy_engine.trading.denials import denial_document
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.states import TradingStates, within
from strategy_engine.trading.survey import Survey

_LOOK_S: Final = 1.0
_MARK_S: Final = 60.0
_log = logs.get(__name__)


class LossGuard:
    """Looks at losses every second, and writes what accounts are worth every minute."""

    def __init__(
        self,
        desk: TradingDesk,
        survey: Survey,
        policies: PolicyTable,
        states: TradingStates,
        clock: Clock,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        """Guard what is traded at `desk` by the limits of `policies`."""
        self._desk = desk
        self._survey = survey
        self._policies = policies
        self._states = states
        self._clock = clock
        self._new_id = new_id
        self._unmeasured: set[tuple[str, str]] = set()
        """Policies and accounts without a rate between their currencies, which was logged."""

    async def run(self) -> None:
        """Guard until cancelled; while the database is away there is nothing to guard with."""
        marked = self._clock.monotonic()
        while True:
            await self._clock.sleep(_LOOK_S)
            try:
                await self.look()
                if self._clock.monotonic() - marked >= _MARK_S:
                    marked = self._clock.monotonic()
                    await self._mark()
            except (QuasarError, asyncpg.PostgresError) as error:
                _log.warning("losses could not be looked at", problem=str(error))

    async def _mark(self) -> None:
        """Write a point of the equity curves of accounts that hold something: between fills prices move them."""
        async with self._desk.turn:
            accounts = {each.account_id for each in await self._survey.positions()}
            if accounts:
                await self._survey.mark_equity(accounts, self._clock.now())

    async def look(self) -> None:
        """Do what policies ask for where a limit is reached, and let limits act again where it is not any more."""
        breaches = await self._policies.breaches()
        policies = [each for each in await self._policies.enabled() if each.limits.guards_losses]
        if not policies and not breaches:
            return
        names = {each.policy_id for each in policies}
        self._unmeasured = {each for each in self._unmeasured if each[0] in names}
        reached = {key: found async for key, found in self._reached(policies, breaches)}
        for key, breach in breaches.items():
            # Without a rate nobody knows whether the loss is below the limit again.
            if key not in reached and key[:2] not in self._unmeasured:
                await self._policies.forget_breach(breach)
        for key, (policy, check) in reached.items():
            breach = breaches.get(key) or Breach(key=key, breach_id=self._new_id())
            if key not in breaches:
                await self._policies.begin_breach(breach, self._clock.now())
            if not breach.acted:
                await self._act(policy, breach, check)
                await self._policies.end_breach(breach, self._clock.now())

    async def _reached(
        self, policies: Sequence[Policy], breaches: Iterable[BreachKey]
    ) -> AsyncIterator[tuple[BreachKey, tuple[Policy, Check]]]:
        strategies = {each.scope.id for each in policies if each.scope.kind is ScopeKind.STRATEGY}
        each_by_itself = [each for each in policies if _each_strategy(each)]
        # Between a fill's cash and its position anything would look like a loss: no order moves meanwhile.
        async with self._desk.turn:
            if each_by_itself:
                # Those that hold something can lose, and those that have lost must be seen to have recovered.
                strategies |= {each.instance_id for each in await self._survey.positions()}
                strategies |= {instance_id for _, _, instance_id, _ in breaches}
            standing = await self._survey.standing(strategies, policies)
        owners = await self._survey.accounts_of_instances() if each_by_itself else {}
        for policy in policies:
            for account_id, instance_id in _measured(policy, standing, owners):
                funds = standing.strategy_funds.get(instance_id) or standing.funds_of(policy.scope, account_id)
                if funds is None:
                    continue
                own = standing.currency(account_id)
                unit = policy.limits.currency or own
                rate = standing.rate(own, unit)
                self._note_rate(policy, account_id, missing=rate is None)
                for check in losses(policy.limits, funds, rate, unit):
                    if not check.passed:
                        yield (policy.policy_id, account_id, instance_id, check.reason), (policy, check)

    def _note_rate(self, policy: Policy, account_id: str, *, missing: bool) -> None:
        """Say once that a loss cannot be measured; meanwhile orders that enlarge are denied."""
        key = (policy.policy_id, account_id)
        if missing and key not in self._unmeasured:
            wanted = policy.limits.currency
            _log.error("a loss has no exchange rate", policy_id=key[0], account_id=account_id, currency=wanted)
        (self._unmeasured.add if missing else self._unmeasured.discard)(key)

    async def _act(self, policy: Policy, breach: Breach, check: Check) -> None:
        scope, action = _part(policy, breach), policy.limits.loss_action
        _log.warning("a limit on losses is reached", policy_id=policy.policy_id, scope=str(scope), detail=check.detail)
        state = TradingState.REDUCE_ONLY if action is LossAction.REDUCE_ONLY else TradingState.HALTED
        row = self._row(scope, breach, check, state)
        await self._states.set(row, loosen=False)
        await self._states.withdraw(row)
        if action is LossAction.FLATTEN:
            await self._flatten(scope, breach)

    def _row(self, scope: Scope, breach: Breach, check: Check, state: TradingState) -> StateRow:
        now = self._clock.now()
        policy_id, account_id, instance_id, _ = breach.key
        who = f"strategy {instance_id}" if instance_id else f"account {account_id}"
        return StateRow(
            scope=scope,
            state=state,
            reason=f"{who}, policy {policy_id}: {check.detail}",
            actor=None,
            set_time=now,
            cause=check.reason,
            trigger={**denial_document(check, now), "policy_id": policy_id},
        )

    async def _flatten(self, scope: Scope, breach: Breach) -> None:
        wanted = within(scope)
        held = [
            each
            for each in await self._survey.positions()
            if all(getattr(each, name) == value for name, value in wanted.items())
        ]
        closing = await close_positions(self._desk, held, f"loss/{breach.breach_id}", None)
        for order in closing:
            if order.denials:
                _log.error("a position could not be closed", symbol=order.spec.symbol, problem=order.status_text)


def _each_strategy(policy: Policy) -> bool:
    return policy.granularity is Granularity.EACH_STRATEGY and policy.scope.kind is not ScopeKind.STRATEGY


def _measured(policy: Policy, standing: Standing, owners: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the accounts whose losses count, or the strategies with their accounts where each counts by itself."""
    accounts = standing.accounts_of(policy.scope)
    if not _each_strategy(policy):
        return [(account_id, "") for account_id in accounts]
    found = ((owners.get(instance_id, ""), instance_id) for instance_id in sorted(standing.strategy_funds))
    return [(account_id, instance_id) for account_id, instance_id in found if account_id in accounts]


def _part(policy: Policy, breach: Breach) -> Scope:
    """Return what is halted: the account or strategy where each counts by itself, of an instrument all of it."""
    part = policy.part(breach.key[1], breach.key[2], "")
    return policy.scope if part is None or part.symbol else part
