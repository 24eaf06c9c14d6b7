"""The uploaded file: one Python module, or a zip of a package, held to sizes and names before anything reads it."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from quasar.plugins.foreign import UNREADABLE
from quasar.plugins.report import Finding, Severity

LARGEST: Final = 4 * 1024 * 1024
_UNPACKED: Final = 16 * 1024 * 1024
_FILES: Final = 1000


def read_sources(file_name: str, content: bytes) -> tuple[dict[str, str], list[Finding]]:
    """Return the Python sources by their names in the upload, and what is wrong with the upload."""
    findings: list[Finding] = []
    if not content:
        return {}, [_error("empty-upload", "the upload must have bytes, was empty", "choose a file with code")]
    if len(content) > LARGEST:
        text = f"the upload must have at most {LARGEST} bytes, was {len(content)}"
        return {}, [_error("upload-too-large", text, "leave out data and libraries")]
    if file_name.endswith(".zip"):
        raw = dict(_unzipped(content, findings))
    elif file_name.endswith(".py"):
        raw = {file_name: content}
    else:
        text = f"the file must be a .py or a .zip, was {file_name}"
        return {}, [_error("wrong-file-type", text, "upload one Python file, or a zip of a package")]
    sources: dict[str, str] = {}
    for name, data in raw.items():
        try:
            sources[name] = importlib.util.decode_source(data)
        except (SyntaxError, UnicodeDecodeError, ValueError) as error:
            text = f"{name} must be UTF-8 text, was not: {error}"
            findings.append(_error("not-utf-8", text, "save the file as UTF-8", name))
    return sources, findings


def _unzipped(content: bytes, findings: list[Finding]) -> Iterator[tuple[str, bytes]]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except UNREADABLE:
        findings.append(_error("bad-archive", "the upload must be a zip, was something else", "zip the package again"))
        return
    with archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        total = sum(entry.file_size for entry in entries)
        if len(entries) > _FILES or total > _UNPACKED:
            text = f"the zip must hold at most {_FILES} files and {_UNPACKED} bytes, was {len(entries)} and {total}"
            findings.append(_error("archive-too-large", text, "leave out data and libraries"))
            return
        for entry in entries:
            path = PurePosixPath(entry.filename)
            if path.is_absolute() or ".." in path.parts:
                text = f"names in the zip must stay inside of it, was {entry.filename}"
                findings.append(_error("unsafe-path", text, "zip the package from its own folder"))
            elif path.suffix == ".py":
                try:
                    yield entry.filename, archive.read(entry)
                except UNREADABLE as error:
                    text = f"files in the zip must be readable, was not: {entry.filename}: {error}"
                    findings.append(_error("bad-archive", text, "zip the package again, without a password"))


def _error(rule: str, message: str, remedy: str, file: str = "") -> Finding:
    return Finding(severity=Severity.ERROR, rule=rule, message=message, remedy=remedy, file=file)
