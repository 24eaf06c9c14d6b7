"""The whole platform as one object: a connection to each service, found as the environment says.

    async with Platform.read(os.environ) as quasar:
        codes = await quasar.code.ListCode(ListCodeRequest())

Each attribute is a service of the contract; its methods are awaited, its streams iterated.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Self

from quasar.client.channel import Channel, ClientSettings
from quasar.client.health import is_ready
from quasar.client.market_data import MarketData
from quasar.clock import Clock, SystemClock
from quasar.config import DATAHUB, GATEWAY, REGISTRY, SERVICES, STRATEGY, Settings
from quasar.environment import BadSetting, Environment
from quasar.errors import QuasarError, ServiceUnavailable
from quasar.rpc.errors import code_of, from_status
from quasar_proto.datahub.v1 import collection_service_pb2_grpc as collection_grpc
from quasar_proto.datahub.v1 import market_data_service_pb2_grpc as market_data_grpc
from quasar_proto.datahub.v1 import provider_service_pb2_grpc as provider_grpc
from quasar_proto.ops.v1 import event_service_pb2_grpc as event_grpc
from quasar_proto.ops.v1 import operation_pb2
from quasar_proto.ops.v1 import operation_service_pb2 as operations_pb
from quasar_proto.ops.v1 import operation_service_pb2_grpc as operation_grpc
from quasar_proto.registry.v1 import asset_service_pb2_grpc as asset_grpc
from quasar_proto.registry.v1 import code_service_pb2_grpc as code_grpc
from quasar_proto.registry.v1 import subscription_service_pb2_grpc as subscription_grpc
from quasar_proto.strategy.v1 import backtest_service_pb2_grpc as backtest_grpc
from quasar_proto.strategy.v1 import policy_service_pb2_grpc as policy_grpc
from quasar_proto.strategy.v1 import portfolio_service_pb2_grpc as portfolio_grpc
from quasar_proto.strategy.v1 import strategy_service_pb2_grpc as strategy_grpc
from quasar_proto.strategy.v1 import trading_service_pb2_grpc as trading_grpc


class Platform:
    """Connections to the three services. Use it as an async context manager."""

    def __init__(self, settings: Mapping[str, ClientSettings], *, clock: Clock | None = None) -> None:
        """Prepare the connections; each is made with its first call.

        Args:
            settings: How to call each service, by its noun: `registry`, `datahub`, `strategy`.
            clock: Measures deadlines and pauses.
        """
        self.clock = clock or SystemClock()
        self.channels = {name: Channel(each, clock=self.clock) for name, each in settings.items()}
        """A channel to each service, by its noun."""
        live = replace(settings[DATAHUB.name], live=True)
        self._live = Channel(live, clock=self.clock)
        self._stack = AsyncExitStack()

    @classmethod
    def read(cls, variables: Mapping[str, str], *, clock: Clock | None = None) -> Self:
        """Return the platform that the environment names.

        The services are those of this machine unless `QUASAR_REGISTRY_ADDRESS` and its like say otherwise; the token is
        `QUASAR_TOKEN` (or the file `QUASAR_TOKEN_FILE`), else that of the local administrator.

        Raises:
            BadSetting: There is no token, or a variable has a value that cannot be used.
        """
        shared = Settings.read(GATEWAY, variables)
        token = Environment(variables).text("QUASAR_TOKEN")
        file = shared.home.admin_token
        if token is None and not file.is_file():
            rule = f"must be set, for {file} does not exist; start the platform with `quasar up`, or name a token"
            raise BadSetting("QUASAR_TOKEN", rule, None)
        tls = shared.tls
        settings = {
            part.name: ClientSettings(
                target=shared.peers[part.name],
                service=part.name,
                token=token,
                token_file=None if token else file,
                tls_ca=tls.ca or tls.certificate,
                tls_cert=tls.certificate,
                tls_key=tls.key,
            )
            for part in SERVICES
        }
        return cls(settings, clock=clock)

    async def __aenter__(self) -> Self:
        """Use the connections."""
        for channel in (*self.channels.values(), self._live):
            await self._stack.enter_async_context(channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections and cancel the calls that are open."""
        await self._stack.aclose()

    async def ready(self, *, within_s: float = 0.0) -> None:
        """Wait until every service says that it is ready.

        Args:
            within_s: How long to ask again; 0: ask once.

        Raises:
            ServiceUnavailable: One is not; the message names it.
        """
        ends = self.clock.monotonic() + within_s
        for name, channel in self.channels.items():
            while not await _answers(channel):
                if self.clock.monotonic() >= ends:
                    where = channel.settings.target
                    raise ServiceUnavailable(
                        f"the {name} must be up and ready at {where}, was not; start the platform with `quasar up` "
                        "and see `quasar status`",
                        metadata={"service": name},
                    )
                await self.clock.sleep(0.2)

    async def finished(self, operation: operation_pb2.Operation) -> operation_pb2.Operation:
        """Wait for the end of an operation and return it as it ended.

        Raises:
            QuasarError: It failed; the error is the operation's own.
        """
        states = self.channels[operation.service].stream(
            "quasar.ops.v1.OperationService/WatchOperation",
            operations_pb.WatchOperationRequest(operation_id=operation.operation_id),
            operations_pb.WatchOperationRequest.SerializeToString,
            operations_pb.WatchOperationResponse.FromString,
        )
        async with aclosing(states):
            async for state in states:
                operation = state.operation
        if operation.HasField("error"):
            raise from_status(operation.error, code_of(QuasarError()))
        return operation

    def operations(self, service: str) -> operation_grpc.OperationServiceAsyncStub:
        """Return the `OperationService` of a service."""
        return self.channels[service].stub(operation_grpc.OperationServiceStub)

    def events(self, service: str) -> event_grpc.EventServiceAsyncStub:
        """Return the `EventService` of a service."""
        return self.channels[service].stub(event_grpc.EventServiceStub)

    @cached_property
    def bars_and_ticks(self) -> MarketData:
        """Market data as numpy columns."""
        return MarketData(self.channels[DATAHUB.name], self._live, clock=self.clock)

    @cached_property
    def code(self) -> code_grpc.CodeServiceAsyncStub:
        """`quasar.registry.v1.CodeService`: providers, brokers and strategies."""
        return self.channels[REGISTRY.name].stub(code_grpc.CodeServiceStub)

    @cached_property
    def assets(self) -> asset_grpc.AssetServiceAsyncStub:
        """`quasar.registry.v1.AssetService`."""
        return self.channels[REGISTRY.name].stub(asset_grpc.AssetServiceStub)

    @cached_property
    def subscriptions(self) -> subscription_grpc.SubscriptionServiceAsyncStub:
        """`quasar.registry.v1.SubscriptionService`."""
        return self.channels[REGISTRY.name].stub(subscription_grpc.SubscriptionServiceStub)

    @cached_property
    def market_data(self) -> market_data_grpc.MarketDataServiceAsyncStub:
        """`quasar.datahub.v1.MarketDataService`."""
        return self.channels[DATAHUB.name].stub(market_data_grpc.MarketDataServiceStub)

    @cached_property
    def collection(self) -> collection_grpc.CollectionServiceAsyncStub:
        """`quasar.datahub.v1.CollectionService`."""
        return self.channels[DATAHUB.name].stub(collection_grpc.CollectionServiceStub)

    @cached_property
    def providers(self) -> provider_grpc.ProviderServiceAsyncStub:
        """`quasar.datahub.v1.ProviderService`."""
        return self.channels[DATAHUB.name].stub(provider_grpc.ProviderServiceStub)

    @cached_property
    def strategies(self) -> strategy_grpc.StrategyServiceAsyncStub:
        """`quasar.strategy.v1.StrategyService`."""
        return self.channels[STRATEGY.name].stub(strategy_grpc.StrategyServiceStub)

    @cached_property
    def backtests(self) -> backtest_grpc.BacktestServiceAsyncStub:
        """`quasar.strategy.v1.BacktestService`."""
        return self.channels[STRATEGY.name].stub(backtest_grpc.BacktestServiceStub)

    @cached_property
    def trading(self) -> trading_grpc.TradingServiceAsyncStub:
        """`quasar.strategy.v1.TradingService`."""
        return self.channels[STRATEGY.name].stub(trading_grpc.TradingServiceStub)

    @cached_property
    def policies(self) -> policy_grpc.PolicyServiceAsyncStub:
        """`quasar.strategy.v1.PolicyService`."""
        return self.channels[STRATEGY.name].stub(policy_grpc.PolicyServiceStub)

    @cached_property
    def portfolio(self) -> portfolio_grpc.PortfolioServiceAsyncStub:
        """`quasar.strategy.v1.PortfolioService`."""
        return self.channels[STRATEGY.name].stub(portfolio_grpc.PortfolioServiceStub)


async def _answers(channel: Channel) -> bool:
    try:
        return await is_ready(channel)
    except QuasarError:
        return False
