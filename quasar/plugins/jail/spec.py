"""What a service tells the process that it starts: which code, which folders, which limits. No secrets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

VARIABLE: Final = "QUASAR_PLUGIN_SPEC"
SOCKET_VARIABLE: Final = "QUASAR_PLUGIN_SOCKET"
HOST_SOCKET_VARIABLE: Final = "QUASAR_PLUGIN_HOST_SOCKET"

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one process may use."""

    memory_bytes: int = 512 * _MIB
    """Resident memory not shared with others; a process above it is killed."""
    scratch_bytes: int = 256 * _MIB
    """All files of the scratch folder together."""
    file_bytes: int = 64 * _MIB
    """One file."""
    open_files: int = 512
    threads: int = 256
    """Where the process has a user of its own."""
    cpu_s: int = 0
    """Processor time in all; 0: no limit."""
    nice: int = 5
    """How far it stands back behind the services when cores are short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One process."""

    kind: str
    """`provider`, `broker` or `strategy`."""
    name: str
    """For the log; what the code calls itself is in its manifest."""
    version: int = 0
    """0: built-in."""
    path: str = ""
    """File with uploaded code; empty: built-in."""
    file_name: str = ""
    """What the author called the file."""
    sha256: str = ""
    """Of the file."""
    builtin: str = ""
    """`module:Class` of code that is part of the platform."""
    socket: str
    """Unix socket that the process serves on."""
    host_socket: str
    """Unix socket on which the service answers."""
    service_pid: int = 0
    """Process that starts this one, which ends with it; 0: not looked at."""
    run_folder: str
    """Folder of the two sockets; becomes the process's own."""
    scratch: str
    """Folder that it may write to."""
    pipes: str = ""
    """Folder of the pipes that it may write live rows to."""
    ports: tuple[int, ...] = ()
    """TCP ports that it may connect to; empty: no network."""
    command: tuple[str, ...] = ()
    """Of a program in another language, its path first; empty: Python."""
    program_folder: str = ""
    """Where the files of such a program lie."""
    readable: tuple[str, ...] = ()
    """Further files and folders that it may read."""
    limits: Limits = field(default_factory=Limits)
    log_level: str = "info"
    wire: str = ""
    """`record`: traffic is kept in the scratch folder; `replay:PORT`: it is led to a player on this machine."""

    def to_json(self) -> str:
        """Return the form that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Read what `to_json` returned."""
        values = json.loads(text)
        values["limits"] = Limits(**values["limits"])
        values["ports"] = tuple(values["ports"])
        values["readable"] = tuple(values["readable"])
        values["command"] = tuple(values["command"])
        return cls(**values)
