"""Closing positions on demand: asked for once, confirmed with a token, done as an operation."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from quasar.clock import Clock
from quasar.errors import FailedPrecondition
from quasar.ops.actors import Actor
from quasar.ops.events import Events, Severity
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import Operation, OperationResult, Operations
from strategy_engine.policy.limits import PLATFORM, Scope, ScopeKind, TradingState
from strategy_engine.store.policy_table import StateRow
from strategy_engine.trading.closing import close_positions
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.orders import ENGINE, Held, StoredOrder
from strategy_engine.trading.states import TradingStates
from strategy_engine.trading.survey import Survey

KIND: Final = "positions.flatten"
_TOKEN_S: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Flattening:
    """Which positions are to be closed."""

    account_id: str = ""
    instance_id: str = ""
    symbol: str = ""
    halt: bool = False

    @property
    def scope(self) -> Scope:
        """What is halted with it."""
        if self.instance_id:
            return Scope(ScopeKind.STRATEGY, self.instance_id)
        if self.account_id:
            return Scope(ScopeKind.ACCOUNT, self.account_id)
        return Scope(ScopeKind.INSTRUMENT, self.symbol) if self.symbol else PLATFORM


class Flattener:
    """Closes positions."""

    def __init__(
        self,
        desk: TradingDesk,
        survey: Survey,
        states: TradingStates,
        operations: Operations,
        events: Events,
        clock: Clock,
        shown: Callable[[Mapping[str, Any]], OperationResult],
    ) -> None:
        """Close positions through `desk`, as operations whose result `shown` makes of a summary."""
        self._shown = shown
        self._desk = desk
        self._survey = survey
        self._states = states
        self._operations = operations
        self._events = events
        self._clock = clock

    async def concerned(self, asked: Flattening) -> tuple[list[Held], list[StoredOrder]]:
        """Return the positions that would be closed and the orders that would be cancelled first."""
        held = await self._survey.positions(asked.account_id, asked.instance_id or None)
        orders = await self._desk.open_orders(
            account_id=asked.account_id, instance_id=asked.instance_id, symbol=asked.symbol
        )
        return [each for each in held if asked.symbol in ("", each.symbol)], orders

    def token(self, asked: Flattening, held: Sequence[Held], actor: Actor) -> str:
        """Return the token that confirms a call for two minutes; it is bound to caller, request and positions."""
        return _token(int(self._clock.now().timestamp()), asked, held, actor)

    def _confirms(self, token: str, asked: Flattening, held: Sequence[Held], actor: Actor) -> bool:
        made = token.partition(".")[0]
        age_s = self._clock.now().timestamp() - int(made) if made.isdecimal() and len(made) < 12 else _TOKEN_S + 1
        return 0 <= age_s <= _TOKEN_S and token == _token(int(made), asked, held, actor)

    async def begin(self, asked: Flattening, token: str, reason: str, actor: Actor) -> Operation:
        """Begin to close positions.

        Raises:
            FailedPrecondition: The token is none for the positions as they are now.
        """
        held, _ = await self.concerned(asked)
        if not self._confirms(token, asked, held, actor):
            raise FailedPrecondition(
                "confirm_token must be that of a call with validate_only of the last two minutes for the positions as "
                "they are, was another; repeat the call with validate_only."
            )
        request = {
            "account_id": asked.account_id,
            "instance_id": asked.instance_id,
            "symbol": asked.symbol,
            "halt": asked.halt,
            "reason": reason,
        }
        return await self._operations.submit(
            KIND, request, subject_type="positions", subject=str(asked.scope), actor=actor
        )

    async def run(self, context: OperationContext) -> OperationResult:
        """Do it: cancel open orders, then close each position once."""
        request: Any = context.request
        asked = Flattening(
            account_id=request["account_id"],
            instance_id=request["instance_id"],
            symbol=request["symbol"],
            halt=request["halt"],
        )
        actor, reason = context.operation.actor, request["reason"]
        if asked.halt:
            # First, so that no strategy opens anew what is being closed.
            await self._states.set(self._halted(asked.scope, reason, actor))
        held, found = await self.concerned(asked)
        orders = [each for each in found if each.origin != ENGINE]  # those of this operation, after a restart
        for order in orders:
            await self._desk.cancel(order.client_order_id, actor=actor, reason=reason)
        closing = await close_positions(self._desk, held, str(context.operation.operation_id), actor)
        denied = {each.spec.symbol: each.status_text for each in closing if each.denials}
        summary = {
            "cancelled_client_order_ids": [each.client_order_id for each in orders],
            "closing_client_order_ids": [each.client_order_id for each in closing],
            "failures": denied,
        }
        await self._tell(asked.scope, reason, summary, actor)
        return self._shown(summary)

    def _halted(self, scope: Scope, reason: str, actor: Actor | None) -> StateRow:
        return StateRow(
            scope=scope,
            state=TradingState.HALTED,
            reason=reason or "positions were flattened",
            actor=actor,
            set_time=self._clock.now(),
        )

    async def _tell(self, scope: Scope, reason: str, summary: Mapping[str, Any], actor: Actor | None) -> None:
        count = len(summary["closing_client_order_ids"])
        async with self._operations.database.transaction() as connection:
            await self._events.record(
                connection,
                "PositionsFlattened",
                f"Orders to close {count} positions of {scope} were given{': ' + reason if reason else ''}.",
                subject_type="positions",
                subject_name=str(scope),
                severity=Severity.WARNING,
                data=summary,
                actor=actor,
            )


def _token(made: int, asked: Flattening, held: Sequence[Held], actor: Actor) -> str:
    parts = [f"{each.account_id}/{each.instance_id}/{each.symbol}/{each.quantity}" for each in held]
    digest = hashlib.sha256(f"{made}|{actor.principal}|{asked}|{'|'.join(parts)}".encode()).hexdigest()
    return f"{made}.{digest[:32]}"


MANUAL: Final = uuid.UUID("b1a6f0a2-5d0c-4d58-8a44-0d6b3f0a6c55")
"""Name space of the ids of orders that people place."""


def manual_order_id(account_id: str, request_id: str) -> str:
    """Return the id of an order that somebody places: the same request on an account is the same order, ever."""
    return str(uuid.uuid5(MANUAL, f"{account_id}/{request_id}"))
