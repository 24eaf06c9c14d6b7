"""A small DataHub on a socket: it answers what a test puts into it, through the real contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from quasar.clock import SystemClock
from quasar.errors import QuasarError, VendorFailed
from quasar.metrics import Metrics
from quasar.rpc.health import Health
from quasar.rpc.server import RpcServer, ServerSettings
from quasar_proto.datahub.v1 import provider_pb2
from quasar_proto.datahub.v1 import provider_service_pb2 as pb
from quasar_proto.datahub.v1 import provider_service_pb2_grpc as stubs
from quasar_proto.strategy.v1 import strategy_service_pb2 as strategy_pb
from quasar_proto.strategy.v1 import strategy_service_pb2_grpc as strategy_stubs
from quasar_proto.strategy.v1 import trading_service_pb2 as trading_pb
from quasar_proto.strategy.v1 import trading_service_pb2_grpc as trading_stubs
from tests.integration.rpc.harness import Tokens


@dataclass
class Vendor:
    """What one provider answers."""

    symbols: list[provider_pb2.ProviderSymbol] = field(default_factory=list)
    constituents: dict[str, list[provider_pb2.Constituent]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    failure: QuasarError | None = None
    breaks_after: int | None = None
    """The stream breaks off after so many symbols."""
    page: int = 1000
    asked_for: list[str] = field(default_factory=list)
    """The dates that constituents were asked for."""


class ProviderService(stubs.ProviderServiceServicer):
    """Answers for the vendors."""

    def __init__(self, vendors: dict[str, Vendor]) -> None:
        self._vendors = vendors

    async def ListProviderSymbols(self, request: Any, context: Any) -> AsyncIterator[Any]:
        vendor = self._vendors[request.name]
        if vendor.failure is not None:
            raise vendor.failure
        size = min(vendor.page, request.batch_size or vendor.page)
        for start in range(0, max(len(vendor.symbols), 1), size):
            if vendor.breaks_after is not None and start >= vendor.breaks_after:
                raise VendorFailed("The vendor broke off.")
            yield pb.ListProviderSymbolsResponse(
                symbols=vendor.symbols[start : start + size],
                total=len(vendor.symbols),
                errors=vendor.errors if start == 0 else [],
                error_count=len(vendor.errors),
            )

    async def ListConstituents(self, request: Any, context: Any) -> Any:
        vendor = self._vendors[request.name]
        vendor.asked_for.append(request.as_of_date)
        if vendor.failure is not None:
            raise vendor.failure
        members = vendor.constituents.get(request.index, [])
        return pb.ListConstituentsResponse(index=request.index, constituents=members, errors=vendor.errors)


class TradingService(trading_stubs.TradingServiceServicer):
    """Answers for the brokers."""

    def __init__(self, vendors: dict[str, Vendor]) -> None:
        self._vendors = vendors

    async def ListBrokerInstruments(self, request: Any, context: Any) -> AsyncIterator[Any]:
        vendor = self._vendors[request.name]
        if vendor.failure is not None:
            raise vendor.failure
        for start in range(0, max(len(vendor.symbols), 1), vendor.page):
            yield trading_pb.ListBrokerInstrumentsResponse(
                instruments=vendor.symbols[start : start + vendor.page],
                errors=vendor.errors if start == 0 else [],
                error_count=len(vendor.errors),
            )


class StrategyService(strategy_stubs.StrategyServiceServicer):
    """Runs what a test says."""

    def __init__(self) -> None:
        self.instances: list[Any] = []

    async def ListInstances(self, request: Any, context: Any) -> Any:
        return strategy_pb.ListInstancesResponse(instances=self.instances)


@asynccontextmanager
async def peers(vendors: dict[str, Vendor], strategies: StrategyService) -> AsyncIterator[str]:
    """Serve both services that the registry asks, and yield their address."""
    clock = SystemClock()
    server = RpcServer(
        ServerSettings(drain_grace_s=0.2),
        service="datahub",
        authenticator=Tokens(),
        health=Health(clock),
        clock=clock,
        metrics=Metrics("datahub", clock),
    )
    server.add(ProviderService(vendors))
    server.add(TradingService(vendors))
    server.add(strategies)
    port = await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.drain()
