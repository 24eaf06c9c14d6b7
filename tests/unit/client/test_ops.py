"""The dataclass client has what the contract has."""

from __future__ import annotations

import re

import pytest

from quasar.client.ops import EventService, OperationService, SystemService
from quasar.client.typed import Service, Stream, Unary
from quasar_proto.ops.v1 import event_service_pb2, operation_service_pb2, system_service_pb2


@pytest.mark.parametrize(
    ("service", "module"),
    [
        (SystemService, system_service_pb2),
        (OperationService, operation_service_pb2),
        (EventService, event_service_pb2),
    ],
)
def test_each_service_has_every_method_with_its_messages(service: type[Service], module: object) -> None:
    contract = module.DESCRIPTOR.services_by_name[service.__name__]  # type: ignore[attr-defined]
    declared = {name: found for name, found in vars(service).items() if isinstance(found, Unary | Stream)}

    assert service.name == contract.full_name
    assert {
        name: (found.name, isinstance(found, Stream), found.request.__name__, found.response.__name__)
        for name, found in declared.items()
    } == {
        re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower(): (
            method.name,
            method.server_streaming,
            method.input_type.name,
            method.output_type.name,
        )
        for method in contract.methods
    }
