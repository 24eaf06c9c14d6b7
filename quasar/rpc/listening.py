"""Whether an address can be listened on, asked before the gRPC library does: it would only say that it could not."""

from __future__ import annotations

import errno
import socket

from quasar import errors


def require_free(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on.

    Args:
        host: Name or number of an address of this machine.
        port: The port; 0, any free one, is always there.

    Raises:
        quasar.errors.PortInUse: Another program listens there.
        quasar.errors.StartupError: The address is not one of this machine, or the port needs a privilege.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise errors.StartupError(f"The host must be an address of this machine, was {host!r}.") from error
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise _refusal(host, port, error) from error


def _refusal(host: str, port: int, error: OSError) -> errors.StartupError:
    if error.errno == errno.EADDRINUSE:
        return errors.PortInUse(
            f"{host}:{port} must be free to listen on, was in use; stop the program that listens there, "
            "or set another port."
        )
    if error.errno == errno.EACCES:
        return errors.StartupError(f"The port must be 1024 or greater without a privilege, was {port}.")
    return errors.StartupError(f"The host must be an address of this machine, was {host!r} ({error.strerror}).")
