"""Trading states: set with the event that tells it, and the open orders that a state takes back."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from quasar.ops.events import Events, Severity
from strategy_engine.policy.limits import Scope, ScopeKind, TradingState
from strategy_engine.store.policy_table import PolicyTable, StateRow
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.orders import ZERO, Held, StoredOrder
from strategy_engine.trading.survey import Survey

_Owner = tuple[str, str, str]


class TradingStates:
    """Sets trading states."""

    def __init__(self, desk: TradingDesk, survey: Survey, policies: PolicyTable, events: Events) -> None:
        """Set states in `policies`, between two orders of `desk`."""
        self._desk = desk
        self._survey = survey
        self._policies = policies
        self._events = events

    async def set(self, new: StateRow, *, loosen: bool = True) -> None:
        """Set a trading state: an order that was not sent before is judged by it.

        Args:
            new: The state.
            loosen: False: a stricter state that holds stays as it is.
        """
        async with self._desk.turn, self._policies.database.transaction() as connection:
            former = await self._policies.lock_state(connection, new.scope)
            if not loosen and former is not None and former.state.severity > new.state.severity:
                return
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
                    "before": {"state": former.state.value if former else TradingState.ACTIVE.value},
                    "after": {"state": new.state.value},
                },
                actor=new.actor,
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
        return [await self._desk.cancel(each.client_order_id, actor=new.actor) for each in orders]


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
