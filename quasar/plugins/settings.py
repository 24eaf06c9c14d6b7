"""How a service runs the processes of its plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """How processes are run."""

    service: str = "quasar"
    """Who runs them."""
    instance_id: str = ""
    platform_version: str = ""
    runtime: Path | None = None
    """Folder for sockets and scratch folders; None: below the system's temporary folder."""
    start_s: float = 20.0
    """Time until a process has to be ready."""
    health_s: float = 2.0
    """Time between two questions how it is."""
    hang_s: float = 10.0
    """Time without an answer after which a process counts as hung."""
    grace_s: float = 5.0
    """Time that a process has to end after it was asked to."""
    log_level: str = "info"
    validating: bool = False
    """Run to validate the code: no network, the author's `start` is not called."""
    record: Callable[[Path], None] | None = None
    """Keep the vendor's traffic: called with the file of the recording when a process has ended."""
    replay_port: int = 0
    """Lead all traffic to the player of a recording on this port of this machine, and nowhere else; 0: off."""
    player_ports: tuple[int, ...] = ()
    """Further ports of the player, which stand in the preferences of code that makes its own connections."""

    @property
    def wire(self) -> str:
        """What `Spec.wire` says of this."""
        if self.replay_port:
            return f"replay:{self.replay_port}"
        return "record" if self.record is not None else ""
