"""What fills the store: streams where the contract has them, else reads at an interval. No terminal here."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from quasar import errors
from quasar.clock import Clock
from quasar_client.datahub import v1 as datahub
from quasar_client.ops import v1 as ops
from quasar_client.registry import v1 as registry
from quasar_client.strategy import v1 as strategy
from tui.session import Session
from tui.store import LOG_LINES, Store, log_key

SERVICES: Final = ("registry", "datahub", "strategy")
LONGEST_WAIT_S: Final = 15.0
READ_S: Final = 2.0
RUNS: Final = 500
_WORKING: Final = " AND ".join(
    f'status != "{word}"' for word in ("FILLED", "CANCELLED", "REJECTED", "EXPIRED", "DENIED")
)


class Feeds:
    """Every feed of the console."""

    def __init__(self, session: Session, store: Store, clock: Clock) -> None:
        """Fill `store` through `session`."""
        self._session = session
        self._store = store
        self._clock = clock
        self._watched: tuple[tuple[str, str], ...] = ()

    async def run(self) -> None:
        """Fill the store until cancelled."""
        async with asyncio.TaskGroup() as group:
            for service in SERVICES:
                group.create_task(self._keep(f"{service} state", self._system, service))
                group.create_task(self._keep(f"{service} figures", self._metrics, service))
                group.create_task(self._keep(f"{service} log", self._logs, service))
            for name, read in (
                ("providers", self._providers),
                ("subscriptions", self._subscriptions),
                ("gaps", self._gaps),
                ("strategies", self._strategies),
                ("orders", self._orders),
                ("symbols", self._symbols),
            ):
                group.create_task(self._keep(name, self._again, read))
            group.create_task(self._keep("runs", self._runs))
            group.create_task(self._keep("events", self._events))
            group.create_task(self._keep("prices", self._prices))

    async def _keep(self, name: str, feed: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run a feed for ever: when it fails, the others go on, its last values stay, and it is tried again."""
        link, wait_s = self._store.link(name), 0.5
        while True:
            began = self._clock.monotonic()
            try:
                await feed(*args)
                problem = "the stream ended"
            except errors.QuasarError as error:
                problem = error.message
            if self._clock.monotonic() - began > LONGEST_WAIT_S:
                wait_s = 0.5
            link.state, link.error = "reconnecting", problem
            self._store.changed()
            await self._clock.sleep(wait_s * (0.5 + random.random() / 2))  # noqa: S311 - spreads attempts, no secret
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s)

    async def _again(self, read: Callable[[], Awaitable[str]]) -> None:
        while True:
            self._live(await read())
            await self._clock.sleep(READ_S)

    def _live(self, name: str, *loaded: str) -> None:
        link = self._store.link(name)
        link.state, link.error, link.last = "live", "", self._clock.now()
        self._store.changed(*(loaded or (name,)))

    async def _each(self, name: str, stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for message in stream:
            yield message
            self._live(name)

    # What every service serves.

    async def _system(self, service: str) -> None:
        try:
            while True:
                answer = await self._session.call(
                    "ops.v1.SystemService/GetSystemInfo",
                    ops.GetSystemInfoRequest(),
                    ops.GetSystemInfoResponse,
                    service=service,
                )
                self._store.systems[service] = answer.system_info
                self._live(f"{service} state", "systems")
                await self._clock.sleep(READ_S)
        finally:
            self._store.systems.pop(service, None)
            self._store.changed("systems")

    async def _metrics(self, service: str) -> None:
        stream = self._session.stream(
            "ops.v1.SystemService/WatchMetrics", ops.WatchMetricsRequest(), ops.WatchMetricsResponse, service=service
        )
        async for message in self._each(f"{service} figures", stream):
            self._store.put_metrics(service, message.metrics)

    async def _logs(self, service: str) -> None:
        request = ops.WatchLogsRequest(min_level="info", tail=LOG_LINES)
        stream = self._session.stream("ops.v1.SystemService/WatchLogs", request, ops.WatchLogsResponse, service=service)
        # A stream that was broken begins with lines that are there already.
        known = {log_key(line) for line in self._store.logs if line.service == service}
        async for message in self._each(f"{service} log", stream):
            fresh = [record for record in message.records if not _routine(record) and log_key(record) not in known]
            self._store.logs.extend(fresh)
            self._store.loaded.add("logs")

    async def _events(self) -> None:
        page = await self._session.call(
            "ops.v1.EventService/ListEvents",
            ops.ListEventsRequest(page_size=200),
            ops.ListEventsResponse,
            service="registry",
        )
        self._store.events.clear()
        self._store.events.extend(page.events)
        self._live("events")
        cursor = str(page.events[0].event_id) if page.events else ""
        request = ops.WatchEventsRequest(cursor=cursor)
        stream = self._session.stream(
            "ops.v1.EventService/WatchEvents", request, ops.WatchEventsResponse, service="registry"
        )
        async for message in self._each("events", stream):
            for event in message.events:
                self._store.events.appendleft(event)

    # Registry and DataHub.

    async def _providers(self) -> str:
        codes = await self._session.call(
            "registry.v1.CodeService/ListCode",
            registry.ListCodeRequest(page_size=500, filter='kind = "PROVIDER"'),
            registry.ListCodeResponse,
        )
        self._store.read("codes", codes)
        self._store.codes = {one.ref.name: one for one in codes.codes if one.ref}
        self._store.changed("codes")
        running = await self._session.call(
            "datahub.v1.ProviderService/ListProviders",
            datahub.ListProvidersRequest(page_size=500),
            datahub.ListProvidersResponse,
        )
        self._store.providers = {one.name: one for one in running.providers}
        return "providers"

    async def _subscriptions(self) -> str:
        answer = await self._session.call(
            "registry.v1.SubscriptionService/ListSubscriptions",
            registry.ListSubscriptionsRequest(page_size=500),
            registry.ListSubscriptionsResponse,
        )
        self._store.read("subscriptions", answer)
        self._store.subscriptions = {one.subscription_id: one for one in answer.subscriptions}
        return "subscriptions"

    async def _runs(self) -> None:
        stream = self._session.stream(
            "datahub.v1.CollectionService/WatchRuns", datahub.WatchRunsRequest(), datahub.WatchRunsResponse
        )
        told: dict[str, datahub.Run] = {}
        complete = False
        async for message in self._each("runs", stream):
            told.update((run.run_id, run) for run in message.runs)
            if message.snapshot_complete:
                # The stream begins with what has not ended; what ended before, also during a break, is read beside it.
                self._store.runs, complete = await self._past_runs(), True
            self._store.runs.update(told)
            if complete:
                told.clear()
            for old in list(self._store.runs)[:-RUNS]:
                del self._store.runs[old]

    async def _past_runs(self) -> dict[str, datahub.Run]:
        answer = await self._session.call(
            "datahub.v1.CollectionService/ListRuns",
            datahub.ListRunsRequest(page_size=RUNS, order_by="create_time desc"),
            datahub.ListRunsResponse,
        )
        return {run.run_id: run for run in reversed(answer.runs)}

    async def _gaps(self) -> str:
        answer = await self._session.call(
            "datahub.v1.CollectionService/ListGaps", datahub.ListGapsRequest(page_size=500), datahub.ListGapsResponse
        )
        self._store.read("gaps", answer)
        self._store.gaps = {one.gap_id: one for one in answer.gaps}
        return "gaps"

    async def _symbols(self) -> str:
        answer = await self._session.call(
            "datahub.v1.MarketDataService/SearchSeries",
            datahub.SearchSeriesRequest(page_size=500),
            datahub.SearchSeriesResponse,
        )
        self._store.read("prices", answer)
        keys = [match.symbol.key for match in answer.matches if match.has_live and match.symbol and match.symbol.key]
        watched = tuple(sorted({(key.provider, key.symbol) for key in keys}))
        if watched != self._watched:
            self._watched = watched
        if not watched:
            self._store.changed("prices")
        return "symbols"

    async def _prices(self) -> None:
        while not self._watched:
            self._live("prices", "symbols")
            await self._clock.sleep(0.5)
        watched = self._watched
        by_provider: dict[str, list[str]] = {}
        for provider, symbol in watched:
            by_provider.setdefault(provider, []).append(symbol)
        request = datahub.WatchPricesRequest(
            symbols=[
                datahub.SymbolSelector(provider_symbols=datahub.ProviderSymbols(provider=provider, symbols=symbols))
                for provider, symbols in by_provider.items()
            ],
            interval=dt.timedelta(milliseconds=250),
            heartbeat_interval=dt.timedelta(seconds=2),
        )
        stream = self._session.stream("datahub.v1.MarketDataService/WatchPrices", request, datahub.WatchPricesResponse)
        async for message in self._each("prices", stream):
            for price in message.prices:
                if price.series and price.series.key:
                    self._store.put_price(f"{price.series.key.provider}:{price.series.key.symbol}", price)
            if self._watched != watched:
                return

    # StrategyEngine.

    async def _strategies(self) -> str:
        answer = await self._session.call(
            "strategy.v1.StrategyService/ListInstances",
            strategy.ListInstancesRequest(page_size=200),
            strategy.ListInstancesResponse,
        )
        self._store.read("instances", answer)
        self._store.instances = {one.instance_id: one for one in answer.instances}
        self._store.changed("instances")
        scope = strategy.PolicyScope(kind=strategy.ScopeKind.PLATFORM)
        state = await self._session.call(
            "strategy.v1.PolicyService/GetTradingState",
            strategy.GetTradingStateRequest(scope=scope),
            strategy.GetTradingStateResponse,
        )
        self._store.trading_state = state.trading_state
        return "strategies"

    async def _orders(self) -> str:
        # Those that work, however old, and the newest ones.
        listed = [await self._listed_orders(chosen) for chosen in (_WORKING, "")]
        self._store.orders = {one.client_order_id: one for orders in listed for one in orders}
        positions = await self._session.call(
            "strategy.v1.PortfolioService/ListPositions",
            strategy.ListPositionsRequest(page_size=200),
            strategy.ListPositionsResponse,
        )
        self._store.positions = {f"{one.account_id}:{one.instance_id}:{one.symbol}": one for one in positions.positions}
        return "orders"

    async def _listed_orders(self, chosen: str) -> list[strategy.Order]:
        request = strategy.ListOrdersRequest(page_size=200, filter=chosen)
        answer = await self._session.call("strategy.v1.TradingService/ListOrders", request, strategy.ListOrdersResponse)
        return list(answer.orders)


def _routine(record: Any) -> bool:
    """Tell whether a line only says that a call went well, or that its caller left: the console alone makes many."""
    fields = record.fields.to_dict() if record.fields else {}
    ended = record.event == "call ended" and record.level == "info"
    return bool(ended and fields.get("code") in ("OK", "CANCELLED"))
