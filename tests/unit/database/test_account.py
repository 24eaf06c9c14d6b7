"""Who runs the embedded PostgreSQL."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from quasar.database import account
from quasar.database.account import server_account
from quasar.database.failures import EmbeddedPostgresError

root = pytest.mark.skipif(os.geteuid() != 0, reason="is about root")


def test_an_ordinary_user_runs_it_under_the_same_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    found = server_account()
    assert found.name == "nobody"
    assert not found.switches
    assert "user" not in found.process_options()


def test_an_ordinary_user_is_refused_the_data_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = tmp_path.stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.raises(EmbeddedPostgresError, match=r"belongs to .* and you are .*chown -R"):
        server_account(tmp_path)


def test_the_environment_of_the_platform_is_kept_from_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c fsync=off")
    monkeypatch.setenv("EODHD_TOKEN", "secret")
    assert set(server_account().process_options()["env"]) == {"PATH", "LC_ALL", "TZ"}


@root
def test_root_switches_to_an_account_that_exists() -> None:
    found = server_account()
    assert found.switches
    assert found.name in {"postgres", "nobody"}
    assert found.process_options()["user"] == found.uid


@root
def test_root_falls_back_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "_CANDIDATES", ("no-such-account", "nobody"))
    assert server_account().name == "nobody"


@root
def test_root_without_any_account_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "_CANDIDATES", ("no-such-account",))
    with pytest.raises(EmbeddedPostgresError, match=r"refuses to run as root .* create one, run Quasar as an ordinary"):
        server_account()


@root
def test_root_keeps_the_account_that_owns_the_data(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(tmp_path, nobody.pw_uid, nobody.pw_gid)
    assert server_account(tmp_path).name == "nobody"


@root
def test_root_is_told_when_the_owner_of_the_data_is_unknown(tmp_path: Path) -> None:
    os.chown(tmp_path, 3_999_999_999, -1)
    with pytest.raises(EmbeddedPostgresError, match="belongs to user id 3999999999, which this system does not know"):
        server_account(tmp_path)
