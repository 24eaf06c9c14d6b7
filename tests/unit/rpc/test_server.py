"""What a server refuses before it listens."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from quasar import errors
from quasar.metrics import Metrics
from quasar.rpc.caller import Caller
from quasar.rpc.health import Health
from quasar.rpc.listening import require_free
from quasar.rpc.server import RpcServer, ServerSettings
from quasar.testing.clock import FakeClock
from quasar_proto.ops.v1 import system_service_pb2_grpc as stubs


class Nobody:
    """Knows no token."""

    async def authenticate(self, bearer: str) -> Caller:
        """Refuse."""
        raise errors.Unauthenticated


def server() -> RpcServer:
    """Return a server that was not started."""
    clock = FakeClock()
    return RpcServer(
        ServerSettings(),
        service="registry",
        authenticator=Nobody(),
        health=Health(clock),
        clock=clock,
        metrics=Metrics("registry", clock),
    )


class Blocking(stubs.SystemServiceServicer):
    """Forgot `async`."""

    def GetSystemInfo(self, request: Any, context: Any) -> Any:
        return None


class OnlyOne(stubs.SystemServiceServicer):
    """Returns from a stream instead of yielding."""

    async def WatchLogs(self, request: Any, context: Any) -> Any:  # type: ignore[override]  # the mistake under test
        return None


async def test_a_method_that_would_block_the_loop_is_refused() -> None:
    with pytest.raises(errors.StartupError, match=r"Blocking\.GetSystemInfo must be a coroutine function"):
        server().add(Blocking())  # type: ignore[abstract]


async def test_a_stream_that_yields_nothing_is_refused() -> None:
    with pytest.raises(errors.StartupError, match=r"OnlyOne\.WatchLogs must be an async generator function"):
        server().add(OnlyOne())  # type: ignore[abstract]


async def test_a_service_is_added_once() -> None:
    built = server()
    built.add(stubs.SystemServiceServicer())  # type: ignore[abstract]

    with pytest.raises(errors.StartupError, match=r"quasar\.ops\.v1\.SystemService must be added once"):
        built.add(stubs.SystemServiceServicer())  # type: ignore[abstract]


async def test_a_server_that_never_started_has_nothing_to_drain() -> None:
    await server().drain()


def test_a_port_in_use_is_told_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(errors.PortInUse, match=rf"127\.0\.0\.1:{port} must be free .* set another port"):
            require_free("127.0.0.1", port)


def test_any_free_port_is_always_there() -> None:
    require_free("127.0.0.1", 0)
    require_free("localhost", 0)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_of_another_machine_is_told_as_such(host: str) -> None:
    with pytest.raises(errors.StartupError, match="The host must be an address of this machine"):
        require_free(host, 0)


@pytest.mark.parametrize(
    ("host", "address"), [("::1", "[::1]:0"), ("127.0.0.1", "127.0.0.1:0"), ("unix:/tmp/x.sock", "unix:/tmp/x.sock")]
)
def test_addresses_are_written_as_the_library_wants_them(host: str, address: str) -> None:
    assert ServerSettings(host=host).address == address
