"""Trading states: set with the event that tells it, and the open orders that a state takes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import asyncpg

from quasar import logs
from quasar.clock import Clock
from quasar.errors import QuasarError
from quasar.ops.events import Events, Severity
from strategy_engine.policy.limits import Scope, ScopeKind, TradingState
from strategy_engine.store.policy_table import PolicyTable, StateRow
from strategy_engine.store.statements import SQL
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.orders import ZERO, Held, StoredOrder
from strategy_engine.trading.survey import Survey

_Owner = tuple[str, str, str]
_LOOK_S: Final = 1.0
_log = logs.get(__name__)


class TradingStates:
    """Sets trading states."""

    def __init__(self, desk: TradingDesk, survey: Survey, policies: PolicyTable, events: Events, clock: Clock) -> None:
        """Set states in `policies`, between two orders of `desk`."""
        self._clock = clock
        self._desk = desk
        self._survey = survey
        self._policies = policies
        self._events = events

    async def run(self) -> None:
        """Take states back whose time is over, until cancelled; while the database is away none is taken back."""
        while True:
            await self._clock.sleep(_LOOK_S)
            try:
                await self.expire()
            except (QuasarError, asyncpg.PostgresError) as error:
                _log.warning("trading states could not be taken back", problem=str(error))

    async def expire(self) -> None:
        """Take back the states whose time is over. Nothing is judged by them any more; here that is told."""
        for former in await self._policies.states_over(self._clock.now()):
            reason = f"the time of {former.state.value} was over: {former.reason}"
            ended = StateRow(
                scope=former.scope,
                state=TradingState.ACTIVE,
                reason=reason,
                actor=None,
                set_time=self._clock.now(),
            )
            await self.set(ended, instead_of=former)

    async def set(self, new: StateRow, *, loosen: bool = True, instead_of: StateRow | None = None) -> None:
        """Set a trading state: an order that was not sent before is judged by it.

        Args:
            new: The state.
            loosen: False: a stricter state that holds stays, until somebody takes it back.
            instead_of: Set it only in the place of this one; None: whatever there is.
        """
        now = self._clock.now()
        async with self._desk.turn, self._policies.database.transaction() as connection:
            former = await self._policies.lock_state(connection, new.scope)
            if instead_of is not None and former != instead_of:
                return
            if not loosen and former is not None and former.at(now).severity > new.state.severity:
                if former.expire_time is None:
                    return
                new = replace(new, state=former.state)
            await self._policies.set_state(connection, new)
            await self._events.record(
                connection,
                "TradingStateChanged",
                f"Trading of {new.scope} is {new.state.value}: {new.reason}",
                subject_type="trading_state",
                subject_name=str(new.scope),
                severity=Severity.WARNING,
                data={
                    "state": new.state.value,
                    "reason": new.reason,
                    "cause": new.cause,
                    "expire_time": "" if new.expire_time is None else new.expire_time.isoformat(),
                    "before": {"state": former.state.value if former else TradingState.ACTIVE.value},
                    "after": {"state": new.state.value},
                },
                actor=new.actor,
            )
            before = former.at(now) if former else TradingState.ACTIVE
            if before is not new.state:
                await self._tell_runs(connection, new, before)

    async def _tell_runs(self, connection: Any, new: StateRow, before: TradingState) -> None:
        """Tell the runs that a state applies to."""
        payload = {
            "scope": {"kind": f"SCOPE_KIND_{new.scope.kind.name}", "id": new.scope.id},
            "former_state": f"TRADING_STATE_{before.value}",
            "state": f"TRADING_STATE_{new.state.value}",
            "reason": new.reason,
        }
        for row in await connection.fetch(SQL["runs_concerned"], new.scope.kind.name, new.scope.id):
            await self._events.record(
                connection,
                "RunTradingStateChanged",
                f"Trading of {row['instance_id']} is {new.state.value} by {new.scope}: {new.reason}"[:500],
                subject_type="instance",
                subject_name=row["instance_id"],
                severity=Severity.WARNING,
                data={
                    "telemetry": "TRADING_STATE",
                    "payload": payload,
                    "event_time": self._clock.now().isoformat(),
                },
                run_id=str(row["run_id"]),
            )

    async def withdraw(self, new: StateRow) -> list[StoredOrder]:
        """Cancel the open orders that a state is against, and return them as they are then.

        HALTED is against all of its scope, REDUCE_ONLY against what would enlarge a position, ACTIVE against none.
        """
        if new.state is TradingState.ACTIVE:
            return []
        orders = await self._desk.open_orders(**within(new.scope))
        if new.state is TradingState.REDUCE_ONLY:
            held = _quantities(await self._survey.positions())
            orders = [each for each in orders if enlarges(each, held.get(_owner(each), ZERO))]
        return [await self._desk.cancel(each.client_order_id, actor=new.actor, reason=new.reason) for each in orders]


def within(scope: Scope) -> dict[str, Any]:
    """Return which orders or positions a scope means, as arguments of the desk."""
    names = {ScopeKind.ACCOUNT: "account_id", ScopeKind.STRATEGY: "instance_id", ScopeKind.INSTRUMENT: "symbol"}
    return {names[scope.kind]: scope.id} if scope.kind in names else {}


def enlarges(order: StoredOrder, held: Decimal) -> bool:
    """Tell whether an open order would open, enlarge or reverse the position of its owner."""
    if order.spec.reduce_only:
        return False
    after = held + order.spec.side.sign * order.remaining
    return abs(after) > abs(held) or after * held < 0


def _owner(order: StoredOrder) -> _Owner:
    return (order.account_id, order.instance_id, order.spec.symbol)


def _quantities(held: list[Held]) -> Mapping[_Owner, Decimal]:
    return {(each.account_id, each.instance_id, each.symbol): each.quantity for each in held}
