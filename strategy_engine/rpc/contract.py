"""The services of the contract that the StrategyEngine serves, beside those that every process does."""

from __future__ import annotations

from typing import Final

from quasar_proto.strategy.v1 import (
    backtest_service_pb2_grpc,
    policy_service_pb2_grpc,
    portfolio_service_pb2_grpc,
    strategy_service_pb2_grpc,
    trading_service_pb2_grpc,
)

SERVICES: Final = (
    backtest_service_pb2_grpc.BacktestServiceServicer,
    policy_service_pb2_grpc.PolicyServiceServicer,
    portfolio_service_pb2_grpc.PortfolioServiceServicer,
    strategy_service_pb2_grpc.StrategyServiceServicer,
    trading_service_pb2_grpc.TradingServiceServicer,
)
"""Those that no servicer implements are listed by reflection and answer UNIMPLEMENTED."""
