"""What a server reads from the contract, and what it refuses to serve."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from quasar import errors
from quasar.rpc.caller import ADMIN, OPERATOR, VIEWER
from quasar.rpc.contract import OPEN, has_rules, methods_of, service_of
from quasar.rpc.health import Health
from quasar.rpc.health_service import HealthService
from quasar.testing.clock import FakeClock
from quasar_proto.ops.v1 import system_service_pb2 as pb
from quasar_proto.ops.v1 import system_service_pb2_grpc as stubs


class Servicer(stubs.SystemServiceServicer):
    """Defines nothing."""


def test_methods_know_their_role_and_whether_they_stream() -> None:
    service, _ = service_of(Servicer())  # type: ignore[abstract]  # it is never called
    methods = {name: (m.role, m.server_streaming) for name, m in methods_of(service)}

    assert methods["GetSystemInfo"] == (VIEWER, False)
    assert methods["WatchLogs"] == (OPERATOR, True)
    assert methods["CreateToken"] == (ADMIN, False)


def test_health_is_open_to_everyone() -> None:
    service, _ = service_of(HealthService(Health(FakeClock()), frozenset))

    assert {method.role for _, method in methods_of(service)} == {OPEN}


def test_what_extends_no_generated_class_is_refused() -> None:
    with pytest.raises(errors.StartupError, match=r"must extend a generated `…Servicer` class, was dict"):
        service_of({})


def test_a_method_without_a_role_is_refused_by_name() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="careless.proto", package="careless.v1", syntax="proto3")
    file.message_type.add(name="Empty")
    file.service.add(name="CarelessService").method.add(
        name="Leak", input_type=".careless.v1.Empty", output_type=".careless.v1.Empty"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())

    with pytest.raises(errors.StartupError, match=r"careless\.v1\.CarelessService/Leak must name the role"):
        list(methods_of(pool.FindServiceByName("careless.v1.CarelessService")))


@pytest.mark.parametrize(("request_", "expected"), [(pb.GetSystemInfoRequest, False), (pb.CreateTokenRequest, True)])
def test_requests_without_rules_are_known_so_that_they_are_not_checked(request_: Any, expected: bool) -> None:
    assert has_rules(request_.DESCRIPTOR) is expected
