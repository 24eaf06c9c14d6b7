"""Which process this is: what a service says of itself that does not change while it runs."""

from __future__ import annotations

import datetime as dt
import os
import platform
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata

from quasar.clock import Clock

DISTRIBUTION = "quasar-platform"
_TOLD = ("grpcio", "protobuf", "asyncpg")


def platform_version() -> str:
    """Return the version of the platform that is installed."""
    return metadata.version(DISTRIBUTION)


@dataclass(frozen=True, slots=True)
class Identity:
    """One run of one service."""

    service: str
    instance_id: str
    """Changes with every start."""
    start_time: dt.datetime
    started: float
    """The start on the monotonic clock, in seconds."""
    version: str
    pid: int
    host: str
    features: Mapping[str, bool] = field(default_factory=dict)
    """Optional abilities by name, and whether they are on."""
    runtime: Mapping[str, str] = field(default_factory=dict)
    """Versions that matter when reporting a problem."""

    @classmethod
    def of_this_process(cls, service: str, clock: Clock, features: Mapping[str, bool]) -> Identity:
        """Return the identity of the present run."""
        versions = {name: metadata.version(name) for name in _TOLD}
        return cls(
            service=service,
            instance_id=uuid.uuid4().hex,
            start_time=clock.now(),
            started=clock.monotonic(),
            version=platform_version(),
            pid=os.getpid(),
            host=socket.gethostname(),
            features=dict(features),
            runtime={"python": platform.python_version(), "platform": platform.platform(), **versions},
        )
