"""Ports are looked at before anything starts, and who has them is named."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import psutil
import pytest

from quasar.errors import PortInUse, StartupError
from quasar.supervisor.ports import PortWish, demand_free, port_owner


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def wish(port: int, part: str = "registry", host: str = "127.0.0.1") -> PortWish:
    return PortWish(part, host, port, f"QUASAR_{part.upper()}_PORT")


def test_a_port_in_use_is_named_with_its_program_and_the_remedy(taken: int) -> None:
    with pytest.raises(PortInUse) as caught:
        demand_free([wish(taken)])
    name = psutil.Process().name()
    assert caught.value.message == (
        f"Port {taken} of the registry is in use by {name} (process {os.getpid()}); "
        "stop that program, or set QUASAR_REGISTRY_PORT to another port."
    )


def test_free_ports_pass() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    demand_free([wish(port)])
    assert port_owner(port) is None


def test_two_parts_on_one_port_are_refused() -> None:
    with pytest.raises(StartupError, match="QUASAR_DATAHUB_PORT must differ from QUASAR_REGISTRY_PORT, was 65000"):
        demand_free([wish(65000), wish(65000, "datahub")])


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartupError, match="set QUASAR_BIND to an address of this machine"):
        demand_free([wish(65000, host="192.0.2.1")])


def test_a_name_that_is_no_address_is_refused() -> None:
    with pytest.raises(StartupError, match="QUASAR_BIND must be an address of this machine, was 'no such host'"):
        demand_free([wish(65000, host="no such host")])
