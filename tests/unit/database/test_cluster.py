"""The folder of the embedded database: what is fit to start and what is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from quasar.database.account import ServerAccount, server_account
from quasar.database.binaries import PostgresBinaries
from quasar.database.cluster import Cluster
from quasar.database.failures import EmbeddedPostgresError

BINARIES = PostgresBinaries(Path("/opt/pg/bin"), "18.6", "system")


@pytest.fixture
def account() -> ServerAccount:
    return server_account()


def with_data(home: Path, **files: str) -> Cluster:
    (home / "data").mkdir(parents=True)
    for name, text in files.items():
        (home / "data" / name).write_text(text)
    return Cluster(home)


def test_a_new_home_is_closed_to_others(tmp_path: Path, account: ServerAccount) -> None:
    cluster = Cluster(tmp_path / "deep" / "home")
    cluster.prepare(account)
    assert stat.S_IMODE(cluster.home.stat().st_mode) == 0o700
    assert cluster.home.stat().st_uid == account.uid
    assert not cluster.exists()


def test_data_of_another_major_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    cluster = with_data(tmp_path, PG_VERSION="16\n")
    with pytest.raises(
        EmbeddedPostgresError, match=r"made by PostgreSQL 16, .* version 18\.6; .* QUASAR_PG_BIN.*pg_dump"
    ):
        cluster.require_major(BINARIES)


def test_data_of_the_same_major_version_is_fit(tmp_path: Path) -> None:
    with_data(tmp_path, PG_VERSION="18\n").require_major(BINARIES)


@pytest.mark.parametrize("files", [{"base": "x"}, {"PG_VERSION": "eighteen"}])
def test_a_folder_without_a_version_is_called_damaged(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(EmbeddedPostgresError, match="is damaged; restore it from a backup, or move it away"):
        with_data(tmp_path, **files).require_major(BINARIES)


def test_the_password_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    first = cluster.password()
    assert len(first) >= 40
    assert cluster.password() == first
    assert stat.S_IMODE(cluster.password_file.stat().st_mode) == 0o600


def test_a_lost_password_is_not_replaced_silently(tmp_path: Path) -> None:
    cluster = with_data(tmp_path, PG_VERSION="18")
    with pytest.raises(EmbeddedPostgresError, match=r"owner\.password is missing .* restore the file from a backup"):
        cluster.password()


def test_one_process_at_a_time_holds_a_home(tmp_path: Path) -> None:
    with (
        Cluster(tmp_path).locked(),
        pytest.raises(EmbeddedPostgresError, match=f"is run by process {os.getpid()} already; stop that one"),
        Cluster(tmp_path).locked(),
    ):
        pytest.fail("the lock was given twice")
    with Cluster(tmp_path).locked():
        pass


def test_a_long_path_gets_a_short_folder_for_its_socket(tmp_path: Path) -> None:
    deep = Cluster(tmp_path / ("x" * 120))
    assert len(os.fsencode(deep.socket_folder / ".s.PGSQL.5432")) <= 103
    assert deep.socket_folder != Cluster(tmp_path / ("y" * 120)).socket_folder
    assert Cluster(Path("/srv/q")).socket_folder == Path("/srv/q/run")


def test_a_path_that_an_address_could_not_hold_gets_another_folder_too() -> None:
    assert not Cluster(Path("/srv/a,b")).socket_folder.is_relative_to("/srv")


def test_a_file_in_the_place_of_the_home_is_named(tmp_path: Path, account: ServerAccount) -> None:
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(EmbeddedPostgresError, match="must be a folder, was something else"):
        Cluster(tmp_path / "home").prepare(account)


def test_a_big_log_makes_room_for_a_new_one(tmp_path: Path, account: ServerAccount) -> None:
    cluster = Cluster(tmp_path)
    cluster.log.write_bytes(b"x" * (9 * 1024 * 1024))
    cluster.prepare(account)
    assert cluster.log_size() == 0
    assert (tmp_path / "server.log.1").stat().st_size == 9 * 1024 * 1024
