"""The services of the contract that the Registry serves, beside those that every process does."""

from __future__ import annotations

from typing import Final

from quasar_proto.registry.v1 import (
    asset_service_pb2_grpc,
    code_service_pb2_grpc,
    index_service_pb2_grpc,
    mapping_service_pb2_grpc,
    subscription_service_pb2_grpc,
)

SERVICES: Final = (
    asset_service_pb2_grpc.AssetServiceServicer,
    code_service_pb2_grpc.CodeServiceServicer,
    index_service_pb2_grpc.IndexServiceServicer,
    mapping_service_pb2_grpc.MappingServiceServicer,
    subscription_service_pb2_grpc.SubscriptionServiceServicer,
)
"""Those that no servicer implements are listed by reflection and answer UNIMPLEMENTED."""
