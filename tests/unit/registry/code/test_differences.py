from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from registry.code.archives import SourceFile
from registry.code.differences import FileChange, file_diffs, manifest_changes


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs the program patch")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\nb\nc\n", "a\nB\nc\n"),
        ("a\nb", "a\nc"),
        ("a\n", ""),
        ("", "a"),
        ("a\nb\n", "a\nb"),
        ("a\x0cb\u2028c\nd\n", "a\x0cb\u2028c\nD\n"),
    ],
)
def test_a_diff_is_one_that_the_patch_program_understands(before: str, after: str, tmp_path: Path) -> None:
    (diff,) = file_diffs([SourceFile("x.py", before.encode())], [SourceFile("x.py", after.encode())], 3)

    target = tmp_path / "x.py"
    target.write_text(before)
    done = subprocess.run(
        ["patch", "-p1", "--quiet", "--directory", str(tmp_path)], input=diff.unified_diff, text=True, check=False
    )

    assert done.returncode == 0
    assert target.read_text() == after if after else not target.exists() or target.read_text() == ""


def test_added_removed_and_modified_files_are_told_apart() -> None:
    older = [SourceFile("a.py", b"1\n"), SourceFile("b.py", b"2\n"), SourceFile("same.py", b"s\n")]
    newer = [SourceFile("b.py", b"3\n"), SourceFile("c.py", b"4\n5\n"), SourceFile("same.py", b"s\n")]

    found = {diff.path: (diff.change, diff.lines_added, diff.lines_removed) for diff in file_diffs(older, newer, 3)}

    assert found == {
        "a.py": (FileChange.REMOVED, 0, 1),
        "b.py": (FileChange.MODIFIED, 1, 1),
        "c.py": (FileChange.ADDED, 2, 0),
    }


def test_two_single_files_are_compared_whatever_they_are_called() -> None:
    (diff,) = file_diffs([SourceFile("old.py", b"1\n")], [SourceFile("new.py", b"2\n")], 3)

    assert (diff.path, diff.change) == ("new.py", FileChange.MODIFIED)


def test_files_that_are_no_text_differ_without_a_diff() -> None:
    (diff,) = file_diffs([SourceFile("a", b"\x00")], [SourceFile("a", b"\x01\x00")], 3)

    assert (diff.change, diff.unified_diff) == (FileChange.MODIFIED, "")


def test_preferences_and_secrets_of_manifests_are_compared_one_by_one() -> None:
    before = {"intervals": ["1d"], "preferences": [{"path": "fast", "minimum": 1}, {"path": "slow"}]}
    after = {"intervals": ["1d"], "preferences": [{"path": "fast", "minimum": 2}], "secrets": [{"name": "key"}]}

    assert [(change.field, change.before, change.after) for change in manifest_changes(before, after)] == [
        ("preferences.fast", {"minimum": 1}, {"minimum": 2}),
        ("preferences.slow", {}, None),
        ("secrets.key", None, {}),
    ]


def test_only_a_line_feed_ends_a_line() -> None:
    (diff,) = file_diffs([SourceFile("x.py", b"a\x0cb\n")], [SourceFile("x.py", b"a\x0cc\n")], 3)

    assert (diff.lines_added, diff.lines_removed) == (1, 1)
    assert "No newline" not in diff.unified_diff
