"""What keeps the platform from starting is said in a sentence with the remedy, with an exit code, and harms nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.harness import Installation


def assert_said(done: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr


def test_a_setting_that_cannot_be_used_is_named_with_its_value(tmp_path: Path) -> None:
    installation = Installation(tmp_path, {"QUASAR_REGISTRY_PORT": "http"})
    words = ("QUASAR_REGISTRY_PORT", "must be a whole number from 1 to 65535", "'http'", "unset it for 8080")
    assert_said(installation.run("up"), *words, code=2)
    assert_said(installation.run("registry"), *words, code=2)


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "home"
    path.write_text("mine")
    assert_said(Installation(path).run("up"), "QUASAR_HOME must name a folder", code=2)
    assert path.read_text() == "mine"


def test_a_home_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    parent.mkdir(mode=0o555)
    if os.geteuid() == 0:
        # Root may write everywhere but where the kernel itself refuses.
        parent = Path("/sys")
        if not parent.is_dir():
            pytest.skip("there is no folder here that root may not write to")
    done = Installation.at(parent / "quasar-home").run("up")
    assert_said(done, f"{parent}/quasar-home must be writable by the user who runs Quasar", "QUASAR_HOME")


def test_a_damaged_database_is_refused_and_left_as_it_is(installation: Installation) -> None:
    made = installation.run("db", "migrate")
    assert made.returncode == 0, made.stderr
    control = installation.home / "db" / "data" / "global" / "pg_control"
    control.write_bytes(b"\0" * control.stat().st_size)
    assert_said(installation.run("up"), "damaged", "backup")
    assert control.read_bytes().strip(b"\0") == b""


def test_a_database_of_another_version_of_postgresql_is_refused(installation: Installation) -> None:
    data = installation.home / "db" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    if os.geteuid() == 0:
        shutil.chown(data, 65534, 65534)
    data.chmod(0o700)
    assert_said(installation.run("up"), "PostgreSQL 9")


def test_a_system_context_that_others_can_read_is_refused(installation: Installation) -> None:
    installation.home.mkdir(mode=0o700)
    secret = installation.home / "system_context"
    secret.write_text("x" * 64)
    secret.chmod(0o644)
    assert_said(installation.run("up"), "must be 0600, was 0644", f"chmod 600 {secret}")


def test_a_service_alone_needs_a_database(installation: Installation) -> None:
    installation.home.mkdir(mode=0o700)
    assert_said(installation.run("registry"), "system context file", "does not exist")
    (installation.home / "system_context").touch(mode=0o600)
    (installation.home / "system_context").write_text("x" * 64)
    assert_said(installation.run("registry"), "QUASAR_DATABASE_URL must be set, or `quasar up` must run")


def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    url = "postgresql://quasar:secret@127.0.0.1:1/quasar"
    done = Installation(tmp_path, {"QUASAR_DATABASE_URL": url}).run("db", "status")
    assert_said(done, "the database does not answer")
    assert "secret" not in done.stdout + done.stderr


def test_secrets_are_rotated_while_nothing_runs(installation: Installation) -> None:
    assert installation.run("db", "migrate").returncode == 0
    secret = installation.home / "system_context"
    before = secret.read_bytes()
    done = installation.run("secrets", "rotate", "--yes")
    assert done.returncode == 0, done.stderr
    assert "0 sealed secrets" in done.stdout
    assert secret.read_bytes() != before
    assert secret.stat().st_mode & 0o777 == 0o600
