"""The journal of the live log: what was published, in files, so that a cursor outlives the process that gave it out.

Every flush is one record, written before a reader gets anything of it: what a client has seen is here, also when the
process is killed in the next moment. Only where the disk takes longer than readers can wait (`datahub.stream.hub`) may
a client have seen more. After a process that did not end by itself the log therefore goes on far beyond what is here:
a cursor from what was lost is known as such, and never taken for one of the next life. The operating system writes the
files out when it likes; a cursor that may lie beyond what a crash of the machine left belongs to a former epoch.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from datahub.bus.packing import packed, unpacked
from datahub.stream.log import Entry
from quasar import logs

SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""A file is closed when it is so large."""
LEAP: Final = 1 << 32
"""So far beyond the journal goes a log on after a kill: no life publishes as much more than it keeps."""

Write = Callable[[int, memoryview], int]
"""Writes to a file that is open; returns how many bytes it took."""

_HEAD = struct.Struct("<II")
"""Length and CRC-32 of what follows."""
_HEADER = "epoch.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """Entries of one flush, as they stand in a file."""

    data: bytes
    first: int
    """Position of the first entry."""
    last: int
    rows: int


def record(entries: Sequence[Entry]) -> Record:
    """Return entries that follow each other as a record."""
    payload = packed(entries)
    head = _HEAD.pack(len(payload), zlib.crc32(payload))
    return Record(head + payload, entries[0].position, entries[-1].position, sum(entry.rows for entry in entries))


class Journal:
    """One journal in a folder of its own. Not thread-safe."""

    def __init__(
        self,
        folder: Path,
        now_ns: int,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        segment_bytes: int = SEGMENT_BYTES,
        write: Write = os.write,
    ) -> None:
        """Go on with the journal of a folder, or begin one.

        Args:
            folder: Made when it is missing.
            now_ns: The time; names the epoch when one begins.
            max_bytes: What is kept at least, when there is so much.
            segment_bytes: Size of a file.
            write: Writes to a file.

        Raises:
            BlockingIOError: Another process keeps a journal there.
            OSError: The folder cannot be used.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._write_some = write
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise
        self.entries: list[Entry] = []
        """What was kept, until `forget_entries`."""
        self._sizes: deque[tuple[Path, int]] = deque()
        self._file: int | None = None
        self._size = 0
        self._broken = self._clean = False
        self.problem = ""
        """Why nothing is kept any more, in the words of the system; empty while it is."""
        self.lost: list[tuple[int, int]] = []
        """Between these positions lies what a former life published and did not keep."""
        self.epoch = self._restored_epoch()
        if not self.entries:
            self.epoch = max(now_ns // 1_000_000, self.epoch + 1)
            self._remove_segments()
            self.lost.clear()
        self.start = self.entries[0].position - 1 if self.entries else 0
        """Position before the first entry that was kept."""
        self.kept = self._first_position()
        """Position up to which everything was written or given up; the next entry follows it."""
        self._put_header(clean=False)

    def listen(self, heard: Callable[[], None]) -> None:
        """Do nothing: what is given is kept when `keep` returns."""

    def forget_entries(self) -> None:
        """Free what was read."""
        self.entries = []

    def keep(self, entries: Sequence[Entry]) -> None:
        """Write entries; they are safe from the end of this process when it returns."""
        self.write(record(entries))

    def write(self, *records: Record) -> None:
        """Write records that follow each other; they are safe from the end of this process when it returns.

        Where they do not follow what is there, the journal begins anew with them. A disk that takes nothing more ends
        the journal and not the stream: after the next start a cursor of today belongs to a former epoch.
        """
        if not self._broken:
            try:
                if records[0].first != self.kept + 1:
                    self._begin_anew(records[0].first)
                self._write(b"".join([one.data for one in records]), records[0].first)
            except OSError as error:
                self._broken, self.problem = True, error.strerror or type(error).__name__
                with suppress(OSError):
                    (self._folder / _HEADER).unlink(missing_ok=True)
                _log.error("the live log is not kept on disk any more", folder=str(self._folder), problem=str(error))
        self.kept = records[-1].last

    def close(self) -> None:
        """Write out what there is and let go of the folder."""
        try:
            if not self._broken:
                if self._file is not None:
                    os.fsync(self._file)
                self._put_header(clean=True)
        except OSError as error:
            _log.error("the live log may lack its end on disk", folder=str(self._folder), problem=str(error))
        finally:
            if self._file is not None:
                os.close(self._file)
            os.close(self._lock)

    def _write(self, data: bytes, position: int) -> None:
        if self._file is None or self._size >= self._segment_bytes:
            self._begin_segment(position)
        assert self._file is not None
        rest = memoryview(data)
        while rest:
            rest = rest[self._write_some(self._file, rest) :]
        self._size += len(data)

    def _begin_anew(self, position: int) -> None:
        """Remove what is there: nothing leads from it to what comes now."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._remove_segments()
        _log.error("the journal of the live log begins anew after a hole", after=self.kept, at=position)

    def _begin_segment(self, position: int) -> None:
        path = self._folder / f"{position:016x}.log"
        if self._file is not None:
            os.close(self._file)
            self._sizes[-1] = (self._sizes[-1][0], self._size)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._size = 0
        self._sizes.append((path, 0))
        while sum(size for _, size in list(self._sizes)[1:]) > self._max_bytes:
            self._sizes.popleft()[0].unlink(missing_ok=True)

    def _restored_epoch(self) -> int:
        """Read what is there; return its epoch. Nothing is taken that may have lost its end."""
        try:
            header = json.loads((self._folder / _HEADER).read_text(encoding="utf-8"))
            epoch, clean, boot = int(header["epoch"]), bool(header["clean"]), str(header["boot"])
            lost = [(int(begin), int(end)) for begin, end in header.get("lost", ())]
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        if not clean and boot != _boot_id():
            return epoch
        self.lost, self._clean = lost, clean
        for path in sorted(self._folder.glob("*.log")):
            data = path.read_bytes()
            good = 0
            for end, entries in _records(data):
                if self.entries and not self._follows(self.entries[-1].position, entries[0].position):
                    break
                self.entries.extend(entries)
                good = end
            self._sizes.append((path, good))
            if good < len(data):
                # Nobody was given what stands in a record that was cut: it is written before it is handed out.
                os.truncate(path, good)
                break
        known = {path for path, _ in self._sizes}
        for path in self._folder.glob("*.log"):
            if path not in known:
                path.unlink()
        return epoch

    def _follows(self, last: int, following: int) -> bool:
        """Tell whether an entry comes right after another one, or is the first of a life after it."""
        for begin, end in self.lost:
            if last == begin and following > end:
                last = end
        return following == last + 1

    def _first_position(self) -> int:
        """Return the position that the next entry follows; what a kill may have cost lies before it."""
        self.lost = [(begin, end) for begin, end in self.lost if begin > self.start]
        last = max([self.entries[-1].position if self.entries else 0, *(end for _, end in self.lost)])
        if self._clean or not self.entries:
            return last
        self.lost.append((last, last + LEAP))
        return last + LEAP

    def _remove_segments(self) -> None:
        self._sizes.clear()
        for path in self._folder.glob("*.log"):
            path.unlink()

    def _put_header(self, *, clean: bool) -> None:
        text = json.dumps({"epoch": self.epoch, "clean": clean, "boot": _boot_id(), "lost": self.lost})
        staged = self._folder / f"{_HEADER}.new"
        with staged.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(self._folder / _HEADER)


def _records(data: bytes) -> Iterator[tuple[int, list[Entry]]]:
    """Yield the end and the entries of each whole record, up to the first that is not."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        payload = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(payload) != length or not length or zlib.crc32(payload) != check:
            return
        at += _HEAD.size + length
        yield at, list(unpacked(payload))


def _boot_id() -> str:
    """Return what tells this run of the machine from others."""
    with suppress(OSError):
        return _BOOT.read_text(encoding="ascii").strip()
    return str(int(psutil.boot_time()))
