"""What an operator can do from the console: one call for each key. No terminal here."""

from __future__ import annotations

import datetime as dt
from typing import Any

from quasar import errors
from quasar_client.common import v1 as common
from quasar_client.datahub import v1 as datahub
from quasar_client.registry import v1 as registry
from quasar_client.strategy import v1 as strategy
from tui.session import Session
from tui.store import Store


class Commands:
    """What an operator can do from the console."""

    def __init__(self, session: Session, store: Store) -> None:
        """Act through `session`."""
        self._session = session
        self._store = store

    async def act(self, view: str, action: str, key: str) -> str:
        """Do something to a row; return what to tell.

        Raises:
            quasar.errors.QuasarError: The service refused.
        """
        handler = {
            ("subs", "pause"): self._pause,
            ("subs", "remove"): self._remove,
            ("jobs", "cancel"): self._cancel_run,
            ("jobs", "retry"): self._retry_run,
            ("gaps", "backfill"): self._backfill,
            ("strat", "start"): self._start,
            ("strat", "stop"): self._stop,
            ("ord", "cancel"): self._cancel_order,
            ("prov", "restart"): self._restart,
        }.get((view, action))
        return await handler(key) if handler else ""

    async def _pause(self, key: str) -> str:
        paused = _there(self._store.subscriptions, key).state is registry.SubscriptionState.PAUSED
        service = "registry.v1.SubscriptionService"
        if paused:
            request = registry.ResumeSubscriptionRequest(subscription_id=key)
            await self._session.call(f"{service}/ResumeSubscription", request, registry.ResumeSubscriptionResponse)
            return "subscription resumed"
        await self._session.call(
            f"{service}/PauseSubscription",
            registry.PauseSubscriptionRequest(subscription_id=key),
            registry.PauseSubscriptionResponse,
        )
        return "subscription paused"

    async def _remove(self, key: str) -> str:
        await self._session.call(
            "registry.v1.SubscriptionService/DeleteSubscription",
            registry.DeleteSubscriptionRequest(subscription_id=key),
            registry.DeleteSubscriptionResponse,
        )
        return "subscription removed; its bars stay"

    async def _cancel_run(self, key: str) -> str:
        request = datahub.CancelRunRequest(run_id=key)
        await self._session.call("datahub.v1.CollectionService/CancelRun", request, datahub.CancelRunResponse)
        return "run cancelled"

    async def _retry_run(self, key: str) -> str:
        request = datahub.RetryRunRequest(run_id=key)
        await self._session.call("datahub.v1.CollectionService/RetryRun", request, datahub.RetryRunResponse)
        return "run is tried again"

    async def _backfill(self, key: str) -> str:
        gap = _there(self._store.gaps, key)
        span = common.TimeRange(start=_time(gap.start_time_ns), end=_time(gap.end_time_ns) if gap.end_time_ns else None)
        request = datahub.BackfillRequest(series=[datahub.SeriesReference(series_id=gap.series_id)], range=span)
        await self._session.call("datahub.v1.CollectionService/Backfill", request, datahub.BackfillResponse)
        return "back-fill started"

    async def _start(self, key: str) -> str:
        request = strategy.StartInstanceRequest(instance_id=key)
        await self._session.call("strategy.v1.StrategyService/StartInstance", request, strategy.StartInstanceResponse)
        return f"{key} starts"

    async def _stop(self, key: str) -> str:
        request = strategy.StopInstanceRequest(instance_id=key, action=strategy.StopAction.CANCEL_ORDERS)
        await self._session.call("strategy.v1.StrategyService/StopInstance", request, strategy.StopInstanceResponse)
        return f"{key} stops; its open orders are cancelled"

    async def _cancel_order(self, key: str) -> str:
        if key.startswith("position/"):
            raise errors.InvalidArgument("A position cannot be cancelled; choose an order.")
        request = strategy.CancelOrderRequest(client_order_id=key)
        await self._session.call("strategy.v1.TradingService/CancelOrder", request, strategy.CancelOrderResponse)
        return "order cancelled"

    async def halt(self) -> str:
        """Halt trading of the whole platform; return what to tell.

        Raises:
            quasar.errors.QuasarError: The service refused.
        """
        await self._set_trading(strategy.TradingState.HALTED)
        return "trading is halted"

    async def resume(self) -> str:
        """Resume trading of the whole platform; return what to tell.

        Raises:
            quasar.errors.QuasarError: The service refused.
        """
        await self._set_trading(strategy.TradingState.ACTIVE)
        return "trading is resumed"

    async def _set_trading(self, state: strategy.TradingState) -> None:
        request = strategy.SetTradingStateRequest(
            scope=strategy.PolicyScope(kind=strategy.ScopeKind.PLATFORM), state=state, reason="set in the console"
        )
        await self._session.call("strategy.v1.PolicyService/SetTradingState", request, strategy.SetTradingStateResponse)

    async def _restart(self, key: str) -> str:
        request = datahub.RestartProviderRequest(name=key)
        await self._session.call("datahub.v1.ProviderService/RestartProvider", request, datahub.RestartProviderResponse)
        return f"{key} restarts"


def _there(rows: dict[str, Any], key: str) -> Any:
    if key not in rows:
        raise errors.NotFound("The row is gone; choose another one.")
    return rows[key]


def _time(nanoseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(nanoseconds / 1e9, dt.UTC)
