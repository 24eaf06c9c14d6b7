"""Ports that must be free before anything is started."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from quasar.errors import PortInUse, StartupError


@dataclass(frozen=True, slots=True)
class PortWish:
    """A port that a process of the platform is going to listen on."""

    part: str
    host: str
    port: int
    variable: str
    """The setting that chooses another port."""


def demand_free(wishes: Sequence[PortWish]) -> None:
    """Check that every port can be listened on.

    Raises:
        StartupError: One cannot (`PortInUse` when another program has it); the message names the port, who has it
            when that can be told, and the remedy.
    """
    taken: dict[int, PortWish] = {}
    for wish in wishes:
        if (other := taken.setdefault(wish.port, wish)) is not wish:
            raise StartupError(
                f"{wish.variable} must differ from {other.variable}, was {wish.port} for both; set one to another port."
            )
        _demand_free(wish)


def _demand_free(wish: PortWish) -> None:
    family, address = _family_and_address(wish)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose former connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise _problem(wish, error) from error


def _family_and_address(wish: PortWish) -> tuple[int, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(wish.host, wish.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise StartupError(
            f"QUASAR_BIND must be an address of this machine, was {wish.host!r} ({error.strerror}); "
            "unset it for 127.0.0.1."
        ) from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _problem(wish: PortWish, error: OSError) -> StartupError:
    what = f"Port {wish.port} of the {wish.part}"
    if error.errno == errno.EADDRINUSE:
        owner = port_owner(wish.port)
        by = f" by {owner}" if owner else ""
        return PortInUse(f"{what} is in use{by}; stop that program, or set {wish.variable} to another port.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return StartupError(f"{what} may not be used by this user; set {wish.variable} to a port above 1023.")
    return StartupError(
        f"The {wish.part} cannot listen on {wish.host}:{wish.port} ({error.strerror}); "
        f"set QUASAR_BIND to an address of this machine, or {wish.variable} to another port."
    )


def port_owner(port: int) -> str | None:
    """Return the program and process id that listen on a TCP port; None when that cannot be told."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return None
    for connection in connections:
        listening = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        if listening and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
            except psutil.Error:
                return f"process {connection.pid}"
    return None
