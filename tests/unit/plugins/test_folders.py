"""Folders of processes: what built-in code may read, and what killed services leave behind."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from quasar.plugins.code import CodeVersion
from quasar.plugins.folders import chosen_folders, entries, make_folder, remove, sweep
from quasar.plugins.manifest import Kind


def built_in(**preferences: Any) -> CodeVersion:
    return CodeVersion(
        kind=Kind.PROVIDER, name="files", builtin="quasar.providers.files:Files", preferences=preferences
    )


def test_built_in_code_reads_the_folders_that_its_operator_named(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert chosen_folders(built_in(folder=str(tmp_path), more=str(other), depth=3)) == (str(tmp_path), str(other))


@pytest.mark.parametrize("named", ["relative/folder", "", "/", "/no/such/folder", "https://example.com/x"])
def test_what_is_no_folder_opens_nothing_least_of_all_everything(named: str) -> None:
    assert chosen_folders(built_in(folder=named)) == ()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x")
    assert chosen_folders(built_in(folder=str(file))) == ()


def test_uploaded_code_reads_nothing_whatever_its_preferences_say(tmp_path: Path) -> None:
    uploaded = CodeVersion(
        kind=Kind.PROVIDER, name="mine", source=b"x = 1", file_name="mine.py", preferences={"folder": str(tmp_path)}
    )
    assert chosen_folders(uploaded) == ()


def test_a_processs_folder_is_its_own_and_short_enough_for_a_socket(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "scratch").stat().st_mode) == 0o700
    assert len(make_folder(None).name) < 40


def test_only_folders_of_services_that_are_gone_are_swept(tmp_path: Path) -> None:
    mine = make_folder(tmp_path)
    gone = tmp_path / f"qp-{2**22 + 1}-abc"  # beyond the greatest process id of the kernel
    strange = tmp_path / "qp-notes-1"
    gone.mkdir()
    strange.mkdir()
    sweep(tmp_path)
    assert (mine.is_dir(), gone.exists(), strange.is_dir()) == (True, False, True)
    assert mine.name.startswith(f"qp-{os.getpid()}-")


def nest(folder: Path, depth: int) -> None:
    """Make folders in folders, each with a file, deeper than a path may be long."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 20, dir_fd=at)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def test_a_folder_is_removed_however_deep_it_is_nested_and_nothing_beside_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    folder = tmp_path / "scratch"
    folder.mkdir()
    nest(folder, 2_000)
    (folder / "link").symlink_to(outside)
    closed = folder / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0)
    assert None in list(entries(folder))  # too deep to be looked into
    remove(folder)
    assert not folder.exists()
    assert (outside / "kept").read_text() == "x"
    remove(folder)  # nothing happens


def test_what_a_killed_service_left_is_swept_however_deep_it_is_nested(tmp_path: Path) -> None:
    gone = tmp_path / f"qp-{2**22 + 1}-abc"
    gone.mkdir()
    nest(gone, 1_200)
    sweep(tmp_path)
    assert not gone.exists()
