from __future__ import annotations

import pytest

from grpc_gateway.routes import Route, resolve


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/quasar.registry.v1.CodeService/ListCode", "registry"),
        ("/quasar.datahub.v1.MarketDataService/StreamMarketData", "datahub"),
        ("/datahub/quasar.datahub.v1.MarketDataService/ListBars", "datahub"),
        ("/quasar.strategy.v1.TradingService/PlaceOrder", "strategy"),
        ("/quasar.ops.v1.SystemService/GetSystemInfo", "registry"),
        ("/strategy/quasar.ops.v1.SystemService/GetSystemInfo", "strategy"),
        ("/datahub/grpc.health.v1.Health/Check", "datahub"),
    ],
)
def test_each_method_has_its_service(path: str, service: str) -> None:
    assert resolve(path) == Route(service, "/" + path.split("/", 2)[-1] if path.count("/") == 3 else path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/quasar.plugin.v1.ProviderPlugin/FetchBars",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/registry/quasar.datahub.v1.MarketDataService/ListBars",
        "/nobody/quasar.ops.v1.SystemService/GetSystemInfo",
        "/quasar.ops.v1.SystemService/../x",
        "/quasar.ops.v1.SystemService/Get/System",
    ],
)
def test_nothing_else_can_be_reached(path: str) -> None:
    assert resolve(path) is None
