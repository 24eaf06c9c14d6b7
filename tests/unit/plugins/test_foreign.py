"""Archives of plug-ins in other languages that are damaged, and a disk that is full while one is unpacked."""

from __future__ import annotations

import errno
import io
import os
import zipfile
from pathlib import Path

import pytest

from quasar import errors
from quasar.plugins import foreign
from quasar.plugins.foreign import FILE, foreign_of

DESCRIPTION = b'kind = "provider"\ncommand = ["./run"]\n'


def archive(packing: int) -> bytes:
    """Return an upload whose program is packed in one way."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        made.writestr(FILE, DESCRIPTION)
        made.writestr("run", os.urandom(500), packing)
    return content.getvalue()


def damaged(source: bytes, name: str) -> bytes:
    """Return an archive with a stretch of zeros in the data of one entry."""
    with zipfile.ZipFile(io.BytesIO(source)) as whole:
        entry = whole.getinfo(name)
    begin = entry.header_offset + 30 + len(name)  # the data follow the entry's own head
    middle = begin + entry.compress_size // 2
    return source[: middle - 8] + bytes(16) + source[middle + 8 :]


def unpacked(source: bytes, folder: Path) -> tuple[str, ...]:
    """Unpack an upload; return its command."""
    found = foreign_of("x.zip", source)
    assert found is not None
    return foreign.unpack(found, source, folder)


@pytest.mark.parametrize(
    "packing",
    [
        pytest.param(zipfile.ZIP_STORED, id="stored"),
        pytest.param(zipfile.ZIP_DEFLATED, id="deflate"),
        pytest.param(zipfile.ZIP_BZIP2, id="bzip2"),
        pytest.param(zipfile.ZIP_LZMA, id="lzma"),
    ],
)
def test_a_damaged_file_of_an_archive_is_refused_however_it_is_packed(packing: int, tmp_path: Path) -> None:
    whole = archive(packing)
    assert unpacked(whole, tmp_path / "whole") == (str(tmp_path / "whole" / "run"),)
    with pytest.raises(errors.CodeRejected, match="the zip must be readable"):
        unpacked(damaged(whole, "run"), tmp_path / "damaged")


def test_a_full_disk_is_not_taken_for_a_damaged_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(foreign, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        unpacked(archive(zipfile.ZIP_DEFLATED), tmp_path / "x")
