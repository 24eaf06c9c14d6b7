"""The services of the contract that the DataHub serves, beside those that every process does."""

from __future__ import annotations

from typing import Final

from quasar_proto.datahub.v1 import collection_service_pb2_grpc, market_data_service_pb2_grpc, provider_service_pb2_grpc

SERVICES: Final = (
    collection_service_pb2_grpc.CollectionServiceServicer,
    market_data_service_pb2_grpc.MarketDataServiceServicer,
    provider_service_pb2_grpc.ProviderServiceServicer,
)
"""Those that no servicer implements are listed by reflection and answer UNIMPLEMENTED."""
