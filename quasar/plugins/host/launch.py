"""Turns this process into a program in another language: in the jail, with its two sockets open.

The program could not open them itself: the filter that closes the database's and the services' sockets to it closes all
sockets of that family. As with socket activation by systemd, the first one is descriptor 3.
"""

from __future__ import annotations

import fcntl
import os
import socket
from typing import Final, NoReturn

from quasar.plugins.jail.confinement import seal
from quasar.plugins.jail.posture import PostureItem, tell_posture
from quasar.plugins.jail.seccomp import LISTENING
from quasar.plugins.jail.spec import Spec

HOST: Final = 4
_ABOVE: Final = 10


def launch(spec: Spec, posture: list[PostureItem]) -> NoReturn:
    """Open the sockets, close the jail, and run the program in place of this one."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(spec.socket)
    listening.listen(16)
    host = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    host.connect(spec.host_socket)
    # Out of the way first: either may be what the other is to become.
    first = fcntl.fcntl(listening.fileno(), fcntl.F_DUPFD, _ABOVE)
    second = fcntl.fcntl(host.fileno(), fcntl.F_DUPFD, _ABOVE)
    listening.close()
    host.close()
    os.dup2(first, LISTENING)
    os.dup2(second, HOST)
    os.close(first)
    os.close(second)
    environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "plugin"}
    tell_posture([*posture, *seal(spec)])
    os.execve(spec.command[0], list(spec.command), environment)  # noqa: S606  # that is the purpose
