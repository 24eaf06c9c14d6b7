"""Plug-ins in other languages: a zip with a program, and a `plugin.toml` that says how it is started.

    kind = "provider"                   # or broker, strategy
    language = "go"
    command = ["./tides"]               # a file of the zip, or a program of this machine: ["node", "main.mjs"]
    hosts = ["feed.example.com:9443"]   # as in `Provider.hosts`; nothing else can be reached

The program serves `quasar.plugin.v1` on descriptor 3 and is connected to its host by descriptor 4; `Describe` tells
everything else about it. The limits and the jail are those of every plug-in.
"""

from __future__ import annotations

import errno
import io
import lzma
import shutil
import tomllib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from quasar import errors
from quasar.plugins.manifest import Kind
from quasar.sdk.declarations import Host

FILE: Final = "plugin.toml"
_LONGEST: Final = 64 * 1024
_WORDS: Final = 32
_LONGEST_COMMAND: Final = 8 * 1024
UNREADABLE: Final = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError
)  # fmt: skip
"""What reading an archive raises that is damaged, encrypted or packed in another way; OSError is what bzip2 raises."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """How a program is started."""

    kind: Kind
    language: str
    command: tuple[str, ...]
    hosts: tuple[Host, ...] = ()


def foreign_of(file_name: str, source: bytes) -> Foreign | None:
    """Return how an upload is started; None when it is Python, or no archive.

    Raises:
        CodeRejected: `plugin.toml` breaks a rule; the message names the field.
    """
    if not file_name.endswith(".zip"):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(source)) as archive:
            names = set(archive.namelist())
            if FILE not in names:
                return None
            if archive.getinfo(FILE).file_size > _LONGEST:
                raise errors.CodeRejected(f"{FILE} must have at most {_LONGEST} bytes")
            content = archive.read(FILE)
    except UNREADABLE:
        return None  # validation says so
    try:
        return _read(tomllib.loads(content.decode()), names)
    except UnicodeDecodeError:
        raise errors.CodeRejected(f"{FILE} must be UTF-8 text, was not") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise errors.CodeRejected(f"{FILE} must be TOML, was not: {error}") from None


def _read(found: dict[str, Any], names: set[str]) -> Foreign:
    if found.get("kind") not in [kind.value for kind in Kind]:
        raise errors.CodeRejected(f"kind in {FILE} must be provider, broker or strategy, was {found.get('kind')!r}")
    command = found.get("command")
    if not _texts(command) or not command or len(command) > _WORDS:
        raise errors.CodeRejected(f"command in {FILE} must be a list of 1 to {_WORDS} texts, was {command!r:.200}")
    if any("\0" in word for word in command) or sum(map(len, command)) > _LONGEST_COMMAND:
        raise errors.CodeRejected(
            f"command in {FILE} must have at most {_LONGEST_COMMAND} characters, none of them NUL"
        )
    program = command[0]
    if program.startswith("./"):
        if program.removeprefix("./") not in names:
            raise errors.CodeRejected(f"command in {FILE} must name a file of the zip, was {program}")
    elif "/" in program:
        raise errors.CodeRejected(f"command in {FILE} must begin with ./ or be the name of a program, was {program}")
    hosts = found.get("hosts", [])
    if not _texts(hosts):
        raise errors.CodeRejected(f"hosts in {FILE} must be a list of texts, was {hosts!r}")
    try:
        reached = tuple(Host.parse(host) for host in hosts)
    except errors.InvalidArgument as error:
        raise errors.CodeRejected(f"hosts in {FILE}: {error.message}") from None
    return Foreign(Kind(found["kind"]), str(found.get("language", "")), tuple(command), reached)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def unpack(foreign: Foreign, source: bytes, folder: Path) -> tuple[str, ...]:
    """Write the files of an upload for one process, read-only; return the command with the path of its program.

    Raises:
        CodeRejected: The archive cannot be unpacked: a name leaves it or is there twice, a file is damaged.
        PluginUnavailable: The program is not on this machine.
    """
    folder.mkdir(mode=0o755)
    try:
        with zipfile.ZipFile(io.BytesIO(source)) as archive:
            for entry in archive.infolist():
                _write(archive, entry, folder)
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the zip's
        raise errors.CodeRejected(f"the zip must be readable, was not: {error}") from None
    for inner in folder.rglob("*"):
        if inner.is_dir():
            inner.chmod(0o755)
    program = foreign.command[0]
    if program.startswith("./"):
        found: str | None = str(folder / program)
    else:
        found = shutil.which(program)
    if found is None:
        raise errors.PluginUnavailable(f"the program {program} must be installed on this machine, was not found")
    return (str(Path(found).resolve()), *(_placed(word, folder) for word in foreign.command[1:]))


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts:
        raise errors.CodeRejected(f"names in the zip must stay inside of it, was {entry.filename}")
    if entry.is_dir():
        return
    target = folder / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        with target.open("xb") as file:
            file.write(archive.read(entry))
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise errors.CodeRejected(f"names in the zip must be there once, was {entry.filename} again") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            raise errors.CodeRejected(f"names in the zip must be names of files, was {path.name[:100]}…") from None
        raise
    target.chmod(0o555)


def _placed(word: str, folder: Path) -> str:
    """Return the path of a file of the zip, and any other word as it is."""
    try:
        return str(folder / word) if (folder / word).is_file() else word
    except OSError:
        return word  # longer than a name of a file can be
