"""What a process uses, looked at every second where the kernel has no limit for it."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from quasar.clock import Clock
from quasar.plugins.containment import Cause
from quasar.plugins.jail.spec import Limits

_SCRATCH_EVERY: Final = 5
_SPIN_S: Final = 60.0
_SPIN_SHARE: Final = 0.9
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used at one moment."""

    memory_bytes: int = 0
    """Resident, not shared with others."""
    cpu_seconds: float = 0.0
    """Since its start."""
    cpu_share: float = 0.0
    """Since the look before, as a share of one core."""


class Watcher:
    """Looks at one process."""

    def __init__(self, pid: int, limits: Limits, scratch: Path, clock: Clock) -> None:
        """Watch a process and its scratch folder."""
        self.usage = Usage()
        self._pid = pid
        self._process = psutil.Process(pid)
        self._limits = limits
        self._scratch = scratch
        self._clock = clock
        self._last = clock.monotonic()
        self._looks = 0
        self._spinning_s = 0.0

    async def look(self, *, busy: bool) -> tuple[Cause, str] | None:
        """Look once; return why the process has to end, if it has to.

        Args:
            busy: It works on a request, so that using a core is no fault.
        """
        try:
            self._measure(busy=busy)
        except (psutil.Error, OSError, ValueError):
            return None  # it has ended
        self._looks += 1
        if self.usage.memory_bytes > self._limits.memory_bytes:
            used, allowed = self.usage.memory_bytes // _MIB, self._limits.memory_bytes // _MIB
            return Cause.MEMORY, f"used {used} MiB of memory where {allowed} MiB are allowed, and was killed"
        if self._spinning_s > _SPIN_S:
            return Cause.SPINNING, f"used a whole core for {_SPIN_S:.0f} s without any work, and was killed"
        if self._looks % _SCRATCH_EVERY == 1:
            size = await asyncio.to_thread(_size, self._scratch)
            if size > self._limits.scratch_bytes:
                used, allowed = size // _MIB, self._limits.scratch_bytes // _MIB
                return Cause.SCRATCH, f"wrote {used} MiB of files where {allowed} MiB are allowed, and was killed"
        return None

    def _measure(self, *, busy: bool) -> None:
        times = self._process.cpu_times()
        cpu = times.user + times.system
        now = self._clock.monotonic()
        passed = max(1e-3, now - self._last)
        share = (cpu - self.usage.cpu_seconds) / passed if self._looks else 0.0
        self._last = now
        self._spinning_s = self._spinning_s + passed if share > _SPIN_SHARE and not busy else 0.0
        self.usage = Usage(self._memory(), cpu, share)

    def _memory(self) -> int:
        if not sys.platform.startswith("linux"):
            return int(self._process.memory_info().rss)
        fields = Path(f"/proc/{self._pid}/statm").read_text().split()
        return (int(fields[1]) - int(fields[2])) * _PAGE


def _size(folder: Path) -> int:
    """Return the bytes that the files below a folder take."""
    total = 0
    for parent, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += (Path(parent) / name).lstat().st_blocks * 512
            except OSError:
                continue  # it was removed meanwhile
    return total
