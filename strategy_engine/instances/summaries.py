"""What instances show at a glance: worth, what happened today, and the version of the code that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quasar.clock import Clock
from strategy_engine.instances.instances import Instance
from strategy_engine.policy.limits import PLATFORM, Scope, ScopeKind, TradingState
from strategy_engine.portfolio.figures import Worth, worth
from strategy_engine.store.instance_table import InstanceTable
from strategy_engine.trading.orders import ZERO, Account, Held
from strategy_engine.trading.records import TradeRecords
from strategy_engine.trading.survey import Survey, instance_cash, midnight


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What one instance shows at a glance."""

    worth: Worth | None
    """None: it has not run."""
    currency: str
    code_version: int
    """The version that runs, or that the next start would take; 0: there is none."""
    open_orders: int
    fills_today: int
    denials_today: int
    last_data_ns: int
    """0: it was shown nothing."""
    last_signal: Mapping[str, Any] | None
    """In the JSON form of the contract's `Signal`; None: none was given."""
    last_signal_ns: int
    trading_state: TradingState
    """The strictest of the instance, its account and the platform."""
    sparkline: Sequence[float]
    """Equity over the present day, at most 60 values."""


class Summaries:
    """Reads summaries of many instances in a fixed number of statements."""

    def __init__(self, table: InstanceTable, records: TradeRecords, survey: Survey, clock: Clock) -> None:
        """Read these tables; positions are valued as `survey` does."""
        self._table = table
        self._records = records
        self._survey = survey
        self._clock = clock

    async def of(self, instances: Sequence[Instance]) -> list[Summary]:
        """Return the summary of each instance, in their order. The trading day begins at midnight UTC."""
        if not instances:
            return []
        names = [each.instance_id for each in instances]
        now = self._clock.now()
        today = midnight(now)
        rows = await self._table.glances(names, today)
        curves = await self._table.sparklines(names, today)
        accounts = {each.account_id: each for each in await self._records.accounts.all()}
        states = {each.scope: each.at(now) for each in await self._records.policies.states(now)}
        held: dict[str, list[Held]] = {}
        for position in await self._records.accounts.positions(include_flat=True):
            held.setdefault(position.instance_id, []).append(self._survey.priced(position))
        return [
            _summary(
                each,
                rows.get(each.instance_id, {}),
                accounts.get(each.account_id),
                held.get(each.instance_id, []),
                _strictest(each, states),
                curves.get(each.instance_id, ()),
            )
            for each in instances
        ]


def _summary(
    instance: Instance,
    row: Mapping[str, Any],
    account: Account | None,
    held: Sequence[Held],
    state: TradingState,
    sparkline: Sequence[float],
) -> Summary:
    return Summary(
        worth=_worth(instance, row, account, held),
        currency=instance.capital_currency or (account.currency if account else ""),
        code_version=instance.code_version or row.get("code_version") or 0,
        open_orders=row.get("open_orders", 0),
        fills_today=row.get("fills_today", 0),
        denials_today=row.get("denials_today", 0),
        last_data_ns=row.get("last_data_ns") or 0,
        last_signal=row.get("last_signal"),
        last_signal_ns=row.get("last_signal_ns") or 0,
        trading_state=state,
        sparkline=sparkline,
    )


def _worth(instance: Instance, row: Mapping[str, Any], account: Account | None, held: Sequence[Held]) -> Worth | None:
    if instance.run_id is None and instance.last_run_id is None:
        return None
    capital = instance.capital if instance.capital is not None else (account.initial_cash if account else ZERO)
    start = row.get("day_start")
    peak = max(row.get("peak") or ZERO, capital)
    return worth(instance_cash(capital, held), held, capital if start is None else start, peak)


def _strictest(instance: Instance, states: Mapping[Scope, TradingState]) -> TradingState:
    own, account = Scope(ScopeKind.STRATEGY, instance.instance_id), Scope(ScopeKind.ACCOUNT, instance.account_id)
    found = [states.get(scope, TradingState.ACTIVE) for scope in (own, account, PLATFORM)]
    return max(found, key=lambda state: state.severity)
