"""What a process uses, looked at every second where the kernel has no limit for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from quasar.clock import Clock
from quasar.plugins.containment import Cause
from quasar.plugins.folders import entries
from quasar.plugins.jail.spec import Limits

_SCRATCH_EVERY: Final = 5
_SPIN_S: Final = 60.0
_SPIN_SHARE: Final = 0.9
_SMALLEST: Final = 4096
"""Bytes that a file or folder counts as at least: empty ones fill a disk, too."""
_KIB: Final = 1024
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used at one moment."""

    memory_bytes: int = 0
    """Resident, not shared with others."""
    threads: int = 0
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
        except (psutil.Error, OSError, ValueError, LookupError):
            return None  # it has ended, and has no memory any more
        self._looks += 1
        if self.usage.threads > self._limits.threads:
            ran, allowed = self.usage.threads, self._limits.threads
            return Cause.THREADS, f"ran {ran} threads where {allowed} are allowed, and was killed"
        if self.usage.memory_bytes > self._limits.memory_bytes:
            used, allowed = self.usage.memory_bytes // _MIB, self._limits.memory_bytes // _MIB
            return Cause.MEMORY, f"used {used} MiB of memory where {allowed} MiB are allowed, and was killed"
        if self._spinning_s > _SPIN_S:
            return Cause.SPINNING, f"used a whole core for {_SPIN_S:.0f} s without any work, and was killed"
        if self._looks % _SCRATCH_EVERY == 1:
            size = await asyncio.to_thread(_size, self._scratch, self._pid, self._limits.scratch_bytes)
            if size is None:
                return Cause.SCRATCH, "nested its folders too deep to be looked into, and was killed"
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
        memory, threads = self._memory_and_threads()
        self.usage = Usage(memory, threads, cpu, share)

    def _memory_and_threads(self) -> tuple[int, int]:
        if not sys.platform.startswith("linux"):
            return int(self._process.memory_info().rss), int(self._process.num_threads())
        lines = Path(f"/proc/{self._pid}/status").read_text(errors="replace").splitlines()
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        # Pages of files are the kernel's to drop; those that are shared and belong to no file are the process's own.
        memory = sum(int(found[name].split()[0]) for name in ("RssAnon", "RssShmem"))
        return memory * _KIB, int(found["Threads"])


def _size(folder: Path, pid: int, limit: int) -> int | None:
    """Return the bytes that the files below a folder take, or some number above the limit; None: it is too deep."""
    total = sum(_unnamed(folder, pid).values())
    for found in entries(folder):
        if total > limit:
            break
        if found is None:
            return None
        total += max(_SMALLEST, found.st_blocks * 512)
    return total


def _unnamed(folder: Path, pid: int) -> dict[int, int]:
    """Return the bytes of files that a process still uses though they were removed, by their inodes."""
    try:
        device = folder.stat().st_dev
        found = _mapped(device, Path(f"/proc/{pid}/maps").read_text(errors="replace"))
        opened = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return {}  # it has ended, or the kernel does not let anybody look
    for descriptor in opened:
        with contextlib.suppress(OSError):
            file = descriptor.stat()
            if stat.S_ISREG(file.st_mode) and not file.st_nlink and file.st_dev == device:
                found[file.st_ino] = max(_SMALLEST, file.st_blocks * 512)
    return found


def _mapped(device: int, maps: str) -> dict[int, int]:
    found: dict[int, int] = {}
    place = f"{os.major(device):02x}:{os.minor(device):02x}"
    for line in maps.splitlines():
        if line.endswith("(deleted)"):
            span, _, _, where, inode, _ = line.split(maxsplit=5)
            if where == place:
                start, end = (int(part, 16) for part in span.split("-"))
                found[int(inode)] = found.get(int(inode), 0) + end - start
    return found
