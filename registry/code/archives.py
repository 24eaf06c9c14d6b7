"""The files of an upload: one Python module, or a zip of a package."""

from __future__ import annotations

import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from quasar.errors import FieldViolation, InvalidArgument
from registry.violations import refused

MAX_UPLOAD_BYTES = 4 * 1024 * 1024
MAX_UNPACKED_BYTES = 16 * 1024 * 1024
MAX_FILES = 1000
SHOWN_BYTES = 3 * 1024 * 1024
"""Content beyond this is left out of one answer with several files."""
_UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError, ValueError)
"""What a damaged, encrypted or unusual archive makes the library raise."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of an upload."""

    path: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Its SHA-256, 64 hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def text(self) -> str | None:
        """Its text; None when it is not UTF-8 or holds NUL."""
        if b"\x00" in self.content:
            return None
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError:
            return None


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A file as it is shown: perhaps without its content."""

    file: SourceFile
    omitted: bool


def unpack(file_name: str, content: bytes) -> tuple[SourceFile, ...]:
    """Return the files of an upload, by path.

    Raises:
        InvalidArgument: A zip that is damaged, encrypted, too large when unpacked, or holds paths that lead out of it.
    """
    if not file_name.lower().endswith(".zip"):
        return (SourceFile(file_name, content),)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = tuple(_read(archive, _checked(archive.infolist())))
    except _UNREADABLE as error:
        raise _refused("must be a zip archive that can be read", file_name) from error
    if not files:
        raise _refused("must hold at least one file", file_name)
    return files


def shown(files: Sequence[SourceFile], *, limit: int = SHOWN_BYTES) -> tuple[ShownFile, ...]:
    """Return files for one answer: once `limit` bytes of content are in it, further files come without theirs."""
    used, found = 0, []
    for file in files:
        used += len(file.content)
        found.append(ShownFile(file, omitted=used > limit))
    return tuple(found)


def without_content(files: Sequence[SourceFile]) -> tuple[ShownFile, ...]:
    """Return files for an answer that carries the whole upload beside them."""
    return tuple(ShownFile(file, omitted=True) for file in files)


def _checked(entries: Sequence[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """Return the entries that are files, by path, after looking at what the archive says of itself."""
    kept = sorted((entry for entry in entries if not entry.is_dir()), key=lambda entry: entry.filename)
    if len(kept) > MAX_FILES:
        raise _refused(f"must hold at most {MAX_FILES} files", str(len(kept)))
    size = sum(entry.file_size for entry in kept)
    if size > MAX_UNPACKED_BYTES:
        raise _refused(f"must have at most {MAX_UNPACKED_BYTES} bytes when unpacked", str(size))
    seen: set[str] = set()
    for entry in kept:
        path = entry.filename.replace("\\", "/")
        parts = path.split("/")
        if entry.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\x00" in entry.filename:
            raise _refused("must hold only paths inside the archive", entry.filename)
        if path in seen:
            raise _refused("must hold each path once", path)
        seen.add(path)
    return kept


def _read(archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo]) -> list[SourceFile]:
    files, left = [], MAX_UNPACKED_BYTES
    for entry in entries:
        with archive.open(entry) as opened:
            content = opened.read(left + 1)  # what the archive says of its sizes may be untrue
        left -= len(content)
        if left < 0:
            raise _refused(f"must have at most {MAX_UNPACKED_BYTES} bytes when unpacked", "more")
        files.append(SourceFile(entry.filename.replace("\\", "/"), content))
    return files


def _refused(rule: str, value: str) -> InvalidArgument:
    description = f"{rule}, was {value[:200]!r}"
    return refused([FieldViolation("content", description)])


def renamed(files: Sequence[SourceFile], path: str) -> tuple[SourceFile, ...]:
    """Return a single-file upload under another path, to compare it with one that is called so."""
    return tuple(replace(file, path=path) for file in files)
