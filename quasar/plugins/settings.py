"""How a service runs the processes of its plug-ins."""

from __future__ import annotations

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
