from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import pytest

from quasar.errors import InvalidArgument
from registry.code import archives
from registry.code.archives import SourceFile, shown, unpack


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def test_one_module_is_one_file() -> None:
    assert unpack("Alpha.PY", b"x = 1") == (SourceFile("Alpha.PY", b"x = 1"),)


def test_files_of_a_package_come_by_path_without_folders() -> None:
    files = unpack("a.zip", zipped({"b/z.py": b"2", "b/": b"", "b/a.py": b"1"}))

    assert [(file.path, file.content) for file in files] == [("b/a.py", b"1"), ("b/z.py", b"2")]


@pytest.mark.parametrize(
    "path", ["../evil.py", "a/../../evil.py", "/etc/passwd", "C:/evil.py", "\\\\share\\evil.py", "a\\..\\..\\evil.py"]
)
def test_paths_that_lead_out_of_the_archive_are_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match="only paths inside the archive"):
        unpack("a.zip", zipped({path: b""}))


def test_an_archive_that_unpacks_to_too_much_is_refused_without_unpacking_it() -> None:
    bomb = zipped({f"{number}.py": b"\x00" * 2**20 for number in range(17)})

    assert len(bomb) < 100_000
    with pytest.raises(InvalidArgument, match="16777216 bytes when unpacked"):
        unpack("a.zip", bomb)


def test_an_archive_with_too_many_files_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="at most 1000 files"):
        unpack("a.zip", zipped({f"{number}.py": b"" for number in range(archives.MAX_FILES + 1)}))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged", zipped({"a.py": b"x" * 1000})[:-30]])
def test_a_damaged_archive_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(InvalidArgument, match="must be a zip archive that can be read"):
        unpack("a.zip", content)


def test_content_beyond_the_limit_of_an_answer_is_left_out() -> None:
    files = [SourceFile("a", b"12345"), SourceFile("b", b"12345"), SourceFile("c", b"")]

    assert [one.omitted for one in shown(files, limit=7)] == [False, True, True]


def test_only_utf8_without_nul_counts_as_text() -> None:
    assert SourceFile("a", "ünïcode".encode()).text == "ünïcode"
    assert SourceFile("a", b"\xff\xfe").text is None
    assert SourceFile("a", b"a\x00b").text is None


def test_an_archive_with_damaged_content_is_refused_in_words() -> None:
    content = bytearray(zipped({"a.py": bytes(range(256)) * 40}))
    content[40:60] = b"\xff" * 20

    with pytest.raises(InvalidArgument, match="must be a zip archive that can be read"):
        unpack("a.zip", bytes(content))


def test_two_spellings_of_one_path_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"must hold each path once, was 'a/b\.py'"):
        unpack("a.zip", zipped({"a/b.py": b"1", "a\\b.py": b"2"}))
